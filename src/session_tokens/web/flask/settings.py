"""Finds the store of a Flask application: by our own setting, else by those that Flask-Session reads."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Flask

from ...errors import InvalidInput

log = logging.getLogger("session_tokens.web.flask")

OURS = "SESSION_TOKENS_STORE"

WITHOUT_MEANING = (
    "SESSION_USE_SIGNER", "SESSION_ID_LENGTH", "SESSION_SERIALIZATION_FORMAT", "SESSION_CLEANUP_N_REQUESTS",
    "SESSION_FILE_THRESHOLD", "SESSION_FILE_MODE", "SESSION_SQLALCHEMY_TABLE", "SESSION_SQLALCHEMY_SEQUENCE",
    "SESSION_SQLALCHEMY_SCHEMA", "SESSION_SQLALCHEMY_BIND_KEY",
)  # fmt: skip
"""Settings of Flask-Session without a use here: secrets have one form, and what has expired goes by itself."""


def store_url(app: Flask) -> str:
    """Return the URL of the store that an application's configuration asks for.

    In this order: ``app.config["SESSION_TOKENS_STORE"]``, the environment variable of that name, and what an
    application that used Flask-Session has in its configuration: ``SESSION_TYPE`` with ``SESSION_REDIS``,
    ``SESSION_FILE_DIR`` or ``SQLALCHEMY_DATABASE_URI``.

    Raises:
        InvalidInput: there is none of them, or it asks for a store that is not there; the message names the remedy.
    """
    found = app.config.get(OURS) or os.environ.get(OURS)
    if found:
        return str(found)
    idle = [name for name in WITHOUT_MEANING if name in app.config]
    if idle:
        log.warning("these settings of Flask-Session have no meaning here and can go: %s", ", ".join(idle))
    asked = app.config.get("SESSION_TYPE")
    if asked == "redis":
        return _redis_url(app)
    if asked in ("filesystem", "cachelib"):
        folder = Path(app.config.get("SESSION_FILE_DIR") or Path.cwd() / "flask_session").absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'session-tokens.db'}"
    if asked == "sqlalchemy":
        return _database_url(app)
    what = f"SESSION_TYPE={asked!r} names no store that is here" if asked else "no store is named for the sessions"
    raise InvalidInput(
        f"{what}; set {OURS} to sqlite:///path, postgresql://…, mysql://… or valkey://…, or give the interface a URL"
    )


def _redis_url(app: Flask) -> str:
    """Return the URL of what ``SESSION_REDIS`` is: a URL, a client of ``redis`` or ``valkey``, or the local server."""
    given = app.config.get("SESSION_REDIS") or "redis://127.0.0.1:6379/0"
    # Ours lie beside those of Flask-Session, apart from them: both serve while old workers are still running.
    namespace = str(app.config.get("SESSION_KEY_PREFIX") or "session").strip(":") or "session"
    url = given if isinstance(given, str) else _url_of_client(given)
    return url if "namespace=" in url else f"{url}{'&' if '?' in url else '?'}namespace={quote(namespace)}"


def _url_of_client(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    known: dict[str, Any] = getattr(pool, "connection_kwargs", None) or {}
    if "host" not in known:
        raise InvalidInput(f"SESSION_REDIS is no client of one server; set {OURS} to valkey://host:port/db")
    scheme = "rediss" if "SSL" in getattr(pool, "connection_class", type(None)).__name__ else "redis"
    password = known.get("password")
    user = quote(known.get("username") or "", safe="")
    who = f"{user}:{quote(str(password), safe='')}@" if password else f"{user}@" if user else ""
    return f"{scheme}://{who}{known['host']}:{known.get('port') or 6379}/{known.get('db') or 0}"


def _database_url(app: Flask) -> str:
    given = str(app.config.get("SQLALCHEMY_DATABASE_URI") or "")
    scheme, separator, rest = given.partition("://")
    dialect = scheme.partition("+")[0]
    if separator and dialect == "postgresql":
        return f"postgresql://{rest}"
    if separator and dialect in ("mysql", "mariadb"):
        return f"mysql://{rest.partition('?')[0]}"  # what follows is the other driver's
    raise InvalidInput(
        f"SQLALCHEMY_DATABASE_URI is no PostgreSQL, MariaDB or MySQL database; set {OURS} to sqlite:///path of a file "
        "of its own, or to postgresql://… or mysql://…"
    )
