"""Forward authentication: a reverse proxy asks here whether a request carries a living session, and of which owner.

nginx (``auth_request``), Caddy (``forward_auth``), Traefik (``ForwardAuth``) and HAProxy (with Lua) send the head of
each request here and let it pass on 204. No service key is asked for: who shows a session's secret learns no more than
they hold. Only the head is read: the method, the query and a path behind the address are the page's own, and a
body that is announced may never come.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from .._async.api import AsyncSessionTokens
from ..crypto.minting import SECRET_BEGINNINGS
from ..errors import InvalidInput
from ..rules.reserved import applications
from ..web.cookies import Cookie
from .callers import REALM
from .exchange import Exchange
from .problems import Headers, Problem

SESSION_COOKIE: Final = "session"
OWNER_HEADER: Final = "X-Session-Owner"
ID_HEADER: Final = "X-Session-Id"
WAY_BACK_BYTES_MAX: Final = 2_048
READABLE: Final = "@+:"
"""What is not encoded in the owner's header beside letters, digits and ``-._~``: an e-mail address arrives readable."""
OURS: Final = tuple(prefix.encode("ascii") for prefix in SECRET_BEGINNINGS)
"""How a Bearer begins that is meant for us; any other is the application's."""

ASKED_ONCE: Final = frozenset({b"authorization", b"host"})
"""Headers that may not stand in a question twice: two readers could take two meanings."""

HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
SPOKEN_FOR: Final = frozenset({
    "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-type", "cookie",
    "date", "host", "keep-alive", "location", "proxy-authenticate", "referrer-policy", "retry-after", "server",
    "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "vary", "www-authenticate", "x-content-type-options",
    "x-request-id", ID_HEADER.lower(),
})  # fmt: skip
"""Headers that mean something else on an answer."""

OF_NGINX: Final = frozenset({b"x-original-uri", b"x-original-url"})
"""How nginx is usually configured to name the page; Caddy and Traefik send ``X-Forwarded-Uri`` by themselves."""

# One slash and no back-slash at its beginning: browsers take "//host" and "/\host" for another host.
WAY_BACK: Final = re.compile(rb"/(?![/\\])[!-~]*")
LOG_IN_URL: Final = re.compile(r"(?:https?://[A-Za-z0-9._\[\]:-]+)?/(?![/\\])[!-\[\]-~]*")


def check_owner_header(name: str) -> None:
    """Check the name of a header that will hold the owner.

    Raises:
        InvalidInput: it is no name, or means something else.
    """
    if not HEADER_NAME.fullmatch(name):
        raise InvalidInput("the name of a header is letters, digits and hyphens, such as Remote-User")
    if name.lower() in SPOKEN_FOR:
        raise InvalidInput(f"the header {name} means something else; take another name, such as Remote-User")


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

    def for_page(self, host: bytes, target: bytes) -> bytes | None:
        """Return the address to send somebody to who asked for a page; ``None`` where that is the log-in page itself.

        The way back is carried as ``next``, a path and query, and only on the log-in page's own host: so it leads
        nobody elsewhere, even if the log-in page follows it without a look.

        Args:
            host: that the page is on, as the client sees it.
            target: path and query of the page; empty where the proxy does not send it.
        """
        is_here = self.host is None or self.host == host.lower()
        if is_here and target.partition(b"?")[0] == self.path:
            return None
        if not is_here or len(target) > WAY_BACK_BYTES_MAX or not WAY_BACK.fullmatch(target):
            return self.url.encode("ascii")
        joined = "&" if "?" in self.url else "?"
        return f"{self.url}{joined}next={quote(target, safe='/')}".encode("ascii")


class ForwardAuth:
    """Return proxies.

    Args:
        tokens: where sessions are.
        cookie: the name of the cookie that holds a session's secret.
        owner_header: the header that names the owner.
        log_in: where browsers are sent that show no living session; nowhere if ``None``.
    """

    def __init__(
        self,
        tokens: AsyncSessionTokens,
        cookie: str = SESSION_COOKIE,
        owner_header: str = OWNER_HEADER,
        log_in: LogIn | None = None,
    ) -> None:
        self._tokens = tokens
        self._cookie = Cookie(cookie)
        self._owner_header = owner_header.lower().encode("ascii")
        self._log_in = log_in

    async def check(self, exchange: Exchange) -> None:
        """Return 204 with the owner, percent-encoded UTF-8, and the session's id; or 401.

        The secret stands in ``Authorization: Bearer`` or in the cookie. A Bearer of ours goes first; any other is the
        application's, such as a JWT, and the cookie is read instead. A check is a use of the session.
        """
        secret = self._secret_of(exchange.fields)
        session = None if not secret else applications(await self._tokens.verify_session(secret.decode("latin-1")))
        if session is None:
            await self._turn_away(exchange, bool(secret))
            return
        owner = quote(session.owner, safe=READABLE).encode("ascii")
        headers = [(self._owner_header, owner), (b"x-session-id", session.id.encode("ascii"))]
        await exchange.answer(204, b"", headers)

    async def _turn_away(self, exchange: Exchange, was_shown: bool) -> None:
        """Return 401, or send a browser to the log-in page."""
        error = b', error="invalid_token"' if was_shown else b""
        headers: Headers = [(b"www-authenticate", b"Bearer " + REALM + error)]
        if self._log_in is not None and _is_browser(exchange):
            fields = exchange.fields
            where = self._log_in.for_page(*_page_of(fields))
            if where is not None:
                headers.append((b"location", where))
                # nginx lets no redirect through: it is given one with the 401, to put in place itself.
                if not OF_NGINX & fields.keys():
                    await exchange.answer(303, b"", headers[1:], None)
                    return
        raise Problem(
            401,
            "unauthenticated",
            "no living session was shown; log in",
            headers=headers,
            title="A log-in is needed",
        )

    def _secret_of(self, fields: dict[bytes, bytes]) -> bytes:
        """Return what was shown as secret, empty where nothing was."""
        scheme, _, credentials = fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and credentials.lstrip(b" \t").startswith(OURS):
            return credentials  # as it stands: with white space before it, it is meant for us and opens nothing
        return self._cookie.value_in(fields.get(b"cookie", b""))


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
