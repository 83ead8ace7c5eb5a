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
import sys
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any, Protocol

from .._async.api import AsyncSessionTokens
from ..crypto.minting import Pepper
from ..errors import Refused, StoreBusy, StoreError, StoreUnavailable
from ..records import Page, Session
from ..settings import UNSET, Duration, Settings, Unset
from .contents import Encode
from .cookies import SameSite, cookie_named
from .devices import ending_other, ending_others, listing
from .ends import Closing, Ends
from .fields import as_it_is
from .incoming import Incoming
from .keeping import UNREADABLE, UNWRITABLE, Arriving, Keeping, headers_of_answer, headers_with
from .moving_in import Peer
from .origins import FORGED
from .rotating import GRACE_S
from .session import WebSession, drive_async
from .shared_store import SharedStore, to_the_end
from .sockets import SESSION_ENDED

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("session_tokens.web")

SESSION = "session_tokens.session"
"""Where the scope holds the middleware's own session, whatever others put at ``session``."""
TRY_AGAIN_LATER = 1013
"""The code of a WebSocket that is closed because the store cannot be read (RFC 6455, IANA's registry)."""
DISCONNECT = "WebSocketDisconnect"
"""What frameworks call the exception of a receiver whose browser has left, which is no failure."""
FAILURES = frozenset({1011, 4500})
"""The codes of a WebSocket that is closed because the application failed (RFC 6455, section 7.4.1; Litestar's)."""
DENIAL = "websocket.http.response"
"""The extension of ASGI by which the handshake of a WebSocket is answered."""


class WebSocket(Protocol):
    """What can be closed with a code and a reason."""

    def close(self, code: int, reason: str, /) -> Awaitable[None]:
        """Close it."""
        ...


class AsyncWebSession(WebSession):
    """A browser's session in an application of ASGI, and the user's other sessions.

    Attributes:
        tokens: the API on the store that it is kept in.
    """

    __slots__ = ("_ends", "_request", "tokens")

    def __init__(
        self,
        record: Session | None,
        secret: str | None,
        tokens: AsyncSessionTokens,
        ends: Callable[[AsyncSessionTokens], Ends],
        request: Arriving,
        options: dict[str, Any],
        *,
        encode: Encode = as_it_is,
        decode: Encode = as_it_is,
    ) -> None:
        WebSession.__init__(self, record, secret, encode=encode, decode=decode, client=request.client, options=options)
        self.tokens = tokens
        self._ends, self._request = ends, request

    @property
    def is_forged(self) -> bool:
        """Whether a page of another origin sent the request, which then logs nobody in and opens no session."""
        return self._request.incoming.is_forged

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
        return Closing(
            None if record is None else self._ends(self.tokens), record, None if websocket is None else close
        )

    async def list_devices(self, *, after: str | None = None, limit: int = 100) -> Page[Session]:
        """Return a page of the living sessions of whoever is logged in here, this one too; a visitor has none."""
        return await drive_async(self.tokens, listing(self, after, limit))

    async def end_other(self, id: str) -> bool:
        """End a session of the same user by its id; return whether one lived. Another user's is never touched.

        Its own session is ended by ``logout()``, which clears the cookie too.
        """
        return await drive_async(self.tokens, ending_other(self, id))

    async def end_others(self) -> int:
        """End all sessions of the same user but this one, in one instant; return how many were ended.

        Where this one has ended meanwhile, none is: whoever asks is not logged in any more.
        """
        return await drive_async(self.tokens, ending_others(self))


class KeptSessions:
    """Gives each request its session, and settles it with the response.

    Args:
        app: the application.
        store: of the sessions.
        keeping: how they are kept in browsers.
    """

    def __init__(self, app: App, store: SharedStore, keeping: Keeping) -> None:
        self.app, self.store, self.keeping = app, store, keeping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the life of the application."""
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            await (self._live if kind == "lifespan" else self.app)(scope, receive, send)
            return
        response = Response(self.keeping, scope, send)
        secret = response.secret()
        if secret is not None and response.incoming.is_forged:
            await refuse(scope, send, 403, FORGED)
            return
        try:
            if self.keeping.is_visit(secret, response):
                tokens = self.store.at_hand() or await self.store.tokens_for_visitor()
                session = AsyncWebSession(None, None, tokens, self.store.ends, response, self.keeping.options)
                self.keeping.named(session)
            else:
                tokens = self.store.at_hand() or await self.store.tokens()
                given = tokens, self.store.ends, response, self.keeping.options
                steps = self.keeping.loading(
                    lambda record, secret: AsyncWebSession(record, secret, *given),
                    secret,
                    response,
                    sets_cookie=kind == "http",
                )
                session = await drive_async(tokens, steps)
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a request is answered 503, for its session cannot be read: %s", error)
            await refuse(scope, send, 503, UNREADABLE)
            return
        scope["session"] = scope[SESSION] = response.session = session
        if kind == "websocket":
            await self._serve_socket(session, scope, receive, send)
            return
        try:
            await self.app(scope, receive, response.send)
            if response.has_begun:
                del response.session  # else both wait for the garbage collector, and the scope with them
        except asyncio.CancelledError:  # the browser has left, or was kept waiting for too long
            if session.is_leaving and not response.has_begun:
                await to_the_end(_settle_error(session))
            raise
        except Exception as error:
            if not response.has_begun:
                await _settle_error(session)
                if isinstance(error, StoreUnavailable | StoreBusy):
                    log.warning("a request is answered 503, for the store cannot be asked: %s", error)
                    await response.replace(503, "try again")
                    return
                if session.has_moved:  # who makes an answer of it stands around us, and sets no cookie of ours
                    await response.replace(500, "Internal Server Error")
            raise

    async def _serve_socket(self, session: AsyncWebSession, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, and settle its session when it is over."""
        has_failed = False

        def sent(message: Message) -> Awaitable[None]:
            nonlocal has_failed
            if message["type"] == "websocket.close" and message.get("code") in FAILURES:
                has_failed = sys.exc_info()[1] is not None  # of a framework that handles errors itself, as Litestar
            return send(message)

        try:
            await self.app(scope, receive, sent)
        except asyncio.CancelledError:
            if session.is_leaving:
                await to_the_end(_settle_socket(session))
            raise
        except Exception as error:
            await _settle_socket(session, has_failed=type(error).__name__ != DISCONNECT)
            raise
        await _settle_socket(session, has_failed=has_failed)

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

        async def sent(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):  # servers wait for nothing that comes after it
                await self.store.close()
            await send(message)

        try:
            await self.app(scope, received, sent)
        finally:
            await self.store.close()


class SessionMiddleware(KeptSessions):
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
        migrate_from: where users come from who bring no cookie of ours: one of ``moving_in.peers``, or a list.
        rotate_every: a browser gets a new cookie with the first request after so long, in seconds or a ``timedelta``;
            ``None``: with a log-in alone.
        rotation_grace: for how long the cookie before is good all the same; its use after that ends the session.
        owner_key: the field of the session that says who is logged in, where the application keeps it in one:
            setting it is a log-in, removing it a log-out. Without one, log-ins are asked for by ``login``.
        owner_of: maps what is in that field to the owner.
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
        migrate_from: Peer | Sequence[Peer] | None = None,
        rotate_every: Duration | None = None,
        rotation_grace: Duration = GRACE_S,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
    ) -> None:
        keeping = Keeping(
            session_cookie=session_cookie,
            max_age=max_age,
            path=path,
            same_site=same_site,
            https_only=https_only,
            domain=domain,
            partitioned=partitioned,
            trusted_origins=trusted_origins,
            trusted_proxies=trusted_proxies,
            migrate_from=migrate_from,
            rotate_every=rotate_every,
            rotation_grace=rotation_grace,
            owner_key=owner_key,
            owner_of=owner_of,
        )
        super().__init__(app, SharedStore(store, settings, pepper), keeping)


async def _settle_error(session: AsyncWebSession) -> None:
    """After an exception no response of ours reaches the browser; a log-out is done all the same."""
    try:
        await drive_async(session.tokens, session.settling(500))
    except StoreError as error:
        log.warning("a log-out could not be written: %s", error)


async def _settle_socket(session: AsyncWebSession, *, has_failed: bool = False) -> None:
    """After a WebSocket, write what changed; no cookie can be set, so that nobody logs in and no record is made."""
    if session.record is None or session.is_logging_in:
        return
    try:
        # As after a failure, one that ends leaves no visitor's session, whose cookie could not be set.
        is_as_failed = has_failed or session.is_leaving
        await drive_async(session.tokens, session.settling(500 if is_as_failed else 200))
    except StoreError as error:
        log.warning("what a WebSocket changed in its session could not be written: %s", error)


def middleware_of(app: Any) -> KeptSessions | None:
    """Return the middleware that keeps the sessions of an application; ``None`` where there is none.

    Args:
        app: an ASGI application whose layers hold the next one as ``app``, as Starlette's do.
    """
    layer = app
    while layer is not None and not isinstance(layer, KeptSessions):
        if hasattr(layer, "build_middleware_stack"):
            if layer.middleware_stack is None:
                layer.middleware_stack = layer.build_middleware_stack()
            layer = layer.middleware_stack
        else:
            layer = getattr(layer, "app", None)
    return layer


class Connection(Arriving):
    """A request or a WebSocket."""

    _fields: dict[bytes, bytes]

    def __init__(self, keeping: Keeping, scope: Scope) -> None:
        self._keeping = keeping
        self._take(scope)

    def _take(self, scope: Scope) -> None:
        """Keep what is needed of a scope, and not the scope: it holds the session, which holds this."""
        self._headers = scope["headers"]
        self._method = scope.get("method", "POST")  # a WebSocket may change anything, whatever its handshake says
        self._peer, self._scheme = scope.get("client"), scope.get("scheme")

    def secret(self) -> str | None:
        """Return what our cookie holds."""
        if b"cookie" not in dict(self._headers):  # a visitor's request, which this is to cost next to nothing
            return None
        sent = [value for name, value in self._headers if name == b"cookie"]
        return self._keeping.cookie.value_among(sent, is_https=self.incoming.is_https)

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        return cookie_named(name).value_of(self._headers).decode("latin-1") or None

    def _look(self) -> Incoming:
        fields = self._fields = {}
        for name, value in self._headers:
            if name in _READ:  # two lines are as good as one with both (RFC 9110, section 5.3): proxies write either
                fields[name] = fields[name] + b", " + value if name in fields else value
        return self._keeping.trust.look_at(
            self._method,
            self._peer[0] if self._peer else None,
            self._header,
            is_https=self._scheme in ("https", "wss"),
        )

    def _header(self, name: str) -> str | None:
        value = self._fields.get(name.encode())
        return None if value is None else value.decode("latin-1")


class Response(Connection):
    """What is sent of one response: its session is settled before it begins."""

    session: AsyncWebSession
    has_begun = _is_refused = False

    def __init__(self, keeping: Keeping, scope: Scope, send: Send) -> None:
        self._keeping, self._send = keeping, send
        self._take(scope)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application."""
        if message["type"] == "http.response.start" and not self.has_begun:
            if not self.session.is_untouched or message["status"] == 500:
                return self._begin(message)
            self.has_begun = True
        return _nothing() if self._is_refused else self._send(message)

    async def _begin(self, message: Message) -> None:
        session, headers = self.session, list(message.get("headers", ()))
        if session.record is not None:
            self._keeping.cookie.look_for_another(headers, is_https=self.incoming.is_https)
        if session.is_logging_in and session.is_forged:
            await self.replace(403, FORGED)
            return
        error = sys.exc_info()[1]
        if message["status"] == 500 and isinstance(error, StoreUnavailable | StoreBusy):
            # A framework that handles errors itself, as Litestar does, makes its answer while it does so.
            log.warning("a request is answered 503, for the store cannot be asked: %s", error)
            await _settle_error(session)
            await self.replace(503, "try again")
            return
        try:
            change = await drive_async(session.tokens, self._keeping.settling(session, message["status"]))
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a response is replaced by 503, for its session cannot be written: %s", error)
            await self.replace(503, UNWRITABLE)
            return
        except Refused as error:
            await self.replace(403, f"the log-in is refused: {error.code}")
            return
        self.has_begun = True
        cookie = self._keeping.cookie_header(change, session, is_https=self.incoming.is_https)
        headers = headers_with(headers, cookie, accessed=session.accessed)
        await self._send({**message, "headers": headers})  # a cache between us, as Litestar's, keeps the message

    async def replace(self, status: int, text: str) -> None:
        """Send another answer than the application's, with the cookie that the browser is to have all the same."""
        self.has_begun = self._is_refused = True
        session, cookie = self.session, None
        if session.has_moved:
            change = await drive_async(session.tokens, session.failing())
            cookie = self._keeping.cookie_header(change, session, is_https=self.incoming.is_https)
        await _answer(self._send, status, text, cookie=cookie)


_READ = frozenset(
    {
        b"origin", b"sec-fetch-site", b"host", b"user-agent", b"x-forwarded-for", b"x-forwarded-proto",
        b"x-forwarded-host",
    }
)  # fmt: skip


async def _nothing() -> None:
    """Send nothing: another answer has taken the place of the application's."""


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Send an answer for a request that the application never sees; the cookie stays as it is.

    A WebSocket whose server lets its handshake be answered gets the same answer: closed, it would be a 403.
    """
    if scope["type"] == "http":
        await _answer(send, status, text)
    elif DENIAL in (scope.get("extensions") or {}):
        await _answer(send, status, text, kind=DENIAL)
    else:
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER if status == 503 else 1008})


async def _answer(
    send: Send, status: int, text: str, *, kind: str = "http.response", cookie: str | None = None
) -> None:
    body = text.encode()
    headers = headers_with(headers_of_answer(status, body), cookie, accessed=False)
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
