"""What a view does with sessions: log in, log out, log out everywhere."""

from __future__ import annotations

from collections.abc import Collection

from flask import Flask, current_app
from flask import session as flask_session
from flask.globals import request_ctx

from ..._sync.api import SessionTokens
from ...errors import InvalidInput, SessionEnded, StoreError, UnknownSession
from .by_flask import unavailable
from .interface import SessionTokensInterface
from .session import FlaskSession

REMEDY = "set app.session_interface = SessionTokensInterface(…) first"
COPY = "the session here is a copy that another extension made: SocketIO(app, manage_session=False) leaves ours"


def api_of(app: Flask) -> SessionTokens:
    """Return the API that an application's sessions are kept with: to list a user's devices, to issue tokens.

    Raises:
        InvalidInput: the application has another session interface.
    """
    interface = app.session_interface
    if not isinstance(interface, SessionTokensInterface):
        raise InvalidInput(REMEDY)
    return interface.tokens_of(app)


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
        remember: whether the log-in lasts for ``Settings.remember_max_age`` (30 days) and survives the browser's end;
            else it has the general limits, and the cookie goes with the browser.
        label: a name for the user to tell their sessions apart.
        acr: how surely they proved it, a value of the application's (OpenID Connect Core 1.0, section 2).
        amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
    """
    session = current_session()
    session.log_in(owner, label=label, acr=acr, amr=amr)
    if remember:
        session.remember(None)


def logout() -> None:
    """Let the response end the session, for every process, and take the cookie away; its fields are gone now.

    It is done whatever the status of the response. A store that is away makes the response a 503: the session goes on.
    """
    current_session().log_out()


def logout_everywhere(*, keep_current: bool = True) -> int:
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
    is_mine = record is not None and record.owner == owner
    try:
        kept = record.id if record is not None and keep_current and is_mine else None
        ended = _tokens().destroy_sessions(owner, except_session=kept)
    except (SessionEnded, UnknownSession):
        return 0
    except StoreError as error:
        raise unavailable(error) from error
    if not keep_current:
        session.log_out()
    return ended


def session_at_hand() -> FlaskSession | None:
    """Return the session of this request if anybody has read it, without reading it."""
    session = request_ctx._session if request_ctx else None
    return session if isinstance(session, FlaskSession) and session.is_loaded else None


def current_session() -> FlaskSession:
    """Return the session of this request, as ``flask.session`` and with its types: ``id``, ``owner``, ``record``.

    Raises:
        InvalidInput: the application has another session interface, or the session at hand is a copy of ours.
    """
    session = flask_session._get_current_object()  # type: ignore[attr-defined]  # what the proxy stands for
    if not isinstance(session, FlaskSession):
        is_ours = isinstance(current_app.session_interface, SessionTokensInterface)
        raise InvalidInput(COPY if is_ours else REMEDY)
    return session


def _tokens() -> SessionTokens:
    return api_of(current_app._get_current_object())  # type: ignore[attr-defined]  # what the proxy stands for
