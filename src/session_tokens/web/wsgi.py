"""Sessions in applications of WSGI that have none of their own: Bottle, Falcon, Pyramid, and whatever else it serves.

``app = SessionMiddleware(app, store="sqlite:///sessions.db")`` puts the session into the environment of each request;
with ``environ_key="beaker.session"`` where Beaker's middleware had it, with the methods that applications call there.

Theory of operation. A request without our cookie asks the store nothing. With one, its session is read before the
application runs. What the response does to it is settled when the application has given its answer, or its first bytes
where it answers with a generator, and before anything is sent: whoever is redirected finds what was written. What is
changed after that is not kept.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any

from .._sync.api import SessionTokens
from ..crypto.minting import Pepper
from ..errors import Refused, StoreBusy, StoreError, StoreUnavailable
from ..records import JSON, Page, Session
from ..settings import UNSET, Duration, Settings, Unset
from .cookies import SameSite, cookie_named
from .devices import ending_other, ending_others, listing
from .incoming import Incoming
from .keeping import UNREADABLE, UNWRITABLE, Arriving, Keeping, headers_of_answer, headers_with
from .moving_in import Peer
from .origins import FORGED
from .process_store import ProcessStore
from .rotating import GRACE_S
from .session import WebSession, drive

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

log = logging.getLogger("session_tokens.web")

ENVIRON_KEY = "session_tokens.session"
ATTEMPT = "retry.attempt"
"""Where pyramid_retry counts: from 1 on, a request takes the place of one that failed, in the same environment."""
CSRF = "_csrf_token"
QUEUE = "message"


class WsgiSession(WebSession):
    """A browser's session in an application of WSGI, and the user's other sessions.

    It has what Beaker's session has (``save``, ``delete``, ``invalidate``, ``id``), and all of Pyramid's ``ISession``.
    Nothing needs to be saved: changes are noticed.
    """

    __slots__ = ("_request", "_store")

    def __init__(
        self,
        record: Session | None,
        secret: str | None,
        store: ProcessStore,
        request: _Request,
        options: dict[str, Any],
    ) -> None:
        super().__init__(record, secret, client=request.client, options=options)
        self._store, self._request = store, request

    @property
    def tokens(self) -> SessionTokens:
        """The API on the store that it is kept in."""
        return self._store.tokens()

    @property
    def is_forged(self) -> bool:
        """Whether a page of another origin sent the request, which then logs nobody in and opens no session."""
        return self._request.incoming.is_forged

    def list_devices(self, *, after: str | None = None, limit: int = 100) -> Page[Session]:
        """Return a page of the living sessions of whoever is logged in here, this one too; a visitor has none."""
        return drive(self.tokens, listing(self, after, limit))

    def end_other(self, id: str) -> bool:
        """End a session of the same user by its id; return whether one lived. Another user's is never touched.

        Its own session is ended by ``logout()``, which clears the cookie too.
        """
        return drive(self.tokens, ending_other(self, id))

    def end_others(self) -> int:
        """End all sessions of the same user but this one, in one instant; return how many were ended."""
        return drive(self.tokens, ending_others(self))

    # What applications call that had Beaker's sessions, or Pyramid's.

    @property
    def created(self) -> int:
        """When it was opened, in seconds since the epoch; 0 where it has no record yet."""
        return 0 if self.record is None else self.record.created_at // 1000

    @property
    def is_new(self) -> bool:
        """Whether there is no record of it yet."""
        return self.new

    @property
    def last_accessed(self) -> float | None:
        """When it was last used, in seconds since the epoch; ``None`` where it has no record yet."""
        return None if self.record is None else self.record.last_seen_at / 1000

    def has_key(self, field: str) -> bool:
        """Whether it has a field of that name."""
        return field in self

    def save(self, accessed_only: bool = False) -> None:
        """Do nothing: what was changed is written with the response."""

    persist = save

    def changed(self) -> None:
        """Do nothing: changes are noticed without it."""

    def delete(self) -> None:
        """Log out, as ``logout()``: with the response the session ends, and its cookie is cleared."""
        self.logout()

    def invalidate(self) -> None:
        """End the session with the response; what is put in after this is kept in a new one, of a visitor."""
        self.logout()

    def flash(
        self, message: JSON, category: str = QUEUE, allow_duplicate: bool = True, *, queue: str | None = None
    ) -> None:
        """Keep a message for the next page.

        Args:
            message: what is kept.
            category, queue: which messages it belongs to; both names mean the same.
            allow_duplicate: whether it is kept once more if it is there already.
        """
        category = category if queue is None else queue
        if allow_duplicate or message not in self.peek_flash(category):
            super().flash(message, category)

    def pop_flash(self, queue: str = QUEUE) -> list[JSON]:
        """Return the messages of a category that were kept, each once."""
        return self._take_messages(queue)

    def peek_flash(self, queue: str = QUEUE) -> list[JSON]:
        """Return the messages of a category that were kept, and keep them."""
        return [message for category, message in self._messages() if category == queue]

    def new_csrf_token(self) -> str:
        """Make a token for the forms of this session, which takes the place of the one before."""
        self[CSRF] = token = secrets.token_urlsafe(32)
        return token

    def get_csrf_token(self) -> str:
        """Return the token for the forms of this session, made if there is none."""
        token = self.get(CSRF)
        return token if isinstance(token, str) else self.new_csrf_token()


class SessionMiddleware:
    """Keeps a browser's session in the environment of each request.

    Args:
        app: the application.
        store: the URL of the store, or a ``SessionTokens`` that is shared with other parts of the program.
        environ_key: where the session is found: ``beaker.session`` for applications that had Beaker's.
        session_cookie: the cookie's name; without one ``__Host-session`` on https and ``session`` on http.
        max_age: how long sessions and their cookies last, in seconds or a ``timedelta``; ``None``, or left away: as the
            settings say, and the cookie until the browser is closed; 0 or less: not at all.
        path, same_site, https_only, domain, partitioned: of the cookie, as for ``SessionCookie``.
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
        settings, pepper: as for ``SessionTokens.open``, where ``store`` is a URL.

    Raises:
        InvalidInput: an argument that can never be right.
    """

    def __init__(
        self,
        app: App,
        store: str | SessionTokens,
        *,
        environ_key: str = ENVIRON_KEY,
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
        settings: Settings | None = None,
        pepper: Pepper | None = None,
    ) -> None:
        self.app = app
        self.store = ProcessStore(store, settings=settings, pepper=pepper)
        self.environ_key = environ_key
        self.keeping = Keeping(
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = _Request(self.keeping, environ, start_response)
        secret = request.secret()
        if self.keeping.is_visit(secret, request):
            session = self.keeping.named(WsgiSession(None, None, self.store, request, self.keeping.options))
        elif secret is not None and request.incoming.is_forged:
            return request.answered(403, FORGED)
        else:
            given = self.store, request, self.keeping.options
            try:
                steps = self.keeping.loading(
                    lambda record, secret: WsgiSession(record, secret, *given),
                    secret,
                    request,
                    sets_cookie=not request.is_handshake,
                )
                session = drive(self.store.tokens(), steps)
            except (StoreUnavailable, StoreBusy) as error:
                log.warning("a request is answered 503, for its session cannot be read: %s", error)
                return request.answered(503, UNREADABLE)
        environ[self.environ_key] = request.session = session
        try:
            return request.settled(self.app(environ, request.start))
        except Exception as error:
            if not request.has_begun:
                _settle_error(session)
                if isinstance(error, StoreUnavailable | StoreBusy):
                    return request.answered_outage(error)
                if session.has_moved:
                    return request.failed(error)
            raise


def middleware_of(app: Any) -> SessionMiddleware | None:
    """Return the middleware that keeps the sessions of an application; ``None`` where there is none.

    Args:
        app: an application whose layers hold the next one as ``app`` or ``wsgi_app``, as Flask's middleware does.
    """
    while app is not None and not isinstance(app, SessionMiddleware):
        app = getattr(app, "app", None) or getattr(app, "wsgi_app", None)
    return app


def session_of(environ: Environ, environ_key: str = ENVIRON_KEY) -> WsgiSession:
    """Return the session of a request: ``session_of(request.environ)``.

    Args:
        environ: of the request (Bottle: ``request.environ``, Falcon: ``req.env``, Pyramid: ``request.environ``).
        environ_key: as the middleware was given it.

    Raises:
        RuntimeError: the application has no ``SessionMiddleware``.
    """
    session = environ.get(environ_key)
    if not isinstance(session, WsgiSession):
        raise RuntimeError("wrap the application: app = SessionMiddleware(app, store='sqlite:///sessions.db')")
    return session


def session_factory(environ_key: str = ENVIRON_KEY) -> Callable[[Any], WsgiSession]:
    """Return what Pyramid takes: ``config.set_session_factory(session_factory())``, beside the middleware."""

    def session_for(request: Any) -> WsgiSession:
        session = session_of(request.environ, environ_key)
        if request.environ.get(ATTEMPT):
            session.begin_anew()
        return session

    return session_for


def _settle_error(session: WsgiSession) -> None:
    """After an exception no response of ours reaches the browser; a log-out is done all the same."""
    if session.is_untouched:
        return
    try:
        drive(session.tokens, session.settling(500))
    except StoreError as error:
        log.warning("a log-out could not be written: %s", error)


class _Request(Arriving):
    """One request and its response: what is known of it is found when it is asked for."""

    session: WsgiSession
    has_begun = _is_accessed = False
    _held: tuple[str, Headers, tuple[ExcInfo, ...]] | None = None
    _write: Write | None = None
    _instead: list[bytes] | None = None
    _cookie: str | None = None

    def __init__(self, keeping: Keeping, environ: Environ, start_response: StartResponse) -> None:
        """Keep what came: a copy, for the session will stand in the other, and both would wait for the collector."""
        self._keeping, self._environ, self._start_response = keeping, environ.copy(), start_response

    def secret(self) -> str | None:
        """Return what our cookie holds."""
        header = self._environ.get("HTTP_COOKIE")
        return self._keeping.cookie.value_in(header, is_https=self.incoming.is_https) if header else None

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, of another library for example."""
        header = self._environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
        return cookie_named(name).value_in(header).decode("latin-1") or None

    def _look(self) -> Incoming:
        environ = self._environ
        return self._keeping.trust.look_at(
            environ["REQUEST_METHOD"],
            environ.get("REMOTE_ADDR") or None,  # empty for a Unix socket
            self._header,
            is_https=environ["wsgi.url_scheme"] == "https",
        )

    def _header(self, name: str) -> str | None:
        value: str | None = self._environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value

    def start(self, status: str, headers: Headers, *exc_info: ExcInfo) -> Write:
        """Take the beginning of the response, which is held back until the session is settled."""
        if self.has_begun and self._instead is None:  # the application fails in the middle of its answer
            return self._start_response(status, self._dressed(headers), *exc_info)
        self._held = status, headers, exc_info
        return self._write_now

    def _write_now(self, data: bytes) -> None:
        """Send bytes as older applications do, without returning them."""
        self.begin()
        if self._write is not None:
            self._write(data)

    def settled(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Return what is sent for an answer of the application, after its session was settled."""
        if self._held is None and not self.has_begun:
            return _Late(self, body)
        try:
            self.begin()
        except BaseException:
            close(body)
            raise
        if self._instead is None:
            return body
        close(body)
        return self._instead

    def begin(self) -> list[bytes] | None:
        """Settle the session, and begin the response; return what is sent instead of the application's, if anything."""
        if self.has_begun or self._held is None:
            return self._instead
        status, headers, exc_info = self._held
        session = self.session
        error = exc_info[0][1] if exc_info and exc_info[0] else None
        if isinstance(error, StoreUnavailable | StoreBusy):  # a framework that handles errors itself, as Bottle does
            _settle_error(session)
            return self.answered_outage(error)
        if session.is_untouched:
            self.has_begun = True
            del self.session  # which knows this: else both wait for the garbage collector
            self._write = self._start_response(status, headers, *exc_info)
            return None
        if session.is_logging_in and session.is_forged:
            return self.answered(403, FORGED)
        try:
            change = drive(session.tokens, self._keeping.settling(session, int(status[:3])))
        except (StoreUnavailable, StoreBusy) as error:
            log.warning("a response is replaced by 503, for its session cannot be written: %s", error)
            return self.answered(503, UNWRITABLE)
        except Refused as error:
            return self.answered(403, f"the log-in is refused: {error.code}")
        self.has_begun, self._is_accessed = True, session.accessed
        self._cookie = self._keeping.cookie_header(change, session, is_https=self.incoming.is_https)
        del self.session
        self._write = self._start_response(status, self._dressed(headers), *exc_info)
        return None

    def _dressed(self, headers: Headers) -> Headers:
        """Return the headers of the application with ours."""
        if self._cookie is None and not self._is_accessed:
            return headers
        return _texts(headers_with(_bytes(headers), self._cookie, accessed=self._is_accessed))

    def answered_outage(self, error: Exception) -> list[bytes]:
        """Answer 503 where the application asked the store itself, and return the bytes to send."""
        log.warning("a request is answered 503, for the store cannot be asked: %s", error)
        return self.answered(503, "try again")

    def answered(self, status: int, text: str) -> list[bytes]:
        """Answer instead of the application, and return the bytes to send."""
        body, cookie = text.encode(), None
        session: WsgiSession | None = getattr(self, "session", None)
        if session is not None and session.has_moved:  # the browser is to have that cookie whatever is answered
            change = drive(session.tokens, session.failing())
            cookie = self._keeping.cookie_header(change, session, is_https=self.incoming.is_https)
        headers = headers_with(headers_of_answer(status, body), cookie, accessed=False)
        self.has_begun, self._instead = True, [body]
        self._start_response(f"{status} {HTTPStatus(status).phrase}", _texts(headers))
        return self._instead

    def failed(self, error: Exception) -> Iterator[bytes]:
        """Answer 500 with the cookie that this request was given, and fail after that as the application did."""
        yield from self.answered(500, "Internal Server Error")
        raise error


class _Late:
    """The answer of an application that begins only when its first bytes are asked for."""

    def __init__(self, request: _Request, body: Iterable[bytes]) -> None:
        self._request, self._body = request, body
        self._parts = self._settling()

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def _settling(self) -> Iterator[bytes]:
        parts = iter(self._body)
        first: bytes | None = None
        instead: list[bytes] | None
        try:
            first = next(parts, None)
            instead = self._request.begin()
        except Exception as error:
            if self._request.has_begun:
                raise
            session = self._request.session
            _settle_error(session)
            if isinstance(error, StoreUnavailable | StoreBusy):
                instead = self._request.answered_outage(error)
            elif session.has_moved:
                yield from self._request.failed(error)
                return
            else:
                raise
        if instead is not None:
            yield from instead
            return
        if first is not None:
            yield first
            yield from parts

    def close(self) -> None:
        """Tell the application that it is over."""
        close(self._body)


def close(body: Iterable[bytes]) -> None:
    """Tell an application that nobody asks for the rest of its answer, if it wants to know."""
    closing = getattr(body, "close", None)
    if closing is not None:
        closing()


def _bytes(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _texts(headers: list[tuple[bytes, bytes]]) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
