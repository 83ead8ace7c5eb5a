"""How the sessions of an application are kept in browsers: its cookie, how long it lasts, whose word is taken.

It is what frameworks share that have no settings of their own for it: ASGI, WSGI, Litestar and aiohttp.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, TypeVar

from ..crypto.minting import new_secret
from ..crypto.secret_form import SESSION_SECRET
from ..settings import UNSET, Duration, Unset, duration_ms
from .cookies import SameSite, SessionCookie
from .fields import OwnerField
from .incoming import Incoming, Trust
from .moving_in import Peer, moving_in, peers_of, taken_in
from .origins import opens_socket
from .rotating import GRACE_S, rotating
from .session import Command, CookieChange, WebSession, loading

S = TypeVar("S", bound=WebSession)

RETRY_AFTER_S = 1
UNREADABLE = "the sessions cannot be read just now; try again"
UNWRITABLE = "the session cannot be written just now; try again"
Headers = list[tuple[bytes, bytes]]
OLDER_THAN_TARGETED = frozenset({"edge-control", "surrogate-control", "x-accel-expires"})
"""What caches of one make each take for that, beside ``CDN-Cache-Control`` and its like."""


class Arriving:
    """What is known of a request, found when it is asked for: a visitor's page does not want to know.

    Frameworks say how, by ``cookie``, ``_look`` and ``_header``.
    """

    _incoming: Incoming | None = None

    @property
    def incoming(self) -> Incoming:
        """What the request says, and what our proxies say of it."""
        if self._incoming is None:
            self._incoming = self._look()
        return self._incoming

    @property
    def is_handshake(self) -> bool:
        """Whether a header says that it opens a WebSocket."""
        return opens_socket(self._header("upgrade"))

    def client(self) -> tuple[str | None, str | None]:
        """Return the user agent and the address of the client."""
        address = self.incoming.address
        return self._header("user-agent"), address

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        raise NotImplementedError

    def _look(self) -> Incoming:
        raise NotImplementedError

    def _header(self, name: str) -> str | None:
        raise NotImplementedError


class Keeping:
    """The cookie of an application's sessions, and what becomes of it with a response.

    Args:
        session_cookie: the cookie's name; without one ``__Host-session`` on https and ``session`` on http.
        max_age: how long sessions and their cookies last, in seconds or a ``timedelta``; ``None``, or left away: as the
            settings say, and the cookie until the browser is closed; 0 or less: not at all.
        path, same_site, https_only, domain, partitioned: of the cookie, as for ``SessionCookie``.
        trusted_origins, trusted_proxies: as for ``Trust``.
        migrate_from: where users come from who bring no cookie of ours: one of ``moving_in.peers``, or a list.
        rotate_every, rotation_grace: as for ``Rotating``; without ``rotate_every`` a cookie stays until a log-in.
        owner_key, owner_of: as for ``OwnerField``; without ``owner_key`` log-ins are asked for by ``login`` alone.

    Raises:
        InvalidInput: an argument that can never be right.
    """

    def __init__(
        self,
        *,
        session_cookie: str | None = None,
        max_age: Duration | None | Unset = UNSET,
        path: str = "/",
        same_site: SameSite = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
        trusted_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        migrate_from: Peer | Sequence[Peer] | None = None,
        rotate_every: Duration | None = None,
        rotation_grace: Duration = GRACE_S,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
    ) -> None:
        self.owner_field = None if owner_key is None else OwnerField(owner_key, owner_of)
        self.rotating = rotating(rotate_every, rotation_grace)
        self.peers = peers_of(migrate_from)
        self.cookie = SessionCookie(
            session_cookie,
            path=path,
            domain=domain,
            same_site=same_site,
            https_only=https_only,
            partitioned=partitioned,
        )
        self.trust = Trust(trusted_origins, trusted_proxies)
        self._is_over = isinstance(max_age, int | float) and not isinstance(max_age, bool) and max_age <= 0
        self._lasts_s: float | None = None
        if max_age is not UNSET and max_age is not None and not self._is_over:
            self._lasts_s = (duration_ms("max_age", max_age) or 0) / 1000
        self.options: dict[str, Any] = {} if self._lasts_s is None else {"max_age": self._lasts_s}

    def is_visit(self, secret: str | None, request: Arriving) -> bool:
        """Whether a request brings no cookie that leads to a session: the store is not asked."""
        return secret is None and not (self.peers and any(request.cookie(peer.cookie) for peer in self.peers))

    def named(self, session: S) -> S:
        """Return a session that knows in which field the application keeps who is logged in."""
        if self.owner_field is not None:
            session.owner_field = self.owner_field
        return session

    def loading(
        self, make: Callable[[Any, Any], S], secret: str | None, request: Arriving, *, sets_cookie: bool = True
    ) -> Generator[Command, Any, S]:
        """Read the session of a request; of one that brings another library's cookie alone, the one it moves into.

        Args:
            make: makes a session of a record and a secret, both ``None`` where there is none.
            secret: what our cookie holds, if there is one.
            request: where other cookies are, and whose they are.
            sets_cookie: whether the response can set one: that of a WebSocket cannot, and neither replaces one nor uses
                up another library's.
        """
        session = yield from loading(make, secret)
        if session.record is None and self.peers and not request.incoming.is_forged:
            issued = yield from moving_in(
                self.peers,
                request.cookie,
                client=request.client,
                options=self.options,
                sets_cookie=sets_cookie,
            )
            if issued is not None:
                session = taken_in(make, issued, sets_cookie=sets_cookie)
        elif self.rotating is not None and sets_cookie:
            yield from self.rotating.take(session)
        return self.named(session)

    def settling(self, session: WebSession, status: int) -> Generator[Command, Any, CookieChange]:
        """Do to a session what a response of that status does to it; return what becomes of the cookie."""
        if self._is_over and session.record is None:
            is_shown = session.modified and status < 500 and not session.is_forged
            return CookieChange.SET if is_shown else CookieChange.KEEP
        return (yield from session.settling(status))

    def cookie_header(self, change: CookieChange, session: WebSession, *, is_https: bool) -> str | None:
        """Return the ``Set-Cookie`` header of a response; ``None`` where the cookie stays as it is."""
        if change is CookieChange.KEEP:
            return None
        if change is CookieChange.CLEAR:
            return self.cookie.clear(is_https=is_https)
        if self._is_over:
            return self.cookie.set(new_secret(SESSION_SECRET), is_https=is_https, max_age_s=0)
        age_s = session.cookie_age_s(is_kept=session.remember or self._lasts_s is not None)
        return self.cookie.set(str(session.secret), is_https=is_https, max_age_s=age_s)


def headers_with(headers: Headers, cookie: str | None, *, accessed: bool) -> Headers:
    """Return the headers of a response with our cookie, and with what caches must be told because of it.

    Args:
        headers: of the application, in bytes.
        cookie: the ``Set-Cookie`` header, ``None`` where the cookie stays as it is.
        accessed: whether the application read the session: the response then differs from browser to browser.
    """
    if cookie is not None:
        headers = [pair for pair in headers if pair[0].lower() != b"cache-control" or keeps_private(pair[1])]
        headers = [pair for pair in headers if not goes_before_cache_control(pair[0].decode("latin-1"))]
        if not any(name.lower() == b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"no-store"))
        headers.append((b"set-cookie", cookie.encode("latin-1")))
    return _varying(headers) if cookie is not None or accessed else headers


def headers_of_answer(status: int, text: bytes) -> Headers:
    """Return the headers of an answer of ours that takes the place of the application's."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    headers += [(b"cache-control", b"no-store")]
    return [*headers, (b"retry-after", b"%d" % RETRY_AFTER_S)] if status == 503 else headers


def goes_before_cache_control(name: str) -> bool:
    """Whether a header tells some shared caches what to keep, whatever ``Cache-Control`` says (RFC 9213)."""
    name = name.lower()
    return name.endswith("-cache-control") or name in OLDER_THAN_TARGETED


def keeps_private(value: bytes) -> bool:
    """Whether a ``Cache-Control`` lets no shared cache keep the response, and so the cookie."""
    directives = {directive.strip().lower() for directive in value.split(b",")}
    return bool(directives & {b"no-store", b"private"})


def _varying(headers: Headers) -> Headers:
    """Return headers that say that the response depends on the cookie (RFC 9110, section 12.5.5)."""
    varies = b", ".join(value for name, value in headers if name.lower() == b"vary" and value.strip())
    named = {field.strip().lower() for field in varies.split(b",")}
    if named & {b"cookie", b"*"}:
        return headers
    kept = [pair for pair in headers if pair[0].lower() != b"vary"]
    return [*kept, (b"vary", varies + b", Cookie" if varies else b"Cookie")]
