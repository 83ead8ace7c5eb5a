"""Flask: ``app.session_interface = SessionTokensInterface("sqlite:///sessions.db")``."""

from .acts import api_of, current_session, login, logout, logout_everywhere
from .guard import require_recent, require_session, require_token
from .interface import SessionTokensInterface
from .session import FlaskSession

__all__ = [
    "FlaskSession",
    "SessionTokensInterface",
    "api_of",
    "current_session",
    "login",
    "logout",
    "logout_everywhere",
    "require_recent",
    "require_session",
    "require_token",
]
