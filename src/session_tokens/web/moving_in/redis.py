"""Sessions that other libraries keep in Redis or Valkey, and those of Flask-Session and starsessions."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from hashlib import sha1
from importlib import import_module
from typing import Any

from ...errors import InvalidInput, StoreUnavailable
from . import ENDLESS_KEPT_S, Former, OwnerOf, owner_in
from .plain import BYTES_MAX, Unreadable, json_object, plain_pickle
from .signed import Keys, keys_of, signed_part

SID = re.compile(r"[A-Za-z0-9_-]{20,86}")
NOT_THERE = -2
"""How long a key is kept that is not there."""


class RedisReader:
    """Reads a key and for how long it is kept, and nothing else.

    Args:
        server: a URL (``redis://…``, ``valkey://…``) or a blocking client of ``redis`` or ``valkey``.

    Raises:
        InvalidInput: it is neither, or no client is installed.
    """

    def __init__(self, server: Any) -> None:
        if isinstance(server, str):
            self._client = _client_of(server)
        elif callable(getattr(server, "pipeline", None)):
            self._client = server
        else:
            raise InvalidInput("server is a URL such as redis://localhost:6379/0, or a client of redis or valkey")

    def get(self, key: str) -> tuple[bytes, float | None] | None:
        """Return the value of a key and for how many seconds it is kept, ``None`` for ever; ``None`` without one.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        try:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.getrange(key, 0, BYTES_MAX)  # one byte more than is read; a value may be half a gigabyte
                pipeline.pttl(key)
                value, left_ms = pipeline.execute(raise_on_error=False)
            if isinstance(value, Exception) and str(value).startswith("WRONGTYPE"):
                return None  # a list, a hash: somebody else's
            for answer in (value, left_ms):
                if isinstance(answer, Exception):
                    raise answer
        except Exception as error:  # two clients, each with a tree of errors of its own
            raise _unavailable(error) from error
        content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
        if left_ms in (0, NOT_THERE) or len(content) > BYTES_MAX:
            return None
        return content, None if left_ms < 0 else left_ms / 1000

    def keys(self, prefix: str, suffix: str = "") -> list[str]:
        """Return the keys that begin and end so, found step by step so that the server goes on serving others.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        before, after = (re.sub(r"([*?\[\]\\])", r"\\\1", literal) for literal in (prefix, suffix))
        try:
            found = set(self._client.scan_iter(match=f"{before}*{after}", count=1_000))
        except Exception as error:
            raise _unavailable(error) from error
        return sorted({key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in found})


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the sessions of the library before cannot be read ({type(error).__name__}); try again, and where that stays "
        "so see to the user, password and database of its address"
    )


def _client_of(url: str) -> Any:
    for name, kind in (("valkey", "Valkey"), ("redis", "Redis")):
        try:
            made = getattr(import_module(name), kind)
        except ModuleNotFoundError:
            continue
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "rediss", "valkey", "valkeys", "unix"):
            raise InvalidInput("the address of the other library's server begins with redis:// or valkey://")
        is_secure = scheme in ("rediss", "valkeys")
        plain = {"Valkey": "valkey", "Redis": "redis"}[kind]
        scheme = "unix" if scheme == "unix" else plain + ("s" if is_secure else "")
        return made.from_url(f"{scheme}://{rest}", socket_timeout=5.0, socket_connect_timeout=5.0)
    raise InvalidInput("no client for it is installed; pip install session-tokens[valkey], or redis")


class RedisPeer:
    """What all have in common: a server, a prefix, and who is logged in."""

    def __init__(self, server: Any, prefix: str, owner: OwnerOf, cookie: str) -> None:
        self.cookie = cookie
        self.prefix = prefix
        self._reader = RedisReader(server)
        self._owner = owner

    def read(self, value: str) -> Former | None:
        """Return the session that a cookie names; ``None`` where there is none, or it holds nothing.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        id = self.id_in(value)
        return None if id is None else self.stored(id)

    def stored(self, id: str) -> Former | None:
        """Return the session of an id, as ``read``."""
        found = self._reader.get(f"{self.prefix}{id}{self.suffix}")
        if found is None:
            return None
        content, left_s = found
        try:
            fields, time_left_s = self._session_in(content, left_s)
            fields = {name: field for name, field in fields.items() if name not in self.NOT_FIELDS}
            owner = owner_in(fields, self._owner)
        except Unreadable:
            return None
        if not (fields.keys() - self.NOTHING) or (time_left_s is not None and time_left_s < 0.001):
            return None
        kept_s = ENDLESS_KEPT_S if left_s is None else left_s
        return Former(f"{type(self).__name__} {id}", fields, owner, time_left_s, kept_s)

    def ids(self) -> list[str]:
        """Return the ids of all that is stored, those of users who logged out too where the library leaves them."""
        end = len(self.suffix)
        keys = self._reader.keys(self.prefix, self.suffix)
        return [key[len(self.prefix) : len(key) - end] for key in keys]

    suffix = ""
    """What stands behind the id in a key."""
    NOT_FIELDS: frozenset[str] = frozenset()
    """Fields that are the library's own."""
    NOTHING: frozenset[str] = frozenset()
    """Fields that say nothing about a user."""

    def id_in(self, value: str) -> str | None:
        """Return the id in a cookie, ``None`` where it can be none."""
        return value if SID.fullmatch(value) else None

    def _session_in(self, content: bytes, left_s: float | None) -> tuple[dict[str, Any], float | None]:
        """Return the fields of a record that is kept for so long, and when the session ends, as ``Former`` has it.

        Raises:
            Unreadable: it is not what the library writes.
        """
        return json_object(content), None


class FlaskSessionRedis(RedisPeer):
    """The sessions that Flask-Session keeps in Redis, whatever its version wrote: MessagePack, JSON or a pickle.

    Pickles are read as far as they hold plain values; with anything else in it, a session is not moved.

    Args:
        server: a URL, or the client that is ``SESSION_REDIS``.
        prefix: ``SESSION_KEY_PREFIX``.
        owner: the field that says who is logged in, or a function of the fields; that of Flask-Login if not given.
        secret_key: where ``SESSION_USE_SIGNER`` is set: ``app.secret_key``.
        cookie: ``SESSION_COOKIE_NAME``.

    Raises:
        InvalidInput: no server, or msgspec is missing, which Flask-Session itself needs.
    """

    NOTHING = frozenset({"_permanent", "_fresh", "_id"})

    def __init__(
        self,
        server: Any,
        *,
        prefix: str = "session:",
        owner: OwnerOf = "_user_id",
        secret_key: Keys | None = None,
        cookie: str = "session",
    ) -> None:
        super().__init__(server, prefix, owner, cookie)
        keys = () if secret_key is None else keys_of(secret_key)
        self._signing = [hmac.digest(key, b"flask-session", sha1) for key in keys]
        try:
            self._unpack: Callable[[bytes], Any] = import_module("msgspec.msgpack").decode
        except ModuleNotFoundError:
            raise InvalidInput("Flask-Session writes MessagePack, which msgspec reads: pip install msgspec") from None

    def id_in(self, value: str) -> str | None:
        """Return the id in a cookie, whose signature must be right where there is one."""
        if self._signing:
            try:
                value = signed_part(value.encode("ascii", "replace"), self._signing).decode("ascii")
            except Unreadable:
                return None
        return super().id_in(value)

    def _session_in(self, content: bytes, left_s: float | None) -> tuple[dict[str, Any], float | None]:
        fields: Any
        try:  # in the order in which Flask-Session tries
            fields = self._unpack(content)
        except RecursionError:
            raise Unreadable("it is nested too deep") from None
        except ValueError:
            fields = json_object(content) if content[:1] == b"{" else plain_pickle(content)
        if not isinstance(fields, dict):
            raise Unreadable("it is no mapping")
        return {str(name): field for name, field in fields.items()}, None


class StarsessionsRedis(RedisPeer):
    """The sessions that starsessions keeps in Redis.

    Args:
        server: a URL, or a blocking client.
        owner: the field that says who is logged in, or a function of the fields.
        prefix: of the ``RedisStore``.
        rolling: whether its middleware has ``rolling=True``: each use then gives a new life.
        cookie: its name.
    """

    NOT_FIELDS = frozenset({"__metadata__"})

    def __init__(
        self,
        server: Any,
        *,
        owner: OwnerOf,
        prefix: str = "starsessions.",
        rolling: bool = False,
        cookie: str = "session",
    ) -> None:
        super().__init__(server, prefix, owner, cookie)
        self._rolling = rolling

    def _session_in(self, content: bytes, left_s: float | None) -> tuple[dict[str, Any], float | None]:
        return json_object(content), None if self._rolling else left_s
