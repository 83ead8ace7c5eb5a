"""Flask-Login on sessions that can be ended: "remember me" is one long session, not a second cookie.

Flask-Login's own ``remember_token`` is a signed user id that nothing checks and no log-out reaches: a browser that has
one is logged in again for a year, whatever was ended. Here it is neither made nor accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Flask, Response, current_app, request
from flask_login import LoginManager, user_login_confirmed  # type: ignore[import-untyped]  # it brings no types
from flask_login.config import COOKIE_NAME  # type: ignore[import-untyped]

from ..errors import InvalidInput, ReauthenticationRequired
from ..settings import Duration, duration_ms
from ..web.cookies import cookie_named
from .flask.acts import current_session, session_at_hand
from .flask.interface import SessionTokensInterface

USER_ID = "_user_id"


class SessionTokensLogin:
    """Make Flask-Login keep its log-ins in sessions of ours: ``SessionTokensLogin(app)`` after the interface is set.

    ``login_user`` opens a session for the user under a new secret and carries the visitor's data over; ``logout_user``
    ends it; ``login_user(user, remember=True)`` opens one that lasts (``duration=``, else ``REMEMBER_COOKIE_DURATION``,
    else ``Settings.remember_max_age``, 30 days). What ends the session, from wherever, ends the log-in.

    Args:
        app: the application; without it call ``init_app`` later.
        login_manager: one that is made already; else the application's, else a new one.
        owner_of: maps what ``user.get_id()`` answers to the owner of the session. The text of it by default;
            Flask-Security's ids change at a log-out everywhere, so give it what maps them to a lasting id.
        fresh_for: how long a remembered log-in is fresh (``fresh_login_required``), in seconds or as a ``timedelta``:
            an hour. ``confirm_login()`` makes it fresh anew, under a new secret; one that is not remembered is fresh
            for all of its life.

    Attributes:
        login_manager: Flask-Login's own object, for ``user_loader`` and ``login_view``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        login_manager: LoginManager | None = None,
        owner_of: Callable[[Any], str] = str,
        fresh_for: Duration = 3600,
    ) -> None:
        duration_ms("fresh_for", fresh_for)
        self._fresh_for = fresh_for
        self.login_manager = LoginManager() if login_manager is None else login_manager
        self._is_given = login_manager is not None
        self._owner_of = owner_of
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind it to an application whose ``session_interface`` is ours.

        Raises:
            InvalidInput: it has another session interface; set ours first.
        """
        if not isinstance(app.session_interface, SessionTokensInterface):
            raise InvalidInput("set app.session_interface = SessionTokensInterface(…) before SessionTokensLogin(app)")
        app.session_interface.take_owner_from(USER_ID, self._owner_of)
        present: LoginManager | None = getattr(app, "login_manager", None)
        if present is None:
            self.login_manager.init_app(app)
        elif not self._is_given:
            self.login_manager = present
        elif present is not self.login_manager:
            raise InvalidInput("the application has another LoginManager; give that one")
        manager = self.login_manager
        manager._load_user_from_remember_cookie = _believe_nothing
        manager._load_user = self._aging(manager._load_user)
        user_login_confirmed.connect(_confirm, app)
        # The bound method that Flask-Login registered writes the cookie; ours takes its place.
        hooks = app.after_request_funcs.setdefault(None, [])
        hooks[:] = [hook for hook in hooks if getattr(hook, "__self__", None) is not manager]
        hooks.append(_remember)

    def _aging(self, load_user: Callable[[], None]) -> Callable[[], None]:
        """Return Flask-Login's loading of the user with a look at the age of a remembered log-in before it."""

        def aged() -> None:
            session = current_session()
            if session.web.remember and session.record is not None and session.get("_fresh"):
                try:
                    session.record.require_recent(self._fresh_for)
                except ReauthenticationRequired:
                    session["_fresh"] = False
            load_user()

        return aged


def fields_of_log_in(app: Flask) -> dict[str, Any]:
    """Return what Flask-Login keeps of a log-in from the request at hand, beside the user; nothing without it."""
    manager: LoginManager | None = getattr(app, "login_manager", None)
    return {} if manager is None else {"_fresh": True, "_id": manager._session_identifier_generator()}


def _confirm(app: Flask, **_: object) -> None:
    """Write down that the user has just proved who they are."""
    interface = app.session_interface
    if isinstance(interface, SessionTokensInterface):
        interface.regenerate(current_session(), authenticated=True)


def _believe_nothing(cookie: str) -> None:
    """Stand where Flask-Login logs a user in from a signed cookie alone."""
    return


def _remember(response: Response) -> Response:
    """Turn what ``login_user`` and ``logout_user`` asked of a cookie into the length of the session."""
    name = current_app.config.get("REMEMBER_COOKIE_NAME", COOKIE_NAME)
    header = request.environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
    if cookie_named(name).value_in(header):  # an old one, which would only mislead login_remembered()
        domain, path = current_app.config.get("REMEMBER_COOKIE_DOMAIN"), current_app.config.get("REMEMBER_COOKIE_PATH")
        response.delete_cookie(name, domain=domain, path=path or "/")
    session = session_at_hand()
    if session is None or "_remember" not in session:
        return response
    asked = session.pop("_remember")
    seconds = session.pop("_remember_seconds", None)
    if asked == "set" and USER_ID in session:
        duration = seconds if seconds is not None else current_app.config.get("REMEMBER_COOKIE_DURATION")
        session.remember(duration.total_seconds() if isinstance(duration, timedelta) else duration)
    return response
