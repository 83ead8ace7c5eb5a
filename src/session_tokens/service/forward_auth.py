"""Forward authentication: a reverse proxy asks here whether a request carries a living session, and of which owner.

nginx (``auth_request``), Caddy (``forward_auth``) and Traefik (``ForwardAuth``) send the headers of each request here
and let it pass on 204. No service key is asked for: who shows a session's secret learns no more than they hold.
"""

from __future__ import annotations

from urllib.parse import quote

from ..async_api import AsyncSessionTokens
from ..web.cookies import Cookie
from .callers import REALM
from .exchange import Exchange
from .problems import Problem, bad_request
from .reserved import applications

SESSION_COOKIE = "session"


class ForwardAuth:
    """Answers proxies.

    Args:
        tokens: where sessions are.
        cookie: the name of the cookie that holds a session's secret.
    """

    def __init__(self, tokens: AsyncSessionTokens, cookie: str = SESSION_COOKIE) -> None:
        self._tokens = tokens
        self._cookie = Cookie(cookie)

    async def check(self, exchange: Exchange) -> None:
        """Answer 204 with the owner, percent-encoded UTF-8, and the session's id; or 401.

        The secret stands in ``Authorization: Bearer`` or in the cookie; a Bearer header goes first. A check is a use
        of the session.
        """
        if exchange.scope["query_string"]:
            raise bad_request("nothing is taken from the query of this address")
        secret = self._secret_of(exchange.fields)
        session = None if not secret else applications(await self._tokens.verify_session(secret.decode("latin-1")))
        if session is None:
            error = b', error="invalid_token"' if secret else b""
            raise Problem(
                401,
                "unauthenticated",
                "no living session was shown; log in",
                headers=[(b"www-authenticate", b"Bearer " + REALM + error)],
            )
        owner = quote(session.owner, safe="").encode("ascii")
        headers = [(b"x-session-owner", owner), (b"x-session-id", session.id.encode("ascii"))]
        await exchange.answer(204, b"", headers)

    def _secret_of(self, fields: dict[bytes, bytes]) -> bytes:
        """Answer what was shown as secret, empty where nothing was."""
        scheme, _, credentials = fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return credentials
        return self._cookie.value_in(fields.get(b"cookie", b""))
