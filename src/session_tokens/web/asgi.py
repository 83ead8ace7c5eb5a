"""Sessions in applications of ASGI: Starlette, FastAPI, and what is built on them.

``app.add_middleware(SessionMiddleware, store="sqlite:///sessions.db")`` takes the place of Starlette's middleware of
that name: ``request.session`` is the same dictionary, kept in the store instead of in the cookie.

Theory of operation. A request without our cookie asks the store nothing. With one, its session is read before the
application runs, for applications look into ``request.session`` without waiting. What the response does to it is
settled when the response begins, before a byte of it is sent: whoever is redirected finds what was written. The
middleware settles the session that it made itself, whatever the application puts into the shared scope.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Protocol

from .._async.api import AsyncSessionTokens
from ..crypto.minting import SESSION_SECRET, Pepper, new_secret
from ..errors import Refused, SessionEnded, StoreBusy, StoreError, StoreUnavailable, UnknownSession
from ..records import Page, Session
from ..settings import UNSET, Duration, Settings, Unset, duration_ms
from .cookies import SameSite, SessionCookie
from .ends import Closing, Ends
from .incoming import Trust
from .origins import FORGED
from .session import CookieChange, WebSession, drive_async, loading_as
from .sockets import SESSION_ENDED

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("session_tokens.web")

SESSION = "session_tokens.session"
"""Where the scope holds the middleware's own session, whatever others put at ``session``."""
RETRY_AFTER_S = 1
TRY_AGAIN_LATER = 1013
"""The code of a WebSocket that is closed because the store cannot be read (RFC 6455, IANA's registry)."""


class WebSocket(Protocol):
    """What can be closed with a code and a reason."""

    def close(self, code: int, reason: str, /) -> Awaitable[None]:
        """Close it."""
        ...


class AsyncWebSession(WebSession):
    """A browser's session in an application of ASGI, and the user's other sessions.

    Attributes:
        tokens: the API on the store that it is kept in.
        is_forged: whether a page of another origin sent the request, which then logs nobody in.
    """

    def __init__(
        self,
        record: Session | None,
        secret: str | None,
        *,
        tokens: AsyncSessionTokens,
        ends: Callable[[], Ends],
        **options: Any,
    ) -> None:
        super().__init__(record, secret, **options)
        self.tokens = tokens
        self.is_forged = False
        self._ends = ends

    def closes(self, websocket: WebSocket | None = None, code: int = SESSION_ENDED) -> Closing:
        """Return a block that is left when the session ends, anywhere, and which closes a WebSocket then.

        ``async with session.closes(websocket): …``. Code within it is cancelled; what follows the block goes on. A new
        secret is no end of a session; a log-in is, for another session takes its place. A visitor's session without a
        record never ends. Messages are no use of the session: its idle time goes on.

        Args:
            websocket: what is closed: Starlette's object, or another with such a ``close``. Without one the block is
                left and nothing is closed, as for server-sent events.
            code: that it is closed with.
        """

        def close(reason: str) -> Awaitable[None]:
            assert websocket is not None
            return websocket.close(code, reason)

        record = None if self.id is None else self.record
        return Closing(None if record is None else self._ends(), record, None if websocket is None else close)

    async def list_devices(self, *, after: str | None = None, limit: int = 100) -> Page[Session]:
        """Return a page of the living sessions of whoever is logged in here, this one too; a visitor has none."""
        owner = self.owner
        return Page([], None) if owner is None else await self.tokens.list_sessions(owner, after=after, limit=limit)

    async def end_other(self, id: str) -> bool:
        """End a session of the same user by its id; return whether one lived. Another user's is never touched.

        Its own session is ended by ``logout()``, which clears the cookie too.
        """
        owner = self.owner
        found = None if owner is None or id == self.id else await self.tokens.get_session(id)
        if found is None or found.owner != owner:
            return False
        return await self.tokens.destroy_session(id)

    async def end_others(self) -> int:
        """End all sessions of the same user but this one, in one instant; return how many were ended.

        Where this one has ended meanwhile, none is: whoever asks is not logged in any more.
        """
        owner = self.owner
        if owner is None or self.is_logging_in:
            return 0
        try:
            return await self.tokens.destroy_sessions(owner, except_session=self.id)
        except (SessionEnded, UnknownSession):
            return 0


class SharedStore:
    """The store of an application: opened with it or at its first request, closed with it if it was opened here.

    Args:
        store: its URL, or an ``AsyncSessionTokens`` of the application's own, which is never closed here.
        settings, pepper: as for ``AsyncSessionTokens.open``.
    """

    def __init__(
        self, store: str | AsyncSessionTokens, settings: Settings | None = None, pepper: Pepper | None = None
    ) -> None:
        if not isinstance(store, str | AsyncSessionTokens):
            raise TypeError("store is the URL of a store, such as 'sqlite:///sessions.db', or an AsyncSessionTokens")
        self._url = store if isinstance(store, str) else None
        self._settings, self._pepper = settings, pepper
        self._tokens = None if isinstance(store, str) else store
        self._used: AsyncSessionTokens | None = None
        self._ends: Ends | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def tokens(self) -> AsyncSessionTokens:
        """Return the API on the store, opened if it is not yet.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        if self._used is not None:
            return self._used
        loop = asyncio.get_running_loop()
        if self._tokens is not None and (self._url is None or self._tokens.store.blocking or self._loop is loop):
            return self._tokens
        if self._loop is not loop:
            self._tokens, self._opening, self._loop = None, asyncio.Lock(), loop
        async with self._opening:
            if self._tokens is None:
                self._tokens = await AsyncSessionTokens.open(
                    str(self._url), settings=self._settings, pepper=self._pepper
                )
            return self._tokens

    def use(self, tokens: AsyncSessionTokens | None) -> AsyncSessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        before, self._used = self._used, tokens
        return before

    def ends(self, tokens: AsyncSessionTokens) -> Ends:
        """Return what notifies those on this loop who wait for the end of a session."""
        if self._ends is None or self._ends.tokens is not tokens or self._ends.loop is not asyncio.get_running_loop():
            self._ends = Ends(tokens)
        return self._ends

    async def close(self) -> None:
        """Close the store if it was opened here; the next request opens it again."""
        if self._ends is not None and self._ends.loop is asyncio.get_running_loop():
            await self._ends.close()
        self._ends = None
        if self._url is not None and self._tokens is not None:
            tokens, self._tokens = self._tokens, None
            await tokens.close()


class SessionMiddleware:
    """Keeps a browser's session in ``scope["session"]``, as Starlette's middleware of that name, but in a store.

    Args:
        app: the application.
        store: the URL of the store, or an ``AsyncSessionTokens`` that is shared with other parts of the program.
        session_cookie: the cookie's name; without one ``__Host-session`` on https and ``session`` on http.
        max_age: how long sessions and their cookies last, in seconds or a ``timedelta``; ``None``: as the settings say,
            and the cookie until the browser is closed, which is also what holds if it is left away; 0 or less: not at
            all.
        path, same_site, https_only, domain, partitioned: of the cookie, as for ``SessionCookie``.
        secret_key: taken and not used, so that one line is all there is to change: nothing in the cookie is signed.
        trusted_origins: origins whose pages may send requests that change something, beside our own; others are
            answered 403 where they bring our cookie, or log somebody in.
        trusted_proxies: networks of proxies that are trusted when they say from where a request comes.
        settings, pepper: as for ``AsyncSessionTokens.open``, where ``store`` is a URL.

    Raises:
        InvalidInput: an argument that can never be right.
    """

    def __init__(
        self,
        app: App,
        store: str | AsyncSessionTokens,
        *,
        session_cookie: str | None = None,
        max_age: Duration | None | Unset = UNSET,
        path: str = "/",
        same_site: SameSite = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
        secret_key: object = None,
        trusted_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        settings: Settings | None = None,
        pepper: Pepper | None = None,
    ) -> None:
        self.app = app
        self.store = SharedStore(store, settings, pepper)
        self.cookie = SessionCookie(
            session_cookie,
            path=path,
            domain=domain,
            same_site=same_site,
            https_only=https_only,
            partitioned=partitioned,
        )
        self._is_over = isinstance(max_age, int | float) and not isinstance(max_age, bool) and max_age <= 0
        self._lasts_s = None
        if max_age is not UNSET and max_age is not None and not self._is_over:
            self._lasts_s = (duration_ms("max_age", max_age) or 0) / 1000
        self._options = {} if self._lasts_s is None else {"max_age": self._lasts_s}
        self._trust = Trust(trusted_origins, trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the life of the application."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the store as the application starts, so that it is swept from then on, and close it at the end."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.store.tokens()
                except StoreUnavailable as error:
                    log.warning("the store of the sessions is not there yet: %s", error)
            return message

        try:
            await self.app(scope, received, send)
        finally:
            await self.store.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        fields = {_READ[name]: value.decode("latin-1") for name, value in headers if name in _READ}
        client = scope.get("client")
        method = scope.get("method", "POST")  # a WebSocket may change anything, whatever its handshake says
        incoming = self._trust.look_at(
            method,
            client[0] if client else None,
            fields.get,
            is_https=scope.get("scheme") in ("https", "wss"),
        )
        secret = self.cookie.value_of(headers, is_https=incoming.is_https)
        if secret is not None and incoming.is_forged:
            await _refuse(scope, send, 403, FORGED.encode())
            return
        try:
            tokens = await self.store.tokens()
            options: dict[str, Any] = {
                "tokens": tokens,
                "ends": lambda: self.store.ends(tokens),
                "client": (fields.get("user-agent"), incoming.address),
                "options": self._options,
            }
            if secret is None:
                session = AsyncWebSession(None, None, **options)
            else:
                session = await drive_async(tokens, loading_as(AsyncWebSession, secret, **options))
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a request is answered 503, for its session cannot be read: %s", error)
            await _refuse(scope, send, 503, b"the sessions cannot be read just now; try again")
            return
        scope["session"] = session
        session.is_forged = incoming.is_forged
        scope[SESSION] = session
        response = (
            None if scope["type"] == "websocket" else _Response(self, session, tokens, send, is_https=incoming.is_https)
        )
        try:
            await self.app(scope, receive, send if response is None else response.send)
        except Exception as error:
            if response is not None and not response.has_begun:
                await self._settle_error(session, tokens)
                if isinstance(error, StoreUnavailable | StoreBusy):
                    log.warning("a request is answered 503, for the store cannot be asked: %s", error)
                    await _answer(send, 503, b"try again")
                    return
            raise
        if response is None:
            await self._settle_socket(session, tokens)

    async def settle(self, session: WebSession, tokens: AsyncSessionTokens, status: int) -> CookieChange:
        """Do to a session what the response does to it; return what becomes of the cookie."""
        if self._is_over and session.record is None:
            return CookieChange.SET if session.modified and status < 500 else CookieChange.KEEP
        return await drive_async(tokens, session.settling(status))

    async def _settle_error(self, session: WebSession, tokens: AsyncSessionTokens) -> None:
        """After an exception no response of ours reaches the browser; a log-out is done all the same."""
        try:
            await drive_async(tokens, session.settling(500))
        except StoreError as error:
            log.warning("a log-out could not be written: %s", error)

    async def _settle_socket(self, session: WebSession, tokens: AsyncSessionTokens) -> None:
        """After a WebSocket, write what changed; no cookie can be set, so that nobody logs in and no record is made."""
        if session.record is None or session.is_logging_in:
            return
        try:
            await drive_async(tokens, session.settling())
        except StoreError as error:
            log.warning("what a WebSocket changed in its session could not be written: %s", error)

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


def middleware_of(app: Any) -> SessionMiddleware | None:
    """Return the middleware that keeps the sessions of an application; ``None`` where there is none.

    Args:
        app: an ASGI application whose layers hold the next one as ``app``, as Starlette's do.
    """
    if hasattr(app, "build_middleware_stack") and app.middleware_stack is None:
        app.middleware_stack = app.build_middleware_stack()
    layer = getattr(app, "middleware_stack", app)
    while layer is not None and not isinstance(layer, SessionMiddleware):
        layer = getattr(layer, "app", None)
    return layer


class _Response:
    """What is sent of one response: its session is settled before it begins."""

    def __init__(
        self,
        middleware: SessionMiddleware,
        session: AsyncWebSession,
        tokens: AsyncSessionTokens,
        send: Send,
        *,
        is_https: bool,
    ) -> None:
        self._middleware = middleware
        self._session = session
        self._tokens = tokens
        self._send = send
        self._is_https = is_https
        self._is_refused = False
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Send a message of the application."""
        if message["type"] == "http.response.start" and not self.has_begun:
            await self._begin(message)
        if not self._is_refused:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        if self._session.is_untouched:
            self.has_begun = True
            return
        if self._session.is_forged and self._session.is_logging_in:
            self.has_begun = self._is_refused = True
            await _answer(self._send, 403, FORGED.encode())
            return
        try:
            change = await self._middleware.settle(self._session, self._tokens, message["status"])
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a response is replaced by 503, for its session cannot be written: %s", error)
            self.has_begun = self._is_refused = True
            await _answer(self._send, 503, b"the session cannot be written just now; try again")
            return
        except Refused as error:
            self.has_begun = self._is_refused = True
            await _answer(self._send, 403, f"the log-in is refused: {error.code}".encode())
            return
        self.has_begun = True
        header = self._middleware.cookie_header(change, self._session, is_https=self._is_https)
        headers = list(message.get("headers", ()))
        if header is not None:
            headers = [pair for pair in headers if pair[0].lower() != b"cache-control" or _keeps_private(pair[1])]
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            headers.append((b"set-cookie", header.encode("latin-1")))
        if header is not None or self._session.accessed:
            headers = _varying(headers)
        message["headers"] = headers


_READ = {
    name.encode(): name
    for name in (
        "origin", "sec-fetch-site", "host", "user-agent", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    )
}  # fmt: skip


def _keeps_private(value: bytes) -> bool:
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


async def _refuse(scope: Scope, send: Send, status: int, text: bytes) -> None:
    """Send the 503 for a request whose session cannot be read; the cookie stays as it is."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER if status == 503 else 1008})
        return
    await _answer(send, status, text)


async def _answer(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    headers += [(b"cache-control", b"no-store")]
    if status == 503:
        headers += [(b"retry-after", b"%d" % RETRY_AFTER_S)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
