"""What Flask and Quart share: how a request's session is settled, and what its cookie is, by Flask's settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from typing import Any

from werkzeug.exceptions import ServiceUnavailable

from ...errors import LimitReached, OwnerDisabled, SessionEnded, StoreBusy, StoreError, StoreUnavailable, UnknownSession
from ...records import Session
from ...settings import Settings
from ..handing_out import is_present
from ..incoming import Incoming, Trust
from ..keeping import goes_before_cache_control
from ..origins import FORGED
from ..rotating import Rotating
from ..session import Command, CookieChange
from .session import FlaskSession

RETRY_AFTER_S = 2
"""When a browser may come again after an outage."""

Settling = Generator[Command, Any, None]


class SessionsByFlask:
    """Settles sessions as Flask's settings say; made for ``SessionInterface`` of Flask, and of Quart.

    Args:
        owner_key: the field of the session that says who is logged in, where the application keeps it in one.
        owner_of: maps what is in that field to the owner.
        trusted_origins, trusted_proxies: as for ``Trust``.
    """

    # Of the interface; applications are Flask's or Quart's, and so are requests and responses.
    get_cookie_name: Callable[[Any], str]
    get_cookie_domain: Callable[[Any], str | None]
    get_cookie_path: Callable[[Any], str]
    get_cookie_secure: Callable[[Any], bool]
    get_cookie_httponly: Callable[[Any], bool]
    get_cookie_samesite: Callable[[Any], Any]
    get_cookie_partitioned: Callable[[Any], bool]
    get_expiration_time: Callable[[Any, Any], Any]
    should_set_cookie: Callable[[Any, Any], bool]
    _rotating: Rotating | None

    def __init__(
        self,
        owner_key: str | None,
        owner_of: Callable[[Any], str],
        trusted_origins: Collection[str],
        trusted_proxies: Collection[str],
    ) -> None:
        self._trust = Trust(trusted_origins, trusted_proxies)
        self.take_owner_from(owner_key, owner_of)

    def take_owner_from(self, owner_key: str | None, owner_of: Callable[[Any], str] = str) -> None:
        """Name the field that says who is logged in, and what maps it to the owner."""
        self.owner_key, self._owner_of = owner_key, owner_of

    def owner_named(self, named: Any) -> str:
        """Return the owner that a field of the session names."""
        return named if self.owner_key is None else self._owner_of(named)

    def _header_of(self, request: Any) -> Callable[[str], str | None]:
        """Return what finds a header of a request by its name, ``None`` where it is not there.

        Of several lines it is all that they say: each proxy may write one of its own.
        """
        find: Callable[[str], list[str]] = request.headers.getlist

        def header(name: str) -> str | None:
            lines = find(name)
            return ", ".join(lines) if lines else None

        return header

    def _incoming(self, request: Any) -> Incoming:
        header = self._header_of(request)
        return self._trust.look_at(request.method, request.remote_addr, header, is_https=request.is_secure)

    def _is_of_no_concern(self, app: Any, session: FlaskSession, response: Any) -> bool:
        """Whether nothing is to be settled: nobody changed the session, and the browser's cookie stays as it is."""
        if session.is_loaded:
            return session.is_as_read and not self.should_set_cookie(app, session)
        if not app.config["SESSION_REFRESH_EACH_REQUEST"] or not session.is_presented or session.is_forged:
            return True
        if _is_for_everybody(response):  # a cookie beside it would keep it out of all caches
            return True
        try:
            session.read()
        except ServiceUnavailable:  # nobody asked for it
            return True
        return False

    def _settling(self, app: Any, session: FlaskSession, response: Any, request: Any, settings: Settings) -> Settling:
        """Write what a request changed, and set or clear the cookie; the response becomes another one if it must."""
        try:
            yield from self._written(app, session, response, request, settings)
        except StoreError:
            answer_unavailable(response)
        except OwnerDisabled:
            answer(response, 403, "This account is disabled.\n")
        except LimitReached:
            answer(response, 403, "This account is logged in on too many devices; log out of one first.\n")
        else:
            return
        # A secret that the session was given with this request is handed out all the same.
        if session.web.has_moved and (yield from session.web.failing()) is CookieChange.SET:
            self._set_cookie(app, session, response, request)

    def _written(self, app: Any, session: FlaskSession, response: Any, request: Any, settings: Settings) -> Settling:
        web, status = session.web, response.status_code
        if app.config.get("SESSION_PERMANENT", bool(app.config.get("SESSION_TYPE"))):
            session.be_permanent()
        has_turned = session.conclude(self._lifetime(app, session))
        if session.is_forged and web.is_logging_in:
            answer(response, 403, FORGED + "\n")
            return
        before, read = web.id, web.record
        change = yield from web.settling(status)
        has_changed = web.record is not read
        is_same = before is not None and web.id == before and web.secret is not None
        if is_same and has_turned and status < 500:
            yield from self._change_lifetime(app, session, settings)
        if change is CookieChange.SET:
            self._set_cookie(app, session, response, request)
        elif change is CookieChange.CLEAR:
            self._clear_cookie(app, response, request)
        elif is_same and status < 500 and (has_turned or self._is_prolonged(app, session, has_changed=has_changed)):
            yield from self._prolong_cookie(app, session, response, request, read)

    def _change_lifetime(self, app: Any, session: FlaskSession, settings: Settings) -> Settling:
        """Let a session that has become permanent, or is so no more, last accordingly."""
        lifetime = self._lifetime(app, session)
        if not lifetime:
            general = settings.anonymous_max_age
            if session.owner is not None:
                milliseconds, _ = yield Command("general_timeouts", ())
                general = None if milliseconds is None else milliseconds / 1000
            lifetime = {"idle_timeout": settings.idle_timeout, "max_age": general}
        with suppress(SessionEnded, UnknownSession):  # another request ended it, and knows what becomes of the cookie
            yield Command("change_session", (session.web.id,), lifetime)

    def _lifetime(self, app: Any, session: FlaskSession) -> dict[str, Any]:
        """Return how long a session lasts, as options of commands: as the settings say, where nothing is asked for."""
        if not session.permanent:
            return {}
        if app.config["SESSION_REFRESH_EACH_REQUEST"]:
            return {"idle_timeout": app.permanent_session_lifetime, "max_age": None}
        return {"idle_timeout": None, "max_age": app.permanent_session_lifetime}

    def _is_prolonged(self, app: Any, session: FlaskSession, *, has_changed: bool) -> bool:
        """Whether the browser is given its cookie once more; where fields were written, only one that has an end."""
        return self.should_set_cookie(app, session) and (session.permanent or not has_changed)

    def _prolong_cookie(
        self, app: Any, session: FlaskSession, response: Any, request: Any, read: Session | None
    ) -> Settling:
        """Give the browser its cookie once more, if it is still the one: another request may have logged in since.

        Args:
            read: the session as it was read.
        """
        secret = session.web.secret or ""
        try:
            if self._rotating is None or read is None:  # so no secret has a grace that could be over
                is_the_one = (yield Command("verify_session", (secret,), {"touch": False})) is not None
            else:
                is_the_one = yield from is_present(read, secret)
        except StoreError:  # what the view answered stands without it
            return
        if is_the_one:
            self._set_cookie(app, session, response, request)

    # --- the cookie --------------------------------------------------------------------------------------------------

    def cookie_name(self, app: Any, request: Any) -> str:
        """Return the name of the cookie: on https with ``__Host-``, or ``__Secure-`` where path or domain forbid it."""
        return self.name_of_cookie(app, is_secure=self._is_secure(app, request))

    def name_of_cookie(self, app: Any, *, is_secure: bool) -> str:
        """Return the name of the cookie on https, or on http."""
        name = self.get_cookie_name(app)
        if name.startswith("__") or not is_secure:
            return name
        is_of_host = self.get_cookie_path(app) == "/" and not self.get_cookie_domain(app)
        return f"__Host-{name}" if is_of_host else f"__Secure-{name}"

    def _is_secure(self, app: Any, request: Any) -> bool:
        if request is None or self.get_cookie_secure(app):
            return self.get_cookie_secure(app)
        if request.is_secure:
            return True
        return self._trust.is_https(request.remote_addr, self._header_of(request), is_https=False)

    def _set_cookie(self, app: Any, session: FlaskSession, response: Any, request: Any) -> None:
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

    def _clear_cookie(self, app: Any, response: Any, request: Any) -> None:
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


def vary_by_cookie(response: Any) -> None:
    """Say that the response depends on the cookie, which most responses say of nothing else."""
    if response.headers.getlist("Vary"):  # ``in`` would raise and catch an error
        response.vary.add("Cookie")
    else:
        response.headers.add("Vary", "Cookie")


def _is_for_everybody(response: Any) -> bool:
    """Whether caches may keep an answer and give it without asking, as a file of an application."""
    if any(map(goes_before_cache_control, response.headers.keys())):
        return True
    cache = response.cache_control
    return bool(cache.public or cache.max_age) and not (cache.private or cache.no_store)


def _keep_out_of_caches(response: Any) -> None:
    vary_by_cookie(response)
    for told in {name for name, _ in response.headers if goes_before_cache_control(name)}:
        response.headers.pop(told, None)
    cache = response.cache_control
    if cache.no_store or cache.private:
        return
    if cache.no_cache and not cache.public:
        cache.private = True  # what browsers keep to ask whether it has changed, as static files, they may keep
    else:
        response.headers["Cache-Control"] = "no-store"


def is_of_outage(response: Any) -> bool:
    """Whether a response is a 500 because a view asked the store itself, which is away; it is made in its handling."""
    return response.status_code == 500 and isinstance(sys.exc_info()[1], StoreUnavailable | StoreBusy)


def answer_unavailable(response: Any) -> None:
    """Put the answer for a store that cannot be asked in the place of the one that a view made."""
    answer(response, 503, "The store of the sessions cannot be reached; try again in a moment.\n")
    response.headers["Retry-After"] = str(RETRY_AFTER_S)


def answer(response: Any, status: int, text: str) -> None:
    """Put another answer in the place of the one that a view made."""
    response.headers.clear()
    response.status_code = status
    response.mimetype = "text/plain"
    response.set_data(text)
    response.headers["Cache-Control"] = "no-store"
