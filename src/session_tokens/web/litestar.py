"""Sessions in Litestar: ``Litestar(middleware=[SessionTokensConfig(store="sqlite:///sessions.db").middleware])``.

``request.session`` is the same dictionary as with Litestar's own sessions, and the configuration stands wherever one of
those can: in ``SessionAuth(session_backend_config=…)`` and ``TestClient(session_config=…)`` too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware.base import DefineMiddleware
from litestar.middleware.session.base import BaseBackendConfig, BaseSessionBackend
from litestar.middleware.session.base import SessionMiddleware as LitestarsMiddleware
from litestar.types import Empty, Scopes

from .._async.api import AsyncSessionTokens
from ..crypto.minting import Pepper
from ..errors import InvalidInput, ReauthenticationRequired
from ..settings import UNSET, Duration, Settings
from .asgi import SESSION, AsyncWebSession, Connection, KeptSessions, Message, Send
from .fields import text_of
from .keeping import Keeping
from .moving_in import Peer
from .rotating import GRACE_S
from .session import drive_async, loading
from .shared_store import SharedStore
from .step_up import StepUp

Connected = ASGIConnection[Any, Any, Any, Any]


class SessionTokensBackend(BaseSessionBackend["SessionTokensConfig"]):
    """What Litestar's test client and ``SessionAuth`` ask for; requests are served by ``SessionTokensMiddleware``."""

    def get_session_id(self, connection: Connected) -> str | None:
        """Return the public id of the session; ``None`` where it has no record."""
        session = connection.scope.get(SESSION)
        return session.id if isinstance(session, AsyncWebSession) else None

    async def load_from_connection(self, connection: Connected) -> dict[str, Any]:
        """Return the session of a connection, a new one where its cookie is no living session's."""
        return await self._load(connection)

    async def store_in_message(self, scope_session: Any, message: Any, connection: Connected) -> None:
        """Keep in the session of a connection what is given, and put the cookie into the message."""
        session = await self._load(connection)
        take(session, scope_session, connection.scope)
        keeping = self.config.keeping
        change = await drive_async(session.tokens, keeping.settling(session, message.get("status", 200)))
        is_https = connection.scope.get("scheme") in ("https", "wss")
        cookie = keeping.cookie_header(change, session, is_https=is_https)
        if cookie is not None:
            MutableScopeHeaders.from_message(message).add("set-cookie", cookie)

    async def _load(self, connection: Connected) -> AsyncWebSession:
        store, keeping = self.config.shared, self.config.keeping
        tokens = await store.tokens()
        request = Connection(keeping, connection.scope)  # type: ignore[arg-type]  # a typed dictionary, as any scope
        given = tokens, store.ends, request, keeping.options
        secret = connection.cookies.get(keeping.cookie.name(is_https=request.incoming.is_https))
        steps = loading(lambda record, secret: AsyncWebSession(record, secret, *given), secret)
        return keeping.named(await drive_async(tokens, steps))


class SessionTokensMiddleware(LitestarsMiddleware[SessionTokensBackend]):
    """Gives each request its session, and settles it with the response, as ``session_tokens.web.asgi`` does."""

    def __init__(self, app: Any, backend: SessionTokensBackend) -> None:
        super().__init__(app=app, backend=backend)
        self._sessions = KeptSessions(self._run, backend.config.shared, backend.config.keeping)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request or one WebSocket."""
        await self._sessions(scope, receive, send)

    async def _run(self, scope: Any, receive: Any, send: Send) -> None:
        """Run the application, and take over what it has put in the place of the session."""
        session: AsyncWebSession = scope[SESSION]

        def sent(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                take(session, scope.get("session"), scope)
            return send(message)

        await self.app(scope, receive, sent)  # type: ignore[arg-type]  # a typed dictionary, as any message
        if scope["type"] == "websocket":
            take(session, scope.get("session"), scope)


@dataclass
class SessionTokensConfig(BaseBackendConfig[SessionTokensBackend]):
    """How sessions are kept.

    Attributes:
        store: the URL of the store, or an ``AsyncSessionTokens`` that is shared with other parts of the program.
        key: the cookie's name; ``session`` is ``__Host-session`` on https, another one is used as it is.
        max_age: how long sessions and their cookies last, in seconds; ``None``: as the settings say, and the cookie
            until the browser is closed.
        path, domain, samesite, partitioned: of the cookie; ``secure``: whether browsers are always on https.
        scopes, exclude, exclude_opt_key: which requests have a session, as for every middleware of Litestar.
        trusted_origins: origins whose pages may send requests that change something, beside our own.
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

    store: str | AsyncSessionTokens
    key: str = "session"
    max_age: int | None = None  # type: ignore[assignment]  # of Litestar's own sessions it is never None
    scopes: Scopes = field(default_factory=lambda: BaseBackendConfig.scopes)
    path: str = "/"
    domain: str | None = None
    secure: bool = False
    httponly: bool = True
    samesite: Literal["lax", "strict", "none"] = "lax"
    exclude: str | list[str] | None = None
    exclude_opt_key: str = "skip_session"
    partitioned: bool = False
    trusted_origins: Collection[str] = ()
    trusted_proxies: Collection[str] = ()
    migrate_from: Peer | Sequence[Peer] | None = None
    rotate_every: Duration | None = None
    rotation_grace: Duration = GRACE_S
    owner_key: str | None = None
    owner_of: Callable[[Any], str] = str
    settings: Settings | None = None
    pepper: Pepper | None = field(default=None, repr=False)

    _backend_class = SessionTokensBackend

    def __post_init__(self) -> None:
        """Look at the arguments, and hold the store ready."""
        if not self.httponly:
            raise InvalidInput("no script needs the secret of a session: leave httponly=True")
        self.shared = SharedStore(self.store, self.settings, self.pepper)
        self.keeping = Keeping(
            session_cookie=None if self.key == "session" else self.key,
            max_age=UNSET if self.max_age is None else self.max_age,
            path=self.path,
            same_site=self.samesite,
            https_only=self.secure,
            domain=self.domain,
            partitioned=self.partitioned,
            trusted_origins=self.trusted_origins,
            trusted_proxies=self.trusted_proxies,
            migrate_from=self.migrate_from,
            rotate_every=self.rotate_every,
            rotation_grace=self.rotation_grace,
            owner_key=self.owner_key,
            owner_of=self.owner_of,
        )

    @property
    def middleware(self) -> DefineMiddleware:
        """What stands in the ``middleware`` of an application, a router, a controller or a handler."""
        return DefineMiddleware(SessionTokensMiddleware, backend=SessionTokensBackend(config=self))

    async def close(self) -> None:
        """Close the store if it was opened here: ``Litestar(on_shutdown=[config.close])``."""
        await self.shared.close()


def config_of(app: Litestar) -> SessionTokensConfig | None:
    """Return how an application keeps its sessions; ``None`` where they are not ours."""
    for each in app.middleware:
        given = getattr(each, "kwargs", {})
        backend = given.get("backend") or getattr(given.get("config"), "session_backend", None)
        if isinstance(backend, SessionTokensBackend):
            return backend.config
    return None


def take(session: AsyncWebSession, given: object, scope: Any) -> None:
    """Let a session hold what an application has put in its place, by ``set_session`` or ``clear_session``."""
    if given is session:
        return
    if given is Empty or given is None:
        session.clear()
        return
    fields = BaseSessionBackend.deserialize_data(BaseSessionBackend.serialize_data(given, scope))  # type: ignore[arg-type]
    for gone in [name for name in session if name not in fields]:
        del session[gone]
    for name, value in fields.items():
        if name not in session or text_of(session[name]) != text_of(value):  # 1 and True are equal, and not the same
            session[name] = value


def current_session(connection: Connected) -> AsyncWebSession:
    """Return the session of the browser, a visitor's too.

    Raises:
        RuntimeError: the application has no sessions of ours.
    """
    session = connection.scope.get(SESSION)
    if not isinstance(session, AsyncWebSession):
        raise RuntimeError("add the middleware: Litestar(middleware=[SessionTokensConfig(store='…').middleware])")
    session.mark_accessed()
    return session


def login(
    connection: Connected,
    owner: str,
    *,
    remember: bool = False,
    label: str | None = None,
    acr: str | None = None,
    amr: Collection[str] = (),
) -> None:
    """Log a user in who has proved who they are: with the response, a session of theirs takes this one's place.

    Args:
        connection: the request.
        owner: the application's identity string of the user.
        remember: whether it lasts for ``Settings.remember_max_age``, and its cookie outlives the browser.
        label: a name for the user to tell their sessions apart.
        acr: how surely they proved it, a value of the application's (OpenID Connect Core 1.0, section 2).
        amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
    """
    current_session(connection).login(owner, remember=remember, label=label, acr=acr, amr=amr)


def logout(connection: Connected) -> None:
    """Log out: the session ends with the response, and its cookie is cleared."""
    current_session(connection).logout()


def require_session(connection: Connected, _: BaseRouteHandler) -> None:
    """Guard handlers: ``guards=[require_session]`` answers visitors 401."""
    if current_session(connection).owner is None:
        raise NotAuthorizedException("log in first")


def require_recent(
    max_age: Duration | None = None, *, minutes: float | None = None, acr: str | Collection[str] | None = None
) -> Callable[[Connected, BaseRouteHandler], None]:
    """Return a guard as ``require_session`` that wants a log-in not long ago (step-up); an older one is a 401.

    Args:
        max_age: how long ago it may be, in seconds or a ``timedelta``.
        minutes: the same in minutes; 10 where neither is given.
        acr: how surely they must have proved who they are: the value of the log-in, or all that will do.

    Raises:
        InvalidInput: both durations are given, or a duration that can never be right.
    """
    wanted = StepUp(max_age, minutes, acr)

    def recent(connection: Connected, handler: BaseRouteHandler) -> None:
        require_session(connection, handler)
        try:
            wanted.check(current_session(connection))
        except ReauthenticationRequired as error:
            raise NotAuthorizedException(str(error), headers={"WWW-Authenticate": wanted.challenge}) from None

    return recent
