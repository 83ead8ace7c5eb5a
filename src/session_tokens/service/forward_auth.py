"""Forward authentication: a reverse proxy asks here whether a request carries a living session, and of which user.

nginx (``auth_request``), Caddy (``forward_auth``), Traefik (``ForwardAuth``) and HAProxy (with Lua) send the head of
each request here and let it pass on 204. No service key is asked for: who shows a session's secret learns no more than
they hold. Only the head is read: the method and a path behind the address are the page's own, and a body that is
announced may never come. The query may demand more than a living session (``demands``).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from .._async.api import AsyncSessionTokens
from ..crypto.secret_form import SECRET_BEGINNINGS, TOKEN_SECRET
from ..errors import InvalidInput
from ..records import Session, Token
from ..rules.reserved import applications, is_anonymous
from ..web.cookies import Cookie
from .callers import REALM
from .demands import Demands, demands_of
from .exchange import Exchange
from .identity import PLAIN, Identity
from .problems import Problem

SESSION_COOKIE: Final = "session"
WAY_BACK_BYTES_MAX: Final = 2_048
OURS: Final = tuple(prefix.encode("ascii") for prefix in SECRET_BEGINNINGS)
"""How a Bearer begins that is meant for us; any other is the application's."""

ASKED_ONCE: Final = frozenset({b"authorization", b"host"})
"""Headers that may not stand in a question twice: two readers could take two meanings."""

OF_NGINX: Final = frozenset({b"x-original-uri", b"x-original-url"})
"""How nginx is usually configured to name the page; Caddy and Traefik send ``X-Forwarded-Uri`` by themselves."""

# One slash and no back-slash at its beginning: browsers take "//host" and "/\host" for another host.
WAY_BACK: Final = re.compile(rb"/(?![/\\])[!-~]*")
LOG_IN_URL: Final = re.compile(r"(?:https?://[A-Za-z0-9._\[\]:-]+)?/(?![/\\])[!-\[\]-~]*")


class LogIn(NamedTuple):
    """Where people without a session are sent.

    Attributes:
        url: the page, up to where the way back is added.
        host: in lower case with the port, if it is on a host of its own; ``None`` if it is on whichever was asked.
        path: of the page itself, which must not be guarded.
    """

    url: str
    host: bytes | None
    path: bytes

    @classmethod
    def at(cls, url: str) -> LogIn:
        """Return it for a path such as ``/log-in`` or a URL such as ``https://app.example/log-in``.

        Raises:
            InvalidInput: it is neither, or has a fragment.
        """
        if not LOG_IN_URL.fullmatch(url) or "#" in url:
            raise InvalidInput(
                "a log-in page is a path on the application's host such as /log-in, or a URL such as "
                "https://app.example/log-in, in ASCII and without a fragment"
            )
        parts = urlsplit(url)
        return cls(url, parts.netloc.lower().encode("ascii") or None, parts.path.encode("ascii"))

    def for_page(self, host: bytes, target: bytes, wanted: str = "") -> bytes | None:
        """Return the address to send somebody to who asked for a page; ``None`` where that is the log-in page itself.

        The way back is carried as ``next``, a path and query, and only on the log-in page's own host: so it leads
        nobody elsewhere, even if the log-in page follows it without a look.

        Args:
            host: that the page is on, as the client sees it.
            target: path and query of the page; empty where the proxy does not send it.
            wanted: parameters that say what the log-in must be like.
        """
        is_here = self.host is None or self.host == host.lower()
        if is_here and target.partition(b"?")[0] == self.path:
            return None
        parameters = [wanted] if wanted else []
        if is_here and len(target) <= WAY_BACK_BYTES_MAX and WAY_BACK.fullmatch(target):
            parameters.append(f"next={quote(target, safe='/')}")
        joined = "&" if "?" in self.url else "?"
        return (self.url + (joined if parameters else "") + "&".join(parameters)).encode("ascii")


class ForwardAuth:
    """Return proxies.

    Args:
        tokens: where sessions are.
        cookie: the name of the cookie that holds a session's secret.
        identity: the headers that say who was let in.
        log_in: where browsers are sent that show no living session; nowhere if ``None``.
    """

    def __init__(
        self,
        tokens: AsyncSessionTokens,
        cookie: str = SESSION_COOKIE,
        identity: Identity = PLAIN,
        log_in: LogIn | None = None,
    ) -> None:
        self._tokens = tokens
        self._cookie = Cookie(cookie)
        self._identity = identity
        self._log_in = log_in

    async def check(self, exchange: Exchange) -> None:
        """Return 204 with the owner, percent-encoded UTF-8, and the id; 401, or 403 where a token's scope is too small.

        The secret stands in ``Authorization: Bearer`` or in the cookie. A Bearer of ours goes first; any other is the
        application's, such as a JWT, and the cookie is read instead. A check is a use of the session. A token's secret
        opens nothing, whatever is demanded: a page may have written that.
        """
        await self._check(exchange, demands_of(exchange.scope["query_string"]), take_tokens=False)

    async def check_with_tokens(self, exchange: Exchange) -> None:
        """Return the same, and take a token in place of a session for the scope or audience that is demanded.

        Raises:
            Problem: 400 where neither is demanded.
        """
        demands = demands_of(exchange.scope["query_string"])
        demands.check_for_tokens()
        await self._check(exchange, demands, take_tokens=True)

    async def _check(self, exchange: Exchange, demands: Demands, *, take_tokens: bool) -> None:
        secret = self._secret_of(exchange.fields)
        shown = secret.decode("latin-1")
        record = None if not secret else await self._shown(shown, demands, take_tokens=take_tokens)
        if record is None or record.owner is None:
            await self._turn_away(exchange, _unknown(was_shown=bool(secret)))
            return
        lacking = demands.lacking(record)
        if lacking is not None:
            await self._turn_away(exchange, lacking, demands.of_log_in)
            return
        await exchange.answer(204, b"", self._identity.headers(record, record.owner))

    async def _shown(self, secret: str, demands: Demands, *, take_tokens: bool) -> Session | Token | None:
        """Return what a secret opens here, if it is for here."""
        if secret.startswith(TOKEN_SECRET):
            token = await self._tokens.verify_token(secret) if take_tokens else None
            return token if token is not None and demands.are_for(token) else None
        session = applications(await self._tokens.verify_session(secret))
        if session is None or is_anonymous(session.owner):  # an application opens those for whoever comes by
            return None
        return session if demands.are_for(session) else None

    async def _turn_away(self, exchange: Exchange, refusal: Problem, wanted: str = "") -> None:
        """Return a refusal, or send a browser to the log-in page where another log-in helps."""
        if refusal.status == 401 and self._log_in is not None and _is_browser(exchange):
            fields = exchange.fields
            where = self._log_in.for_page(*_page_of(fields), wanted)
            if where is not None:
                # nginx lets no redirect through: it is given one with the 401, to put in place itself.
                if not OF_NGINX & fields.keys():
                    await exchange.answer(303, b"", [(b"location", where)], None)
                    return
                refusal.headers.append((b"location", where))
        raise refusal

    def _secret_of(self, fields: dict[bytes, bytes]) -> bytes:
        """Return what was shown as secret, empty where nothing was."""
        scheme, _, credentials = fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and credentials.lstrip(b" \t").startswith(OURS):
            return credentials  # as it stands: with white space before it, it is meant for us and opens nothing
        return self._cookie.value_in(fields.get(b"cookie", b""))


def _unknown(*, was_shown: bool) -> Problem:
    error = b', error="invalid_token"' if was_shown else b""
    return Problem(
        401,
        "unauthenticated",
        "no living session was shown; log in",
        headers=[(b"www-authenticate", b"Bearer " + REALM + error)],
        title="A log-in is needed",
    )


def _is_browser(exchange: Exchange) -> bool:
    """Whether somebody asks for a page to look at: a script or program is better served by a plain 401."""
    fields = exchange.fields
    method = fields.get(b"x-forwarded-method") or fields.get(b"x-original-method") or exchange.method.encode("ascii")
    return method in (b"GET", b"HEAD") and b"text/html" in fields.get(b"accept", b"").lower()


def _page_of(fields: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the host, path and query of the page that a proxy asks about, as far as it sends them."""
    host = fields.get(b"x-forwarded-host") or fields.get(b"host", b"")
    target = fields.get(b"x-forwarded-uri") or fields.get(b"x-original-uri") or fields.get(b"x-original-url", b"")
    if target.lower().startswith((b"http://", b"https://")):
        host, slash, path = target.partition(b"://")[2].partition(b"/")
        target = slash + path
    return host, target
