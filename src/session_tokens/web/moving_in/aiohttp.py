"""The sessions of aiohttp_session: in an encrypted cookie, in Redis.

Both hold ``{"created": seconds, "session": fields}``, where ``created`` is the time of the last change. A session that
ended stays there as ``{}``.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from ...errors import InvalidInput
from ...settings import Duration
from . import ENDLESS_KEPT_S, Former, OwnerOf, owner_in, time_left_s
from .plain import Unreadable, json_object
from .redis import RedisPeer
from .signed import COOKIE_BYTES_MAX, Keys, seconds_of

COOKIE = "AIOHTTP_SESSION"
SECURITY = "AIOHTTP_SECURITY"
"""The field in which aiohttp_security keeps who is logged in."""


def _session_in(record: Mapping[str, Any], lifetime_s: float | None) -> tuple[dict[str, Any], float | None]:
    """Return the fields of a record, and for how many seconds it lives; ``None``: it never ends.

    Raises:
        Unreadable: it is not what the library writes.
    """
    fields = record.get("session", {})
    if not isinstance(fields, dict):
        raise Unreadable("it has no fields")
    return fields, None if lifetime_s is None else time_left_s(record.get("created", 0), lifetime_s)


def _lifetime_s(lifetime: Duration | None) -> float | None:
    return None if lifetime is None else seconds_of("lifetime", lifetime)


class AiohttpCookie:
    """The sessions that aiohttp_session keeps in the browser: ``EncryptedCookieStorage``.

    Args:
        secret_key: that of the storage, or a list of those in use: 32 bytes, or the text that Fernet takes.
        lifetime: ``max_age`` of the storage, in seconds or a ``timedelta``; ``None`` where it has none: a cookie is
            good for ever.
        owner: the field that says who is logged in, or a function of the fields; that of aiohttp_security if not given.
        cookie: ``cookie_name`` of the storage.

    Raises:
        InvalidInput: no key, one that Fernet does not take, or cryptography is missing.
    """

    def __init__(
        self, secret_key: Keys, *, lifetime: Duration | None, owner: OwnerOf = SECURITY, cookie: str = COOKIE
    ) -> None:
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ModuleNotFoundError:
            raise InvalidInput("the cookies are encrypted: pip install session-tokens[sealed]") from None
        several = [secret_key] if isinstance(secret_key, str | bytes) else list(secret_key)
        try:
            fernets = [Fernet(key if isinstance(key, str) else urlsafe_b64encode(key)) for key in several]
            self._fernet = MultiFernet(fernets)
        except ValueError:  # no key at all, too
            raise InvalidInput("secret_key is 32 bytes, or their base64 text; or a list of those in use") from None
        self.cookie = cookie
        self._invalid = InvalidToken
        self._lifetime_s = _lifetime_s(lifetime)
        self._owner = owner

    def read(self, value: str) -> Former | None:
        """Return the session that a cookie holds; ``None`` where it is forged, too old or empty."""
        token = value.encode("ascii", "replace")[:COOKIE_BYTES_MAX]
        try:
            text = self._fernet.decrypt(token)
            signed_at = self._fernet.extract_timestamp(token)
            fields, left_s = _session_in(json_object(text), self._lifetime_s)
            # Many spellings of base64 stand for the same bytes, and so for the same session.
            key = f"{type(self).__name__} {urlsafe_b64encode(urlsafe_b64decode(token)).decode('ascii')}"
            owner = owner_in(fields, self._owner)
        except (Unreadable, self._invalid):
            return None
        if self._lifetime_s is not None and left_s is not None:
            left_s = min(left_s, signed_at + self._lifetime_s - time.time())
        if not fields or (left_s is not None and left_s < 0.001):
            return None
        return Former(key, fields, owner, left_s, ENDLESS_KEPT_S if left_s is None else left_s)


class AiohttpRedis(RedisPeer):
    """The sessions that aiohttp_session keeps in Redis: ``RedisStorage``.

    Args:
        server: a URL, or a blocking client.
        lifetime: ``max_age`` of the storage, in seconds or a ``timedelta``; ``None`` where it has none: a session
            never ends.
        owner: the field that says who is logged in, or a function of the fields; that of aiohttp_security if not given.
        cookie: ``cookie_name`` of the storage, with which its keys begin too.

    Raises:
        InvalidInput: no server, or a lifetime that can never be right.
    """

    def __init__(
        self, server: Any, *, lifetime: Duration | None, owner: OwnerOf = SECURITY, cookie: str = COOKIE
    ) -> None:
        super().__init__(server, f"{cookie}_", owner, cookie)
        self._lifetime_s = _lifetime_s(lifetime)

    def _session_in(self, content: bytes, left_s: float | None) -> tuple[dict[str, Any], float | None]:
        fields, until_change_s = _session_in(json_object(content), self._lifetime_s)
        both = [each for each in (left_s, until_change_s) if each is not None]
        return fields, min(both) if both else None
