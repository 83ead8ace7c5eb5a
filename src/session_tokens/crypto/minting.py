"""How ids and secrets are drawn, and the HMAC by which a store looks secrets up; ``secret_form`` says what they are."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, Protocol

from ..errors import InvalidInput
from .sealing import DATA_PREFIX, SEALED_VARIABLE, Sealer
from .secret_form import (
    ALPHABET,
    BODY_MAX,
    ID_BODY_MAX,
    PARTITION,
    PARTITION_MARK,
    PARTITION_NAMES,
    SECRET_BEGINNINGS,
    SHORT_SECRET,
    base62,
    checksum,
    short_checksum,
)

PEPPER_BYTES_MIN: Final = 32
_LETTERS = bytes(ord(ALPHABET[code % 62]) for code in range(256))
_UNFAIR = bytes(range(248, 256))  # 248 = 4 * 62: bytes from here on would favour the first letters
_MARKS = {begun + name: PARTITION_MARK + name for begun in SECRET_BEGINNINGS for name in PARTITION_NAMES}
"""How a secret begins that names a partition → how its look-up key ends."""
_UNPLACED: Final = PARTITION[1]
"""The end of the name of a partition in a secret that names none."""


def _short_body() -> str:
    """Return 32 base62 characters from the operating system, each value as likely."""
    while True:
        letters = os.urandom(44).translate(_LETTERS, _UNFAIR)
        if len(letters) >= 32:
            return letters[:32].decode()


def new_secret(prefix: str, partition: str = PARTITION) -> str:
    """Mint a secret: 256 bits from the operating system (a short one: 190), each value as likely, with its checksum."""
    if prefix == SHORT_SECRET:
        covered = prefix + partition + _short_body()
        return covered + short_checksum(covered.encode())
    while True:
        body = os.urandom(56).translate(_LETTERS, _UNFAIR)[:43].decode()
        if len(body) == 43 and body <= BODY_MAX:
            covered = prefix + partition + body
            return covered + checksum(covered.encode())


def secret_of(prefix: str, number: bytes, partition: str = PARTITION) -> str:
    """Return the secret whose 256 bits are ``number`` (32 bytes), as a derived secret is made; a short one: modulo."""
    if prefix == SHORT_SECRET:
        covered = prefix + partition + base62(int.from_bytes(number) % 62**32, 32)
        return covered + short_checksum(covered.encode())
    covered = prefix + partition + base62(int.from_bytes(number), 43)
    return covered + checksum(covered.encode())


def new_id(prefix: str, partition: str = PARTITION) -> str:
    """Mint a public id: 128 random bits, each value as likely."""
    while True:
        drawn = os.urandom(32)
        body = ALPHABET[drawn[0] & 7] + drawn[1:].translate(_LETTERS, _UNFAIR)[:21].decode()
        if len(body) == 22 and body <= ID_BODY_MAX:
            return prefix + partition + body


class Keyring(Protocol):
    """How one store turns secrets into what it looks them up by, and derives secrets for idempotent commands."""

    def lookup(self, secret: str) -> str:
        """Return what a new secret will be looked up by: under the current pepper."""
        ...

    def lookups(self, secret: str) -> Sequence[str]:
        """Return all that a secret may be looked up by: one for each live pepper, the current first."""
        ...

    @property
    def current(self) -> str:
        """The id of the current pepper."""
        ...

    def holds(self, key_id: str) -> bool:
        """Whether the pepper of that id was given."""
        ...

    @property
    def data_keys(self) -> Mapping[str, bytes]:
        """Key id → key for sealed values, the current one first."""
        ...

    @property
    def index_keys(self) -> Mapping[str, bytes]:
        """Key id → key for sealed names, the current one first."""
        ...

    @property
    def sealer(self) -> Sealer | None:
        """Seals and unseals what the store keeps of values; ``None`` where it keeps them in clear."""
        ...

    def derive(self, key_id: str, message: bytes) -> bytes:
        """Return 32 bytes that only a holder of that pepper can compute; ``KeyError`` where it is not held."""
        ...

    def mac(self, message: bytes) -> str:
        """Return ``key-id:hex`` of a MAC over a stored record under the current pepper; empty where there is none."""
        ...

    def mac_is_right(self, mac: str, message: bytes) -> bool:
        """Whether ``mac`` was made over ``message`` by a holder of one of the live peppers."""
        ...


class PlainKeyring:
    """For records that never leave the process: a secret is looked up by itself."""

    __slots__ = ("_pepper", "data_keys", "index_keys", "sealer")

    def __init__(self) -> None:
        self._pepper = os.urandom(32)
        self.sealer: Sealer | None = None
        self.data_keys: Mapping[str, bytes] = {self.current: os.urandom(32)}
        self.index_keys: Mapping[str, bytes] = {self.current: os.urandom(32)}

    current = "process"

    def holds(self, key_id: str) -> bool:
        """Return ``True``: what never leaves the process is under its own pepper."""
        return True

    def lookup(self, secret: str) -> str:
        """Return the secret itself."""
        return secret

    def lookups(self, secret: str) -> Sequence[str]:
        """Return the secret itself."""
        return (secret,)

    def derive(self, key_id: str, message: bytes) -> bytes:
        """Return HMAC-SHA256 under a pepper that dies with the process."""
        return hmac.digest(self._pepper, b"idem" + message, "sha256")

    def mac(self, message: bytes) -> str:
        """Return nothing: no one else writes to the memory of the process."""
        return ""

    def mac_is_right(self, mac: str, message: bytes) -> bool:
        """Return ``True``: no one else writes to the memory of the process."""
        return True


Pepper = bytes | Mapping[str, bytes]
"""At least 32 bytes, or key id → bytes of which the first is current."""


class Hmac:
    """HMAC-SHA256 under one key, which is taken in once: half of what each short message costs otherwise (RFC 2104)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block)).copy
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def hex(self, message: bytes) -> str:
        """Return the digest in hex."""
        inner, outer = self._inner(), self._outer()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


class PepperKeyring:
    """For stores that outlive the process: a secret is looked up by HMAC-SHA256 under a pepper that is kept apart.

    A look-up key is written ``key-id:hex digest``, so that it shows which peppers are still needed. That of a secret
    which names a partition ends with it, in every store: so it is known where the record lies, and copies are found.

    Args:
        pepper: bytes of at least 32, or a mapping key id → bytes of which the first is the current one.
        data: key id → key for sealed values, the current one first; derived from the peppers where not given.
        index: key id → key for sealed names, the same.
        sealed: whether a new store is to seal values; ``None``: as the store was made, a new one in clear.

    Attributes:
        sealer: seals values, once ``settle`` was told that the store is sealed.

    Raises:
        InvalidInput: for a short pepper, none at all, or a key id that is not 1 to 32 letters, digits, ``-`` or ``_``.
        TypeError: for anything that is neither bytes nor a mapping.
    """

    __slots__ = (
        "_alone", "_digest", "_keyed", "_mac_of", "_prefix", "_prefixes", "_sealed", "current", "data_keys",
        "index_keys", "peppers", "sealer",
    )  # fmt: skip

    def __init__(
        self,
        pepper: Pepper,
        *,
        data: Mapping[str, bytes] | None = None,
        index: Mapping[str, bytes] | None = None,
        sealed: bool | None = None,
    ) -> None:
        self._sealed = sealed
        self._mac_of = b"mac"
        self.sealer: Sealer | None = None
        self.peppers = checked_peppers(pepper)
        self.data_keys = data or self._derived(b"data key")
        self.index_keys = index or self._derived(b"index key")
        self.current = next(iter(self.peppers))
        self._keyed = {key_id: Hmac(secret).hex for key_id, secret in self.peppers.items()}
        self._prefixes = tuple((key_id + ":", keyed) for key_id, keyed in self._keyed.items())
        self._prefix, self._digest = self._prefixes[0]
        self._alone = _UNPLACED if len(self._prefixes) == 1 else None

    def _derived(self, use: bytes) -> dict[str, bytes]:
        return {key_id: hmac.digest(pepper, use, "sha256") for key_id, pepper in self.peppers.items()}

    @property
    def wants_sealing(self) -> bool:
        """Whether a new store is to be sealed."""
        return self._sealed is True

    def settle(self, is_sealed: bool) -> None:
        """Seal what goes into the store from now on, and unseal what comes from it, or neither: as it was made.

        MACs differ, so that no sealed record passes for one in clear, whatever was done to what the store records.

        Raises:
            InvalidInput: something else was asked for, or what sealing needs is not installed.
        """
        if self._sealed is not None and self._sealed != is_sealed:
            how, wanted = ("sealed", "no") if is_sealed else ("in clear", "yes")
            raise InvalidInput(
                f"this store keeps its values {how}, and was opened with sealed={self._sealed} ({SEALED_VARIABLE}); "
                f"open it as it is, or copy it into a new one: session-tokens store copy FROM TO --sealed {wanted}"
            )
        self.sealer = Sealer(self.data_keys) if is_sealed else None
        self._mac_of = b"mac of sealed" if is_sealed else b"mac"

    @property
    def recorded(self) -> tuple[str, ...]:
        """The ids of the keys that a store records: the peppers and, where it is sealed, the data keys."""
        return (*self.peppers, *(DATA_PREFIX + id for id in (self.data_keys if self.sealer is not None else ())))

    @property
    def written_under(self) -> tuple[str, ...]:
        """The ids of the keys that new records are under: the current ones."""
        return (self.current, *((DATA_PREFIX + next(iter(self.data_keys)),) if self.sealer is not None else ()))

    def holds(self, key_id: str) -> bool:
        """Whether the key of that id was given: a pepper, or after ``data:`` a data key."""
        return key_id in self.peppers or (
            key_id.startswith(DATA_PREFIX) and key_id.removeprefix(DATA_PREFIX) in self.data_keys
        )

    def lookup(self, secret: str) -> str:
        """Return the look-up key under the current pepper."""
        lookup = self._prefix + self._digest(secret.encode())
        return lookup if secret[5:6] == _UNPLACED else lookup + _MARKS.get(secret[:6], "")

    def lookups(self, secret: str) -> Sequence[str]:
        """Return the look-up keys under every pepper, the current first."""
        if secret[5:6] == self._alone:  # as it mostly is
            return (self._prefix + self._digest(secret.encode()),)
        message, mark = secret.encode(), _MARKS.get(secret[:6], "")
        if self._alone is not None:
            return (self._prefix + self._digest(message) + mark,)
        return tuple([prefix + keyed(message) + mark for prefix, keyed in self._prefixes])

    def derive(self, key_id: str, message: bytes) -> bytes:
        """Return HMAC-SHA256 under that pepper."""
        return hmac.digest(self.peppers[key_id], b"idem" + message, "sha256")

    def mac(self, message: bytes) -> str:
        """Return ``key-id:hex`` of a MAC over a stored record under the current pepper."""
        prefix, keyed = self._prefixes[0]
        return prefix + keyed(self._mac_of + message)

    def mac_is_right(self, mac: str, message: bytes) -> bool:
        """Whether ``mac`` was made over ``message`` under one of the live peppers; compares in constant time."""
        key_id, _, digest = mac.partition(":")
        keyed = self._keyed.get(key_id)
        return keyed is not None and digest.isascii() and hmac.compare_digest(keyed(self._mac_of + message), digest)

    def check_of(self, key_id: str) -> str:
        """Return what a store records of a key, to recognise a wrong one at open: hex HMAC of ``check``."""
        if key_id.startswith(DATA_PREFIX):
            return hmac.digest(self.data_keys[key_id.removeprefix(DATA_PREFIX)], b"check", "sha256").hex()
        return hmac.digest(self.peppers[key_id], b"check", "sha256").hex()


def is_pepper_id(text: str) -> bool:
    """Whether ``text`` can be the key id of a pepper."""
    return 1 <= len(text) <= 32 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()


def checked_peppers(pepper: Pepper) -> dict[str, bytes]:
    """Return key id → pepper, the current one first; see ``PepperKeyring`` for what is refused."""
    if isinstance(pepper, bytes | bytearray):
        secret = bytes(pepper)
        pepper = {sha256(b"id" + secret).hexdigest()[:8]: secret}
    elif not isinstance(pepper, Mapping):
        raise TypeError(f"a pepper is bytes or a mapping key id → bytes, not {type(pepper).__name__}")
    if not pepper:
        raise InvalidInput("no pepper is given; give at least one of 32 bytes or more")
    for key_id, secret in pepper.items():
        if not isinstance(key_id, str) or not isinstance(secret, bytes):
            raise TypeError("a pepper mapping is key id (str) → pepper (bytes)")
        if not is_pepper_id(key_id):
            raise InvalidInput("a pepper's key id is 1 to 32 ASCII letters, digits, '-' or '_'")
        if len(secret) < PEPPER_BYTES_MIN:
            raise InvalidInput(f"the pepper {key_id} has {len(secret)} bytes; give at least {PEPPER_BYTES_MIN}")
    return dict(pepper)
