"""Forward authentication: a reverse proxy asks here whether a request carries a living session, and of which owner.

nginx (``auth_request``), Caddy (``forward_auth``) and Traefik (``ForwardAuth``) send the headers of each request here
and let it pass on 204. No service key is asked for: who shows a session's secret learns no more than they hold.
"""

from __future__ import annotations

from urllib.parse import quote

from ..async_api import AsyncSessionTokens
from .callers import REALM
from .exchange import Exchange
from .problems import Problem, bad_request
from .reserved import applications

SESSION_COOKIE = "session"
COOKIE_BYTES_MAX = 4_096


class ForwardAuth:
    """Answers proxies.

    Args:
        tokens: where sessions are.
        cookie: the name of the cookie that holds a session's secret.
    """

    def __init__(self, tokens: AsyncSessionTokens, cookie: str = SESSION_COOKIE) -> None:
        self._tokens = tokens
        self._cookie = cookie.encode("ascii")

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
        cookies = fields.get(b"cookie", b"")
        if len(cookies) > COOKIE_BYTES_MAX:
            return b""
        return cookie_of(cookies, self._cookie)


def cookie_of(cookies: bytes, name: bytes) -> bytes:
    """Answer the value of a cookie as it stands, without unquoting; empty where there is none.

    Two different values under one name are none: one of them was put there by somebody else. A cookie without a name
    (``=name=value``) is never taken for one with that name.
    """
    found = b""
    for part in cookies.split(b";"):
        key, equals, value = part.strip(b" \t").partition(b"=")
        if key == name and equals:
            if found and found != value:
                return b""
            found = value
    return found
