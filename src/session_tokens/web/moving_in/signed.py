"""Cookies that hold the whole session, signed: those of Flask and of Starlette's ``SessionMiddleware``.

Both sign as itsdangerous does; it is not needed to read them. Such a cookie knows no log-out: each one that was ever
handed out is good until its age ends it. What is moved in is marked by what was signed, so that at least that one
cookie cannot be presented again; an earlier cookie of the same browser is another one.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import Any

from ...errors import InvalidInput
from ...settings import Duration, duration_ms
from . import Former, OwnerOf, owner_in, time_left_s
from .plain import BYTES_MAX, Unreadable, inflated, json_object

Keys = str | bytes | Sequence[str | bytes]
COOKIE_BYTES_MAX = 8_192
CLOCKS_APART_S = 60
"""How far in the future a cookie may have been signed, by a clock that is ahead."""


def keys_of(given: Keys) -> tuple[bytes, ...]:
    """Return secret keys as bytes.

    Raises:
        InvalidInput: there is none.
    """
    several: Sequence[str | bytes] = (given,) if isinstance(given, str | bytes) else given
    keys = tuple(key.encode() if isinstance(key, str) else bytes(key) for key in several)
    if not keys or not all(keys):
        raise InvalidInput("secret_key is the key that the cookies were signed with, or a list of those in use")
    return keys


def seconds_of(name: str, given: Duration) -> float:
    """Return a duration that cannot be for ever, in seconds."""
    milliseconds = duration_ms(name, given)
    if milliseconds is None:
        raise InvalidInput(f"{name} is how long the other library takes a cookie, in seconds")
    return milliseconds / 1000


def unpadded(text: bytes) -> bytes:
    """Return what base64 for addresses without padding stands for."""
    try:
        return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Unreadable("it is no base64") from None


def signed_part(value: bytes, keys: Sequence[bytes], digest: Callable[[], Any] = sha1) -> bytes:
    """Return what stands before the signature.

    Raises:
        Unreadable: none of the keys has signed it.
    """
    signed, dot, signature = value.rpartition(b".")
    if not dot:
        raise Unreadable("it is not signed")
    given = unpadded(signature)
    if not any(hmac.compare_digest(hmac.digest(key, signed, digest), given) for key in keys):
        raise Unreadable("its signature is not of that key")
    return signed


class _SignedCookie:
    """What both have in common: who signed, and how old it may be."""

    def __init__(self, derived: Sequence[bytes], lifetime: Duration, owner: OwnerOf, cookie: str) -> None:
        self.cookie = cookie
        self._keys = derived
        self._lifetime_s = seconds_of("lifetime", lifetime)
        self._owner = owner

    def read(self, value: str) -> Former | None:
        """Return the session that a cookie holds; ``None`` where it is forged, too old or empty."""
        try:
            signed = signed_part(value.encode("ascii", "replace")[:COOKIE_BYTES_MAX], self._keys)
            text, _, stamp = signed.rpartition(b".")
            left_s = time_left_s(int.from_bytes(unpadded(stamp), "big"), self._lifetime_s)
            if left_s > self._lifetime_s + CLOCKS_APART_S:
                return None
            fields = self._fields(text)
            owner = owner_in(fields, self._owner)
        except Unreadable:
            return None
        left_s = min(left_s, self._lifetime_s)
        if not _holds_something(fields) or left_s < 0.001:
            return None
        key = f"{type(self).__name__} {signed.decode('ascii')}"
        return Former(key, fields, owner, left_s, left_s)

    def _fields(self, text: bytes) -> dict[str, Any]:
        raise NotImplementedError


class FlaskCookie(_SignedCookie):
    """The sessions that Flask keeps in its signed cookie.

    Args:
        secret_key: ``app.secret_key``, or a list with the fallback keys too.
        lifetime: ``PERMANENT_SESSION_LIFETIME``: how old a cookie may be, in seconds or a ``timedelta``.
        owner: the field that says who is logged in, or a function of the fields; that of Flask-Login if not given.
        cookie: its name.

    Raises:
        InvalidInput: no key, or a lifetime that can never be right.
    """

    def __init__(
        self,
        secret_key: Keys,
        *,
        lifetime: Duration = 31 * 86_400,
        owner: OwnerOf = "_user_id",
        cookie: str = "session",
    ) -> None:
        derived = [hmac.digest(key, b"cookie-session", sha1) for key in keys_of(secret_key)]
        super().__init__(derived, lifetime, owner, cookie)

    def _fields(self, text: bytes) -> dict[str, Any]:
        is_compressed = text.startswith(b".")
        content = unpadded(text[1:] if is_compressed else text)
        fields = json_object(inflated(content) if is_compressed else content)
        try:
            from flask.json.tag import TaggedJSONSerializer
        except ModuleNotFoundError:  # the application is no Flask any more: what is tagged stays as it is
            return fields
        try:
            untagged = TaggedJSONSerializer().loads(inflated(content).decode() if is_compressed else content.decode())
        except (ValueError, TypeError, LookupError, AttributeError):
            raise Unreadable("a tag in it says what cannot be") from None
        if not isinstance(untagged, dict):
            raise Unreadable("it is no JSON object")
        return untagged


class StarletteCookie(_SignedCookie):
    """The sessions that Starlette's ``SessionMiddleware`` keeps in its signed cookie, FastAPI's and FastHTML's too.

    Args:
        secret_key: that of the middleware.
        owner: the field that says who is logged in, or a function of the fields.
        lifetime: ``max_age`` of the middleware, in seconds or a ``timedelta``.
        cookie: ``session_cookie`` of the middleware.

    Raises:
        InvalidInput: no key, or a lifetime that can never be right.
    """

    def __init__(
        self, secret_key: Keys, *, owner: OwnerOf, lifetime: Duration = 14 * 86_400, cookie: str = "session"
    ) -> None:
        # itsdangerous: of a Signer, the key is derived by hashing salt, purpose and secret one after the other.
        derived = [sha1(b"itsdangerous.Signer" + b"signer" + key).digest() for key in keys_of(secret_key)]  # noqa: S324
        super().__init__(derived, lifetime, owner, cookie)

    def _fields(self, text: bytes) -> dict[str, Any]:
        try:
            content = b64decode(text, validate=True)
        except binascii.Error:
            raise Unreadable("it is no base64") from None
        if len(content) > BYTES_MAX:
            raise Unreadable("it is too large")
        return json_object(content)


def _holds_something(fields: Mapping[str, Any]) -> bool:
    return bool(fields.keys() - {"_permanent", "_fresh", "_id"})
