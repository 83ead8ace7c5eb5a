"""Users move in from one of Django's own engines: ``SESSION_TOKENS = {"migrate_from": "django.contrib.sessions…"}``.

The engine itself reads what it wrote, with its table, its serializer and ``SECRET_KEY_FALLBACKS``; what derives from
one of Django's is read as that is. It is asked for nothing that would write: ``cached_db`` would fill its cache at a
look-up, so its table is read, and ``signed_cookies`` would make a session where the signature is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER
from django.contrib.sessions.backends import db, signed_cookies
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.utils import timezone

from ... import AsyncSessionTokens
from ...errors import InvalidInput, StoreUnavailable
from ..moving_in import Former, Reading, owner_in
from ..moving_in.plain import Unreadable
from .opened import options

log = logging.getLogger("session_tokens.moving_in")

OPTION = "migrate_from"
OWN_FIELDS = ("_qsessions_user_agent", "_qsessions_ip")
"""Fields in which django-qsessions keeps what is no data."""
COOKIE_KEY_MAX = 4_096


class _Engine:
    """One of Django's engines as a peer.

    Args:
        cookie: the name of its cookie.
        reads: returns the session of a key, and for how many seconds it lives.
    """

    def __init__(
        self, path: str, reads: Callable[[Any, str], tuple[dict[str, Any], float, str] | None], kind: Any
    ) -> None:
        self.cookie: str = settings.SESSION_COOKIE_NAME
        self._path, self._reads, self._kind = path, reads, kind

    def read(self, value: str) -> Former | None:
        """Return the session of a key; ``None`` where there is none, or it holds nothing.

        Raises:
            StoreUnavailable: the database cannot be asked.
        """
        if len(value) > COOKIE_KEY_MAX or not (value.isascii() and value.isprintable()):
            return None  # a database would refuse some of it, such as NUL, with an error
        try:
            found = self._reads(self._kind, value)
        except DatabaseError as error:
            raise self._unavailable(error) from error
        if found is None:
            return None
        data, left_s, key = found
        fields = {name: field for name, field in data.items() if name not in OWN_FIELDS}
        try:
            owner = owner_in(fields, USER)
        except Unreadable:
            return None
        if not fields or left_s < 0.001:
            return None
        return Former(f"django {key}", fields, owner, left_s, left_s)

    stored = read

    def ids(self) -> list[str]:
        """Return the keys of all that is stored and not over.

        Raises:
            InvalidInput: nothing is stored: the sessions are in cookies.
            StoreUnavailable: the database cannot be asked.
        """
        if not issubclass(self._kind, db.SessionStore):
            raise InvalidInput(
                f"{self._path} stores nothing: each session is in its browser, and moves when that comes"
            )
        living = self._kind.get_model_class().objects.filter(expire_date__gt=timezone.now())
        try:
            return list(living.order_by("session_key").values_list("session_key", flat=True))
        except DatabaseError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"the sessions of {self._path} cannot be read ({type(error).__name__}); try again")


class ReadingOnThread(Reading):
    """Reads on the thread that Django's database connections belong to."""

    def do(self, tokens: Any) -> Any:
        """Read; where ``tokens`` is of asyncio, what is returned is to be awaited."""
        peer, value = self.args
        return sync_to_async(peer.read)(value) if isinstance(tokens, AsyncSessionTokens) else peer.read(value)


def _in_table(kind: Any, key: str) -> tuple[dict[str, Any], float, str] | None:
    store = kind(key)
    if store.session_key is None:
        return None
    row = store.model.objects.filter(session_key=key, expire_date__gt=timezone.now()).first()
    if row is None:
        return None
    left_s = (row.expire_date - timezone.now()).total_seconds()
    data = store.decode(row.session_data)
    return (data, left_s, key) if isinstance(data, dict) else None


def _in_cookie(kind: Any, value: str) -> tuple[dict[str, Any], float, str] | None:
    store = kind(value)
    try:
        data = signing.loads(value, serializer=store.serializer, max_age=settings.SESSION_COOKIE_AGE, salt=SIGNED_SALT)
        signed, _, _ = value.rpartition(":")
        age_s = _age_s(signed)
    except Exception:  # as Django's engine: a serializer raises whatever it likes at what it did not write
        return None
    if not isinstance(data, dict):
        return None
    return data, settings.SESSION_COOKIE_AGE - age_s, signed


SIGNED_SALT = "django.contrib.sessions.backends.signed_cookies"


def _age_s(signed: str) -> float:
    issued_at: int = signing.b62_decode(signed.rpartition(":")[2])
    now_s: float = timezone.now().timestamp()
    return max(0.0, now_s - issued_at)


@lru_cache(maxsize=4)
def _engine_of(path: str) -> _Engine:
    try:
        kind = import_module(path).SessionStore
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f'SESSION_TOKENS["{OPTION}"]: {path} has no SessionStore') from error
    if issubclass(kind, db.SessionStore):  # cached_db too
        return _Engine(path, _in_table, kind)
    if issubclass(kind, signed_cookies.SessionStore):
        return _Engine(path, _in_cookie, kind)
    raise ImproperlyConfigured(
        f'SESSION_TOKENS["{OPTION}"] is the path of an engine that is, or derives from, db, cached_db or '
        "signed_cookies of django.contrib.sessions.backends; a cache alone cannot be read without writing to it"
    )


def peer() -> _Engine | None:
    """Return where the settings have users move in from; ``None`` where they name nothing.

    Raises:
        ImproperlyConfigured: they name what cannot be read.
    """
    path = options().get(OPTION)
    if path is None:
        return None
    if not isinstance(path, str):
        raise ImproperlyConfigured(f'SESSION_TOKENS["{OPTION}"] is the path of an engine, not a {type(path).__name__}')
    return _engine_of(path)
