"""Django's sessions in a store of this library: ``SESSION_ENGINE = "session_tokens.web.django"``.

Django asks a session engine for one name, ``SessionStore``. What else is here is imported where it is needed, for
Django loads this package before its applications are ready.
"""

from __future__ import annotations

from .engine import SessionStore

__all__ = ["SessionStore"]
