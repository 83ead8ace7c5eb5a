"""Sessions in aiohttp: ``aiohttp_session.setup(app, SessionTokensStorage("sqlite:///sessions.db"))``.

``await get_session(request)`` is the mapping that aiohttp_session has, and knows who is logged in beside. It is read
when it is asked for. What the response does to it is settled when the view has returned it. Of a streamed response and
a WebSocket aiohttp_session keeps nothing: call ``await storage.save_session(request, response, session)`` before
``await response.prepare(request)``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from aiohttp import web
from aiohttp_session import SESSION_KEY, STORAGE_KEY, AbstractStorage, Session, get_session

from .._async.api import AsyncSessionTokens
from ..crypto.minting import Pepper
from ..errors import InvalidInput, Refused, StoreBusy, StoreUnavailable
from ..settings import UNSET, Duration, Settings, Unset
from .asgi import AsyncWebSession
from .cookies import SameSite, cookie_named
from .ends import Closing
from .incoming import Incoming
from .keeping import RETRY_AFTER_S, UNREADABLE, UNWRITABLE, Arriving, Keeping, headers_with
from .moving_in import Peer
from .origins import FORGED
from .rotating import GRACE_S
from .session import CookieChange, drive_async
from .shared_store import SharedStore
from .sockets import SESSION_ENDED

log = logging.getLogger("session_tokens.web")

A = TypeVar("A", bound=web.StreamResponse)


class AiohttpWebSession(AsyncWebSession):
    """A browser's session in an application of aiohttp."""

    __slots__ = ()

    def closes(self, websocket: Any = None, code: int = SESSION_ENDED) -> Closing:
        """Return a block that is left when the session ends, and which closes a ``WebSocketResponse`` then."""
        return super().closes(None if websocket is None else _Closable(websocket), code)


class _Closable:
    """A WebSocket of aiohttp, closed as others are."""

    def __init__(self, websocket: web.WebSocketResponse) -> None:
        self._websocket = websocket

    async def close(self, code: int, reason: str, /) -> None:
        """Close it."""
        await self._websocket.close(code=code, message=reason.encode())


class TokensSession(Session):
    """The session of one request, as aiohttp_session has it.

    Attributes:
        web: what it stands on: who is logged in, ``login``, ``logout``, ``flash``, the user's other sessions.
    """

    def __init__(self, web: AiohttpWebSession, *, is_loaded: bool) -> None:
        super().__init__(web.id, data=None, new=web.record is None)
        self.web, self.is_loaded = web, is_loaded
        self._mapping = web
        if web.record is not None:
            self._created = web.record.created_at // 1000

    @property
    def owner(self) -> str | None:
        """Who is logged in; ``None`` for a visitor."""
        return self.web.owner

    @property
    def id(self) -> str | None:
        """The public id of the session; ``None`` where it has no record (yet)."""
        return self.web.id

    @property
    def _changed(self) -> bool:
        """Whether the storage is asked, which finds out what was changed."""
        return True

    @_changed.setter
    def _changed(self, value: bool) -> None:
        """Accept what aiohttp_session says; changes are noticed here without it."""

    @property
    def max_age(self) -> int | None:
        """How long a session lasts that is opened now; ``None``: as the storage says."""
        return self.web.options.get("max_age")

    @max_age.setter
    def max_age(self, value: int | None) -> None:
        if value is not None:
            self.web.options = {**self.web.options, "max_age": value}

    def invalidate(self) -> None:
        """Take all fields out. A session that is still empty with the response ends, and its cookie is cleared."""
        self.web.clear()


class SessionTokensStorage(AbstractStorage):
    """Keeps the sessions of ``aiohttp_session`` in a store.

    Args:
        store: the URL of the store, or an ``AsyncSessionTokens`` that is shared with other parts of the program.
        cookie_name: the cookie's name; without one ``__Host-session`` on https and ``session`` on http.
        max_age: how long sessions and their cookies last, in seconds or a ``timedelta``; ``None``, or left away: as the
            settings say, and the cookie until the browser is closed.
        path, samesite, secure, domain, partitioned: of the cookie; ``secure``: whether browsers are always on https.
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
        store: str | AsyncSessionTokens,
        *,
        cookie_name: str | None = None,
        max_age: Duration | None | Unset = UNSET,
        path: str = "/",
        samesite: SameSite = "lax",
        secure: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
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
        self.store = SharedStore(store, settings, pepper)
        self.keeping = Keeping(
            session_cookie=cookie_name,
            max_age=max_age,
            path=path,
            same_site=samesite,
            https_only=secure,
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
        super().__init__(cookie_name=self.keeping.cookie.name(is_https=secure), path=path, domain=domain)

    async def load_session(self, request: web.Request) -> TokensSession:
        """Return the session of a request.

        Raises:
            HTTPServiceUnavailable: the store cannot be read; the cookie stays as it is.
            HTTPForbidden: a page of another origin sent the request, with our cookie.
        """
        arriving = _Request(self.keeping, request)
        secret = self.keeping.cookie.value_in(_cookies_of(request), is_https=arriving.incoming.is_https)
        if secret is not None and arriving.incoming.is_forged:
            raise web.HTTPForbidden(text=FORGED)
        return TokensSession(await self._read(arriving, secret), is_loaded=True)

    async def new_session(self) -> TokensSession:
        """Return an empty session; with the response it takes the place of the one that the browser had."""
        given = await self._tokens(), self.store.ends, _Nobody(), self.keeping.options
        return TokensSession(self.keeping.named(AiohttpWebSession(None, None, *given)), is_loaded=False)

    async def _read(self, arriving: Arriving, secret: str | None) -> AiohttpWebSession:
        tokens = await self._tokens()
        given = tokens, self.store.ends, arriving, self.keeping.options
        steps = self.keeping.loading(
            lambda record, secret: AiohttpWebSession(record, secret, *given),
            secret,
            arriving,
            sets_cookie=not arriving.is_handshake,
        )
        try:
            return await drive_async(tokens, steps)
        except (StoreUnavailable, StoreBusy) as error:
            raise _unreadable(error) from error

    async def _tokens(self) -> AsyncSessionTokens:
        try:
            return await self.store.tokens()
        except (StoreUnavailable, StoreBusy) as error:
            raise _unreadable(error) from error

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Write what a request changed, in one command, and put the cookie into the response.

        Raises:
            HTTPServiceUnavailable: the store cannot be written; nothing was done, and the cookie stays as it is.
            HTTPForbidden: the rules refuse the log-in, or a page of another origin asked for it.
        """
        if not isinstance(session, TokensSession):
            raise TypeError(f"that session is not of this storage: {type(session).__name__}")
        kept = session.web if session.is_loaded else await self._in_its_place(request, session.web)
        if kept.is_logging_in and kept.is_forged:
            raise web.HTTPForbidden(text=FORGED)
        try:
            change = await drive_async(kept.tokens, self.keeping.settling(kept, response.status))
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a response is replaced by 503, for its session cannot be written: %s", error)
            raise await self.instead(request, kept, _unavailable(UNWRITABLE)) from error
        except Refused as error:
            refusal = web.HTTPForbidden(text=f"the log-in is refused: {error.code}")
            raise await self.instead(request, kept, refusal) from error
        self._put(change, request, response, kept)

    async def instead(self, request: web.Request, kept: AiohttpWebSession, answer: A) -> A:
        """Return an answer that takes the place of a view's, with the cookie that this request was given, if any."""
        if kept.has_moved:
            change = await drive_async(kept.tokens, kept.failing())
            if change is CookieChange.SET:
                self._put(change, request, answer, kept)
        return answer

    def _put(
        self, change: CookieChange, request: web.Request, response: web.StreamResponse, kept: AiohttpWebSession
    ) -> None:
        """Put the cookie into a response, and what caches must be told."""
        is_https = _Request(self.keeping, request).incoming.is_https
        cookie = self.keeping.cookie_header(change, kept, is_https=is_https)
        before = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        after = headers_with(before, cookie, accessed=True)
        response.headers.clear()
        for name, value in after:
            response.headers.add(name.decode(), value.decode())

    async def _in_its_place(self, request: web.Request, new: AiohttpWebSession) -> AiohttpWebSession:
        """Return the session of the browser with what a new one holds, and nothing of what it held itself."""
        kept = (await self.load_session(request)).web
        fields, messages, log_in = dict(new), new.flashes(), new.log_in_to_be
        kept.logout()
        kept.update(fields)
        kept.options = new.options
        for category, message in messages:
            kept.flash(message, category)
        if log_in is not None:
            kept.login(log_in.owner, remember=log_in.remember, **log_in.options)
        return kept

    async def close(self, _: web.Application | None = None) -> None:
        """Close the store if it was opened here: ``app.on_cleanup.append(storage.close)``."""
        await self.store.close()


@web.middleware
async def outages(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
    """Answer 503 where a view asks the store itself, which is away: ``web.Application(middlewares=[outages])``.

    Where a view fails whose request was given a new cookie (``rotate_every``), the 500 sets it, and so does the answer
    of a view that sends a file: aiohttp_session does not tell its storage of either.
    """
    try:
        answer = await handler(request)
    except (StoreUnavailable, StoreBusy) as error:
        raise await _with_cookie(request, _unreadable(error)) from error
    except web.HTTPException:
        raise
    except Exception as error:
        session = request.get(SESSION_KEY)
        if not isinstance(session, TokensSession) or not session.web.has_moved:
            raise
        log.error("a view has failed", exc_info=error)
        raise await _with_cookie(request, web.HTTPInternalServerError()) from error
    is_told = isinstance(answer, web.Response) or not isinstance(answer, web.StreamResponse)
    return answer if is_told or answer.prepared else await _with_cookie(request, answer)


async def _with_cookie(request: web.Request, answer: A) -> A:
    """Return an answer with the cookie that the request was given, if any."""
    session, storage = request.get(SESSION_KEY), request.get(STORAGE_KEY)
    if not isinstance(session, TokensSession) or not isinstance(storage, SessionTokensStorage):
        return answer
    return await storage.instead(request, session.web, answer)


def storage_of(app: web.Application) -> SessionTokensStorage | None:
    """Return the storage of an application; ``None`` where its sessions are not ours.

    ``aiohttp_session`` keeps it nowhere but within its middleware.
    """
    for each in app.middlewares:
        for cell in getattr(each, "__closure__", None) or ():
            if isinstance(cell.cell_contents, SessionTokensStorage):
                return cell.cell_contents
    return None


async def current_session(request: web.Request) -> AiohttpWebSession:
    """Return the session of the browser, a visitor's too, with all that it can do beside its fields.

    Raises:
        RuntimeError: the application has no sessions of ours.
    """
    session = await get_session(request)
    if not isinstance(session, TokensSession):
        raise RuntimeError("set it up: aiohttp_session.setup(app, SessionTokensStorage('sqlite:///sessions.db'))")
    return session.web


async def login(
    request: web.Request,
    owner: str,
    *,
    remember: bool = False,
    label: str | None = None,
    acr: str | None = None,
    amr: Collection[str] = (),
) -> None:
    """Log a user in who has proved who they are: with the response, a session of theirs takes this one's place.

    Args:
        request: of the user.
        owner: the application's identity string of the user.
        remember: whether it lasts for ``Settings.remember_max_age``, and its cookie outlives the browser.
        label: a name for the user to tell their sessions apart.
        acr: how surely they proved it, a value of the application's (OpenID Connect Core 1.0, section 2).
        amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
    """
    (await current_session(request)).login(owner, remember=remember, label=label, acr=acr, amr=amr)


async def logout(request: web.Request) -> None:
    """Log out: the session ends now, whatever becomes of the view, and the response clears its cookie.

    Raises:
        HTTPServiceUnavailable: the store cannot be written; the session goes on.
    """
    session = await current_session(request)
    if session.id is not None:
        try:
            await session.tokens.destroy_session(session.id)
        except (StoreUnavailable, StoreBusy) as error:
            raise _unavailable(UNWRITABLE) from error
    session.logout()


class _Request(Arriving):
    """What is known of a request of aiohttp."""

    def __init__(self, keeping: Keeping, request: web.Request) -> None:
        self._keeping, self._request = keeping, request

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        header = _cookies_of(self._request).encode("latin-1", "replace")
        return cookie_named(name).value_in(header).decode("latin-1") or None

    def _look(self) -> Incoming:
        request = self._request
        return self._keeping.trust.look_at(request.method, request.remote, self._header, is_https=request.secure)

    def _header(self, name: str) -> str | None:
        lines = self._request.headers.getall(name, ())  # each proxy may write one of its own
        return ", ".join(lines) if lines else None


def _cookies_of(request: web.Request) -> str:
    return "; ".join(request.headers.getall("Cookie", ()))


class _Nobody(Arriving):
    """What is known of the request of a new session, which is asked for without one."""

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        return None

    def _look(self) -> Incoming:
        raise InvalidInput("a new session has no request before it is saved")


def _unreadable(error: Exception) -> web.HTTPServiceUnavailable:
    log.warning("a request is answered 503, for its session cannot be read: %s", error)
    return _unavailable(UNREADABLE)


def _unavailable(text: str) -> web.HTTPServiceUnavailable:
    headers = {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"}
    return web.HTTPServiceUnavailable(text=text, headers=headers)
