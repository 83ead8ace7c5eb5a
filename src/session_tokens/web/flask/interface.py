"""The session interface of Flask: reads lazily, writes what changed in one command, and says so in the cookie."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from flask import Flask, Request, Response, current_app
from flask.globals import request_ctx
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import Forbidden, ServiceUnavailable

from ..._sync.api import SessionTokens
from ...clock import Clock
from ...crypto.minting import Pepper
from ...errors import LimitReached, OwnerDisabled, StoreError
from ...settings import Settings
from ..cookies import cookie_named
from ..incoming import Incoming, Trust
from ..moving_in import Peer, moving_in, peers_of
from ..origins import FORGED
from ..session import CookieChange, WebSession, drive, loading
from .session import FlaskSession, decode, encode
from .settings import store_url

RETRY_AFTER_S = 2
"""When a browser may come again after an outage."""


class SessionTokensInterface(SessionInterface):
    """Keep Flask's sessions in a store: ``app.session_interface = SessionTokensInterface("sqlite:///sessions.db")``.

    The cookie holds a secret and nothing else. A visitor has no record before there is data; a cookie that was not
    given out here is never adopted; nothing that was ended is revived by a request that was still running; two requests
    that change different fields both survive; a store that is away is a 503, and logs nobody out.

    Args:
        store: a URL, or a ``SessionTokens`` that is open already; by default what the configuration names
            (``SESSION_TOKENS_STORE``, or Flask-Session's settings), opened at the first use.
        owner_key: the field of the session that says who is logged in, where the application keeps it in one:
            setting it is a log-in, removing it a log-out. Without one, call ``login`` and ``logout``.
        owner_of: maps what is in that field to the owner.
        trusted_origins: origins whose pages may send requests that change something, beside our own; to others the
            session is a 403, and they log nobody in.
        trusted_proxies: networks of proxies that are trusted when they say from where a request comes.
        migrate_from: where users come from who bring no cookie of ours: one of ``moving_in.peers``, or a list.
        settings, pepper, clock: as for ``SessionTokens.open``.

    Raises:
        InvalidInput: an origin or a network that is none.
    """

    def __init__(
        self,
        store: str | SessionTokens | None = None,
        *,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
        trusted_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        migrate_from: Peer | Sequence[Peer] | None = None,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._url = store if isinstance(store, str) else None
        self._given = store if isinstance(store, SessionTokens) else None
        self._opened: SessionTokens | None = None
        self._process = 0
        self._opening = threading.Lock()
        self._settings, self._pepper, self._clock = settings, pepper, clock
        self._trust = Trust(trusted_origins, trusted_proxies)
        self._peers = peers_of(migrate_from)
        self.take_owner_from(owner_key, owner_of)

    def take_owner_from(self, owner_key: str | None, owner_of: Callable[[Any], str] = str) -> None:
        """Name the field that says who is logged in, and what maps it to the owner."""
        self.owner_key, self._owner_of = owner_key, owner_of

    def tokens_of(self, app: Flask) -> SessionTokens:
        """Return the API that the sessions are kept with; a process that was forked opens its own."""
        if self._given is not None:
            return self._given
        if self._opened is None or self._process != os.getpid():
            with self._opening:
                if self._opened is None or self._process != os.getpid():
                    url = self._url or store_url(app)
                    self._opened = SessionTokens.open(
                        url, settings=self._settings, pepper=self._pepper, clock=self._clock
                    )
                    self._process = os.getpid()
        return self._opened

    def use(self, tokens: SessionTokens | None) -> SessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        before, self._given = self._given, tokens
        return before

    def regenerate(
        self,
        session: SessionMixin,
        *,
        authenticated: bool = False,
        acr: str | None = None,
        amr: Collection[str] = (),
    ) -> None:
        """Give the session a new secret; the old one is dead at once (Flask-Session has this name).

        Args:
            session: the one of the request.
            authenticated: whether its owner has just proved who they are (step-up).
            acr, amr: how they did it, as for ``login``.

        Raises:
            SessionEnded: it ended while the request was running.
            ServiceUnavailable: the store cannot be reached; the old secret goes on.
        """
        if not isinstance(session, FlaskSession) or session.id is None:
            return
        try:
            tokens = self.tokens_of(current_app)
            issued = tokens.rotate_session(session.id, authenticated=authenticated, acr=acr, amr=amr)
            session.web.rotated(issued)
        except StoreError as error:
            raise unavailable(error) from error

    # --- what Flask calls --------------------------------------------------------------------------------------------

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """Return the session of a request; the store is asked when it is first read."""
        header = request.environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
        presented = cookie_named(self.cookie_name(app, request)).value_in(header).decode("latin-1")
        others = [
            each for peer in self._peers if (each := cookie_named(peer.cookie).value_in(header).decode("latin-1"))
        ]
        incoming = self._incoming(request)

        def client() -> tuple[str | None, str | None]:
            return request.headers.get("User-Agent"), incoming.address

        def load() -> WebSession:
            if (presented or others) and incoming.is_forged:
                raise Forbidden(FORGED)
            try:
                steps = loading(presented or None, encode=encode, decode=decode, client=client)
                web = drive(self.tokens_of(app), steps)
                return self._moved_in(app, header, client) or web if web.record is None and others else web
            except StoreError as error:
                raise unavailable(error) from error

        return FlaskSession(load, bool(presented or others), incoming.is_forged, self.owner_key, self._owner_of)

    def _moved_in(
        self, app: Flask, header: bytes, client: Callable[[], tuple[str | None, str | None]]
    ) -> WebSession | None:
        """Return the session into which another library's cookie moves; ``None`` where it leads nowhere."""

        def cookie(name: str) -> str | None:
            return cookie_named(name).value_in(header).decode("latin-1") or None

        issued = drive(self.tokens_of(app), moving_in(self._peers, cookie, encode=encode, client=client))
        if issued is None:
            return None
        web = WebSession(issued.session, issued.secret, encode=encode, decode=decode, client=client)
        web.rotated(issued)
        return web

    def _incoming(self, request: Request) -> Incoming:
        return self._trust.look_at(request.method, request.remote_addr, request.headers.get, is_https=request.is_secure)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what a request changed, in one command, and set or clear the cookie."""
        if not isinstance(session, FlaskSession):
            raise TypeError(f"that session is not of this interface: {type(session).__name__}")
        if session.accessed:
            response.vary.add("Cookie")
        request = request_ctx.request if request_ctx else None
        try:
            self._settle(app, session, response, request)
        except StoreError:
            _answer(response, 503, "The store of the sessions cannot be reached; try again in a moment.\n")
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        except OwnerDisabled:
            _answer(response, 403, "This account is disabled.\n")
        except LimitReached:
            _answer(response, 403, "This account is logged in on too many devices; log out of one first.\n")

    def _settle(self, app: Flask, session: FlaskSession, response: Response, request: Request | None) -> None:
        if not session.is_loaded:
            if not app.config["SESSION_REFRESH_EACH_REQUEST"] or not session.is_presented or session.is_forged:
                return
            try:
                session.read()
            except ServiceUnavailable:  # nobody asked for it
                return
        web, tokens, status = session.web, self.tokens_of(app), response.status_code
        has_turned = session.conclude(self._lifetime(app, session))
        if session.is_forged and web.is_logging_in:
            _answer(response, 403, FORGED + "\n")
            return
        has_changed, before = web.modified, web.id
        change = drive(tokens, web.settling(status))
        is_same = before is not None and web.id == before and web.secret is not None
        if is_same and has_turned and status < 500:
            self._change_lifetime(app, session, web.id or "")
            change = CookieChange.SET
        if change is CookieChange.SET:
            self._set_cookie(app, session, response, request)
        elif change is CookieChange.CLEAR:
            self._clear_cookie(app, response, request)
        elif is_same and not has_changed and status < 500 and self.should_set_cookie(app, session):
            self._prolong_cookie(app, session, response, request)

    def _change_lifetime(self, app: Flask, session: FlaskSession, id: str) -> None:
        """Let a session that has become permanent, or is so no more, last accordingly."""
        tokens, lifetime = self.tokens_of(app), self._lifetime(app, session)
        if not lifetime:
            general = tokens.settings.anonymous_max_age
            if session.owner is not None:
                milliseconds, _ = tokens.general_timeouts()
                general = None if milliseconds is None else milliseconds / 1000
            lifetime = {"idle_timeout": tokens.settings.idle_timeout, "max_age": general}
        tokens.change_session(id, **lifetime)

    def _lifetime(self, app: Flask, session: FlaskSession) -> dict[str, Any]:
        """Return how long a session lasts, as options of commands: as the settings say, where nothing is asked for."""
        if not session.permanent:
            return {}
        if app.config["SESSION_REFRESH_EACH_REQUEST"]:
            return {"idle_timeout": app.permanent_session_lifetime, "max_age": None}
        return {"idle_timeout": None, "max_age": app.permanent_session_lifetime}

    def _prolong_cookie(self, app: Flask, session: FlaskSession, response: Response, request: Request | None) -> None:
        """Give the browser its cookie once more, if it is still the one: another request may have logged in since."""
        try:
            is_current = self.tokens_of(app).verify_session(session.web.secret or "", touch=False) is not None
        except StoreError:  # what the view answered stands without it
            return
        if is_current:
            self._set_cookie(app, session, response, request)

    # --- the cookie --------------------------------------------------------------------------------------------------

    def cookie_name(self, app: Flask, request: Request | None) -> str:
        """Return the name of the cookie: on https with ``__Host-``, or ``__Secure-`` where path or domain forbid it."""
        name = self.get_cookie_name(app)
        if name.startswith("__") or not self._is_secure(app, request):
            return name
        is_of_host = self.get_cookie_path(app) == "/" and not self.get_cookie_domain(app)
        return f"__Host-{name}" if is_of_host else f"__Secure-{name}"

    def _is_secure(self, app: Flask, request: Request | None) -> bool:
        if request is None or self.get_cookie_secure(app):
            return self.get_cookie_secure(app)
        return self._trust.is_https(request.remote_addr, request.headers.get, is_https=request.is_secure)

    def _set_cookie(self, app: Flask, session: FlaskSession, response: Response, request: Request | None) -> None:
        age_s = session.web.cookie_age_s(is_kept=session.web.remember)
        response.set_cookie(
            self.cookie_name(app, request),
            session.web.secret or "",
            max_age=age_s,
            expires=self.get_expiration_time(app, session) if age_s is None else None,
            domain=self.get_cookie_domain(app),
            path=self.get_cookie_path(app),
            secure=self._is_secure(app, request),
            httponly=self.get_cookie_httponly(app),
            samesite=self.get_cookie_samesite(app),
            partitioned=self.get_cookie_partitioned(app),
        )
        _keep_out_of_caches(response)

    def _clear_cookie(self, app: Flask, response: Response, request: Request | None) -> None:
        response.delete_cookie(
            self.cookie_name(app, request),
            domain=self.get_cookie_domain(app),
            path=self.get_cookie_path(app),
            secure=self._is_secure(app, request),
            httponly=self.get_cookie_httponly(app),
            samesite=self.get_cookie_samesite(app),
            partitioned=self.get_cookie_partitioned(app),
        )
        _keep_out_of_caches(response)


def unavailable(error: StoreError) -> ServiceUnavailable:
    """Return the answer 503 for a store that cannot be asked; it is raised ``from`` what happened."""
    told = "The store of the sessions cannot be reached; try again in a moment."
    return ServiceUnavailable(f"{told} ({error.code})", retry_after=RETRY_AFTER_S)


def _keep_out_of_caches(response: Response) -> None:
    response.vary.add("Cookie")
    cache = response.cache_control
    if not (cache.no_store or cache.private or cache.no_cache):
        response.headers["Cache-Control"] = "no-store"


def _answer(response: Response, status: int, text: str) -> None:
    """Put another answer in the place of the one that a view made."""
    response.headers.clear()
    response.status_code = status
    response.mimetype = "text/plain"
    response.set_data(text)
    response.headers["Cache-Control"] = "no-store"
