"""The session interface of Flask: reads lazily, writes what changed in one command, and says so in the cookie."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import Flask, Request, Response
from flask.globals import request_ctx
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import ServiceUnavailable

from ..._sync.api import SessionTokens
from ...clock import Clock
from ...crypto.minting import Pepper
from ...errors import LimitReached, OwnerDisabled, SessionEnded, StoreError, UnknownSession
from ...records import Session
from ...settings import UNSET, Duration, Settings, Unset
from ...web.cookies import Cookie
from .session import PERMANENT, FlaskSession, is_visitor
from .settings import store_url

RETRY_AFTER_S = 2
"""When a browser may come again after an outage."""


class Lifetime(NamedTuple):
    """How long the session of a response lasts: as the settings say, where nothing is asked for."""

    idle_timeout: Duration | None | Unset = UNSET
    max_age: Duration | None | Unset = UNSET


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
        settings, pepper, clock: as for ``SessionTokens.open``.
    """

    def __init__(
        self,
        store: str | SessionTokens | None = None,
        *,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
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

    def regenerate(self, session: SessionMixin) -> None:
        """Let the response give the session a new secret; the old one is dead then (Flask-Session has this name)."""
        if isinstance(session, FlaskSession):
            session.is_to_rotate = session.modified = True

    # --- what Flask calls --------------------------------------------------------------------------------------------

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """Return the session of a request; the store is asked when it is first looked at."""
        header = request.environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
        presented = Cookie(self.cookie_name(app, request)).value_in(header).decode("latin-1")

        def load(secret: str) -> Session | None:
            try:
                return self.tokens_of(app).verify_session(secret)
            except StoreError as error:
                raise unavailable(error) from error

        return FlaskSession(load, presented or None, self.owner_key, self._owner_of)

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
            if not app.config["SESSION_REFRESH_EACH_REQUEST"] or session.presented is None:
                return
            try:
                session.values_now()
            except ServiceUnavailable:  # nobody asked for it
                return
        if response.status_code >= 500:
            self._settle_failed(app, session, response, request)
            return
        try:
            secret = self._write(app, session, request)
        except (SessionEnded, UnknownSession) as error:
            # Of a session that was replaced the browser has the successor's cookie by now.
            if getattr(error, "details", {}).get("reason") != "replaced":
                self._clear_cookie(app, response, request)
            return
        if secret is not None:
            self._set_cookie(app, session, response, request, secret)
        elif session.has_ended:
            self._clear_cookie(app, response, request)
        elif session.record is not None and self.should_set_cookie(app, session):
            self._prolong_cookie(app, session, response, request)

    def _prolong_cookie(self, app: Flask, session: FlaskSession, response: Response, request: Request | None) -> None:
        """Give the browser its cookie once more, if it is still the one: another request may have logged in since."""
        secret = session.presented or ""
        try:
            is_current = self.tokens_of(app).verify_session(secret, touch=False) is not None
        except StoreError:  # what the view answered stands without it
            return
        if is_current:
            self._set_cookie(app, session, response, request, secret)

    def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
        """Whether the browser gets the cookie that it has once more: to prolong it, as Flask's setting asks.

        A view that assigned what was there already gets it too, as from Flask; a change of data needs no new cookie.
        """
        if isinstance(session, FlaskSession) and session.modified and any(session.difference()):
            return False
        return super().should_set_cookie(app, session)

    def _settle_failed(self, app: Flask, session: FlaskSession, response: Response, request: Request | None) -> None:
        """After a failure nothing is saved, and nobody is logged in; who logged out is logged out all the same."""
        record = session.record
        if record is not None and (session.is_cleared or session.is_left()) and session.owner_to_be() is None:
            self.tokens_of(app).destroy_session(record.id)
            session.has_ended = True
        if session.has_ended:
            self._clear_cookie(app, response, request)

    def _write(self, app: Flask, session: FlaskSession, request: Request | None) -> str | None:
        """Write what is new; return the secret that the browser is to have from now on, ``None`` for the same."""
        owner, record, tokens = session.owner_to_be(), session.record, self.tokens_of(app)
        if owner is not None or (record is None and session.has_data()):
            return self._open(app, session, request, owner)
        if record is None:
            return None
        if session.is_left() and session.has_data():
            return self._open(app, session, request, None)
        emptied = session.owner is None and not session.has_data()
        if session.is_cleared or session.is_left() or emptied:
            tokens.destroy_session(record.id)
            session.has_ended = True
            return self._open(app, session, request, None) if session.has_data() else None
        changed, removed = session.difference()
        if PERMANENT in changed or PERMANENT in removed:
            idle_timeout, max_age = self._lifetime(app, session)
            if max_age is UNSET:  # not permanent any more: the general limits again
                idle_timeout, max_age = tokens.settings.idle_timeout, _general_max_age(tokens, record)
            tokens.change_session(record.id, idle_timeout=idle_timeout, max_age=max_age)
        if changed or removed:
            tokens.update_session_data(record.id, changed, removed=removed)
        if session.is_to_rotate:
            return tokens.rotate_session(record.id).secret
        return session.presented if PERMANENT in changed or PERMANENT in removed else None

    def _open(self, app: Flask, session: FlaskSession, request: Request | None, owner: str | None) -> str:
        """Open a session for an owner, or for a visitor, in the place of the one that the browser had."""
        record = None if session.has_ended else session.record
        changed, removed = session.difference()
        if owner is None:  # after a log-out nothing is carried over but what is there now
            changed, removed = session.all_fields(), []
        idle_timeout, max_age = self._lifetime(app, session)
        return (
            self.tokens_of(app)
            .log_in(
                owner,
                former=None if record is None else record.id,
                data=changed,
                removed=[] if record is None else removed,
                remember=session.remembered is not False and owner is not None,
                idle_timeout=idle_timeout,
                max_age=max_age,
                user_agent=None if request is None else request.headers.get("User-Agent"),
                address=None if request is None else request.remote_addr,
            )
            .secret
        )

    def _lifetime(self, app: Flask, session: FlaskSession) -> Lifetime:
        if session.remembered is not False and session.owner_to_be() is not None:
            return Lifetime(None, UNSET if session.remembered is None else session.remembered)
        if not session.permanent:
            return Lifetime()
        if app.config["SESSION_REFRESH_EACH_REQUEST"]:
            return Lifetime(app.permanent_session_lifetime, None)
        return Lifetime(None, app.permanent_session_lifetime)

    # --- the cookie --------------------------------------------------------------------------------------------------

    def cookie_name(self, app: Flask, request: Request | None) -> str:
        """Return the name of the cookie: on https with ``__Host-``, or ``__Secure-`` where path or domain forbid it."""
        name = self.get_cookie_name(app)
        if name.startswith("__") or not self._is_secure(app, request):
            return name
        is_of_host = self.get_cookie_path(app) == "/" and not self.get_cookie_domain(app)
        return f"__Host-{name}" if is_of_host else f"__Secure-{name}"

    def _is_secure(self, app: Flask, request: Request | None) -> bool:
        return self.get_cookie_secure(app) or (request is not None and request.is_secure)

    def _set_cookie(
        self, app: Flask, session: FlaskSession, response: Response, request: Request | None, secret: str
    ) -> None:
        expires = self.get_expiration_time(app, session)
        if session.remembered is not False and expires is None:
            general = self.tokens_of(app).settings.remember_max_age
            length = general if session.remembered is None else session.remembered
            seconds = length.total_seconds() if isinstance(length, timedelta) else length
            expires = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        response.set_cookie(
            self.cookie_name(app, request),
            secret,
            expires=expires,
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


def _general_max_age(tokens: SessionTokens, record: Session) -> Duration | None:
    if is_visitor(record):
        return tokens.settings.anonymous_max_age
    milliseconds, _ = tokens.general_timeouts()
    return None if milliseconds is None else milliseconds / 1000


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
