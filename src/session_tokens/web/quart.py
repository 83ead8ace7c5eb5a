"""Sessions in Quart: ``app.session_interface = QuartSessionTokensInterface("sqlite:///sessions.db")``.

``quart.session`` is what it was, and all that is said of Flask's sessions holds, with Quart's settings of the same
names. A browser's session is read before its request is served, for views look into it without waiting; where the
store is away, the first look is a 503. After a WebSocket the changed fields of a session that exists are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from flask.sessions import SessionMixin
from quart import Quart, current_app, has_request_context, request
from quart import session as quart_session
from quart.sessions import SessionInterface
from quart.wrappers import Request, Response
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.exceptions import Forbidden

from .._async.api import AsyncSessionTokens
from ..crypto.minting import Pepper
from ..errors import InvalidInput, SessionEnded, StoreError, UnknownSession
from ..records import Session
from ..settings import Duration, Settings
from .asgi import AsyncWebSession
from .cookies import cookie_named
from .flask.by_flask import SessionsByFlask, answer_unavailable, is_of_outage, unavailable
from .flask.session import FlaskSession, decode, encode
from .flask.settings import store_url
from .incoming import Incoming
from .keeping import Arriving
from .moving_in import Peer, moving_in, peers_of, taken_in
from .origins import FORGED
from .rotating import GRACE_S, rotating
from .session import WebSession, drive_async, loading
from .shared_store import SharedStore, running_loop

log = logging.getLogger("session_tokens.web")

REMEDY = "set app.session_interface = QuartSessionTokensInterface(…) first"


class QuartSession(FlaskSession):
    """What ``quart.session`` is: the fields of a ``WebSession``, and who is logged in.

    Attributes:
        has_moved: whether the browser is to be given another cookie, though nobody may read the session.
        is_of_socket: whether it is that of a WebSocket, whatever Quart answers: no cookie can be set there.
        is_settled: whether Quart asked to save it.
        settle_when_left: has it settled too where Quart cancels the view before that; called once it ends, by a plain
            view on a thread without an event loop.
    """

    has_moved = is_of_socket = is_settled = False
    settle_when_left: Callable[[], object] | None = None

    def log_out(self) -> None:
        """Let the response end the session, or the browser that does not wait for it; its fields are gone now."""
        super().log_out()
        self._may_leave()

    def __setitem__(self, field: str, value: Any) -> None:
        super().__setitem__(field, value)
        if field == self._owner_key:
            self._may_leave()

    def __delitem__(self, field: str) -> None:
        super().__delitem__(field)
        self._may_leave()

    def clear(self) -> None:
        """Empty it; one that is still empty with the response ends, and its cookie goes."""
        super().clear()
        self._may_leave()

    def _may_leave(self) -> None:
        if self.settle_when_left is not None and self.is_leaving:
            self.settle_when_left()
            self.settle_when_left = None

    @property
    def web(self) -> AsyncWebSession:
        """The session without what is Quart's own: who is logged in, their other sessions, ``closes``."""
        web = super().web
        assert isinstance(web, AsyncWebSession)
        return web

    @property
    def accessed(self) -> bool:
        """Whether the view read it. Quart touches each session itself, which does not count."""
        return self.is_loaded

    @accessed.setter
    def accessed(self, value: bool) -> None:
        """Accept what Quart says."""


class _Asked(Arriving):
    """What is known of a request, or of a WebSocket."""

    def __init__(self, request: BaseRequestWebsocket, look: Callable[[Any], Incoming]) -> None:
        self._request, self._look_at = request, look
        self._cookies = "; ".join(request.headers.getlist("Cookie")).encode("latin-1", "replace")

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        return cookie_named(name).value_in(self._cookies).decode("latin-1") or None

    def _look(self) -> Incoming:
        return self._look_at(self._request)

    def _header(self, name: str) -> str | None:
        value: str | None = self._request.headers.get(name)
        return value


class QuartSessionTokensInterface(SessionsByFlask, SessionInterface):
    """Keep Quart's sessions in a store.

    Args:
        store: a URL, or an ``AsyncSessionTokens`` that is open already; by default what the configuration names
            (``SESSION_TOKENS_STORE``, or the environment variable of that name).
        owner_key: the field of the session that says who is logged in, where the application keeps it in one:
            setting it is a log-in, removing it a log-out. Without one, call ``login`` and ``logout``.
        owner_of: maps what is in that field to the owner.
        trusted_origins: origins whose pages may send requests that change something, beside our own; to others the
            session is a 403, and they log nobody in.
        trusted_proxies: networks of proxies that are trusted when they say from where a request comes.
        migrate_from: where users come from who bring no cookie of ours: one of ``moving_in.peers``, or a list.
        rotate_every: a browser gets a new cookie with the first request after so long, in seconds or a ``timedelta``;
            ``None``: with a log-in alone.
        rotation_grace: for how long the cookie before is good all the same; its use after that ends the session.
        settings, pepper: as for ``AsyncSessionTokens.open``.

    Raises:
        InvalidInput: an origin or a network that is none.
    """

    def __init__(
        self,
        store: str | AsyncSessionTokens | None = None,
        *,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
        trusted_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        migrate_from: Peer | Sequence[Peer] | None = None,
        rotate_every: Duration | None = None,
        rotation_grace: Duration = GRACE_S,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
    ) -> None:
        super().__init__(owner_key, owner_of, trusted_origins, trusted_proxies)
        self._peers = peers_of(migrate_from)
        self._rotating = rotating(rotate_every, rotation_grace)
        self._settings, self._pepper = settings, pepper
        self._settling_left: set[asyncio.Task[None]] = set()
        self._store = None if store is None else SharedStore(store, settings, pepper)

    async def tokens_of(self, app: Quart) -> AsyncSessionTokens:
        """Return the API that the sessions are kept with; each event loop has its own connections."""
        return await self.store_of(app).tokens()

    def store_of(self, app: Quart) -> SharedStore:
        """Return the store, which each event loop opens for itself."""
        if self._store is None:
            self._store = SharedStore(store_url(app), self._settings, self._pepper)  # type: ignore[arg-type]  # as Flask
        return self._store

    async def close(self) -> None:
        """Close the store if it was opened here: ``app.after_serving(app.session_interface.close)``."""
        if self._store is not None:
            await self._store.close()

    def _incoming(self, request: Any) -> Incoming:
        header = self._header_of(request)
        method = request.method if isinstance(request, Request) else "POST"  # a WebSocket's says nothing
        return self._trust.look_at(method, request.remote_addr, header, is_https=request.is_secure)

    # --- what Quart calls --------------------------------------------------------------------------------------------

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> QuartSession:
        """Return the session of a request, read from the store if the browser has a cookie of ours."""
        loop = running_loop()  # a plain view, which is run on a thread, has none
        arriving = _Asked(request, self._incoming)
        cookie, incoming = arriving.cookie, arriving.incoming
        presented = cookie(self.cookie_name(app, request))
        others = [peer for peer in self._peers if cookie(peer.cookie)]

        def made(record: Session | None = None, secret: str | None = None) -> AsyncWebSession:
            store = self.store_of(app)
            given = store.when_asked(loop), store.ends, arriving
            return AsyncWebSession(record, secret, *given, options={}, encode=encode, decode=decode)

        async def found() -> AsyncWebSession | StoreError | None:
            if not (presented or others) or incoming.is_forged:
                return None
            try:
                tokens = await self.tokens_of(app)
                web = await drive_async(tokens, loading(made, presented))
                sets_cookie = isinstance(request, Request)
                if web.record is None and others:
                    moving = moving_in(
                        self._peers, cookie, encode=encode, client=arriving.client, sets_cookie=sets_cookie
                    )
                    issued = await drive_async(tokens, moving)
                    if issued is not None:
                        web = taken_in(made, issued, sets_cookie=sets_cookie)
                elif self._rotating is not None and sets_cookie:
                    await drive_async(tokens, self._rotating.take(web))
            except StoreError as error:
                return error
            return web

        outcome = await found()

        def load() -> WebSession:
            if (presented or others) and incoming.is_forged:
                raise Forbidden(FORGED)
            if isinstance(outcome, StoreError):
                raise unavailable(outcome) from outcome
            return made() if outcome is None else outcome

        given = bool(presented or others), incoming.is_forged, self.owner_key, self._owner_of
        session = QuartSession(load, *given)
        session.has_moved = isinstance(outcome, WebSession) and outcome.has_moved
        session.is_of_socket = not isinstance(request, Request)
        self._settle_when_left(app, session)
        return session

    def _settle_when_left(self, app: Quart, session: QuartSession) -> None:
        """Settle the session where the browser leaves: Quart cancels the view then, and asks for nothing."""

        def left(view: asyncio.Task[Any]) -> None:
            if view.cancelled() and not session.is_settled and (session.is_of_socket or session.is_leaving):
                settling = asyncio.get_running_loop().create_task(self._save_socket(app, session))
                self._settling_left.add(settling)
                settling.add_done_callback(self._settling_left.discard)

        view = asyncio.current_task()
        if view is None:
            return
        if session.is_of_socket:
            view.add_done_callback(left)
        else:  # as after a failure, a log-out is done and no more; of a task that has ended already it is told as well
            session.settle_when_left = partial(view.get_loop().call_soon_threadsafe, view.add_done_callback, left)

    async def save_session(self, app: Quart, session: SessionMixin, response: Any) -> None:
        """Write what a request changed, in one command, and set or clear the cookie."""
        if not isinstance(session, QuartSession):
            raise TypeError(f"that session is not of this interface: {type(session).__name__}")
        if session.is_of_socket:
            session.is_settled = True
            await self._save_socket(app, session, 200 if response is None else response.status_code)
        else:
            await self._save(app, session, response)
            session.is_settled = True

    async def _save(self, app: Quart, session: QuartSession, response: Any) -> None:
        """Write what a request changed, and set or clear the cookie."""
        if is_of_outage(response):
            answer_unavailable(response)
        if session.has_moved:
            session.read()
        if session.accessed:
            response.vary.add("Cookie")
        if self._is_of_no_concern(app, session, response):
            return
        asked = _meant_by(request) if has_request_context() else None
        try:
            tokens = await self.tokens_of(app)
        except StoreError:
            answer_unavailable(response)
            return
        await drive_async(tokens, self._settling(app, session, response, asked, tokens.settings))

    async def _save_socket(self, app: Quart, session: QuartSession, status: int = 200) -> None:
        """After a WebSocket, write what changed; no cookie can be set, so that nobody logs in and no record is made."""
        if not session.is_loaded or session.record is None or session.is_logging_in:
            return
        answer = Response(status=500 if session.is_leaving else status)  # 500: no visitor's session is left behind
        try:
            tokens = await self.tokens_of(app)
            await drive_async(tokens, self._written(app, session, answer, None, tokens.settings))
        except StoreError as error:
            log.warning("what a WebSocket changed in its session could not be written: %s", error)


def _meant_by(proxy: Any) -> Any:
    """Return what a name of Quart's stands for in this request."""
    return proxy._get_current_object()


def current_session() -> QuartSession:
    """Return the session of this request, as ``quart.session`` and with its types: ``id``, ``owner``, ``record``.

    Raises:
        InvalidInput: the application has another session interface.
    """
    session = _meant_by(quart_session)
    if not isinstance(session, QuartSession):
        raise InvalidInput(REMEDY)
    return session


def login(
    owner: str,
    *,
    remember: bool = False,
    label: str | None = None,
    acr: str | None = None,
    amr: Collection[str] = (),
) -> None:
    """Log an owner in: the response opens a session for them under a new secret and ends the one before.

    A visitor's data is carried over; of a session of another owner nothing is. If the response is an error (500 or
    more), nothing happens and the visitor's session goes on. An owner who is disabled gets a 403.

    Args:
        owner: the application's identity string, such as the id of the user.
        remember: whether the log-in lasts for ``Settings.remember_max_age`` (30 days) and survives the browser's end.
        label: a name for the user to tell their sessions apart.
        acr: how surely they proved it, a value of the application's (OpenID Connect Core 1.0, section 2).
        amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
    """
    session = current_session()
    session.log_in(owner, label=label, acr=acr, amr=amr)
    if remember:
        session.remember(None)


def logout() -> None:
    """Let the response end the session, for every process, and take the cookie away; its fields are gone now."""
    current_session().log_out()


async def logout_everywhere(*, keep_current: bool = True) -> int:
    """End every session of who is logged in, on all devices, in one instant; return how many were ended.

    Where the one to keep has ended meanwhile, none is: whoever asks is not logged in any more.

    Args:
        keep_current: whether the session of this request goes on.

    Raises:
        ServiceUnavailable: the store cannot be reached; every session goes on.
    """
    session = current_session()
    owner, record = session.owner, session.record
    if owner is None:
        return 0
    interface = current_app.session_interface
    assert isinstance(interface, QuartSessionTokensInterface)
    kept = record.id if record is not None and keep_current and record.owner == owner else None
    try:
        tokens = await interface.tokens_of(current_app)
        ended = await tokens.destroy_sessions(owner, except_session=kept)
    except (SessionEnded, UnknownSession):
        return 0
    except StoreError as error:
        raise unavailable(error) from error
    if not keep_current:
        session.log_out()
    return ended
