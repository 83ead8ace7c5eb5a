"""Django's sessions in a store of this library: ``SESSION_ENGINE = "session_tokens.web.django"``.

As an application (``INSTALLED_APPS``) it also brings checks, a page with a user's devices and a management command.
"""

from __future__ import annotations

from .devices import (
    aend_others,
    asessions_of,
    end_others,
    end_session_of,
    owner_of,
    recent_login_required,
    sessions_of,
)
from .engine import SessionStore
from .guards import require_token
from .middleware import SessionMiddleware
from .outages import handler500

__all__ = [
    "SessionMiddleware",
    "SessionStore",
    "aend_others",
    "asessions_of",
    "end_others",
    "end_session_of",
    "handler500",
    "owner_of",
    "recent_login_required",
    "require_token",
    "sessions_of",
]
