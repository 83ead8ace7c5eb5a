"""Sealing: fields of records that only a holder of the data key can read, each under a key of its own record."""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from ..errors import CorruptRecord, InvalidInput, UnknownPepper

SEALED_VARIABLE: Final = "SESSION_TOKENS_SEALED"
DATA_PREFIX: Final = "data:"
"""What stands before the id of a data key where peppers are recorded too; no pepper's id has a colon."""
_NONCE_BYTES = 12
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def can_seal() -> bool:
    """Whether what sealing needs is installed."""
    return find_spec("cryptography") is not None


def sealed_in(environment: Mapping[str, str]) -> bool | None:
    """Return whether the environment wants stores to be sealed; ``None`` where it does not say.

    Raises:
        InvalidInput: it says something else.
    """
    text = environment.get(SEALED_VARIABLE)
    if text is None:
        return None
    if text.strip().lower() not in _WORDS:
        raise InvalidInput(f"{SEALED_VARIABLE} is yes or no")
    return _WORDS[text.strip().lower()]


def named_key(key_id: str) -> str:
    """Return a key that a store records, by its kind and its id, for messages."""
    if key_id.startswith(DATA_PREFIX):
        return f"data key {key_id.removeprefix(DATA_PREFIX)}"
    return f"pepper {key_id}"


class Sealer:
    """Seals fields of records with AES-GCM, each under a key of its own record.

    The key is HKDF-SHA256(data key, record id) (RFC 5869); kind, id and field are associated data, so that a field
    copied over another is refused. The data key's id is written in front. Safe for threads.

    Args:
        data_keys: key id → data key, the current one first.

    Attributes:
        met: the ids of the data keys under which something was unsealed.

    Raises:
        InvalidInput: what it needs is not installed.
    """

    __slots__ = ("_cipher", "_current", "_extracted", "_invalid_tag", "_latest", "met")

    def __init__(self, data_keys: Mapping[str, bytes]) -> None:
        if not can_seal():
            raise InvalidInput("sealing needs the extra: pip install 'session-tokens[sealed]'")
        aead: Any = import_module("cryptography.hazmat.primitives.ciphers.aead")
        self._cipher = aead.AESGCM
        self._invalid_tag = import_module("cryptography.exceptions").InvalidTag
        self._current = next(iter(data_keys))
        self._extracted = {id: hmac.digest(b"session-tokens", key, "sha256") for id, key in data_keys.items()}
        self._latest: tuple[str, str, Any] = ("", "", None)
        self.met: set[str] = set()

    def seal(self, kind: str, id: str, field: str, text: str) -> str:
        """Return ``text`` sealed for one field of one record, under the current data key."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = text.encode("utf-8", "surrogatepass")
        sealed = self._cipher_of(self._current, id).encrypt(nonce, plain, _bound_to(kind, id, field))
        return f"{self._current}:{urlsafe_b64encode(nonce + sealed).decode('ascii')}"

    def unseal(self, kind: str, id: str, field: str, sealed: str) -> str:
        """Return the text that was sealed for that field of that record.

        Raises:
            CorruptRecord: it was sealed for another one, or changed.
            UnknownPepper: its data key is not held.
        """
        key_id, colon, body = sealed.partition(":")
        if colon and key_id not in self._extracted:
            raise UnknownPepper(
                f"a field of {id} was sealed under the data key {key_id[:32]!a}, which this process was not given; "
                "give it in the key file (docs/secrets.md has the order of a rotation)",
                id=id,
                key_id=DATA_PREFIX + key_id,
            )
        try:
            raw = urlsafe_b64decode(body.encode("ascii"))
            opened = self._cipher_of(key_id, id).decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(kind, id, field)
            )
            text: str = opened.decode("utf-8", "surrogatepass")
        except (ValueError, KeyError, self._invalid_tag):
            raise CorruptRecord(
                f"the sealed {field} of {id} is not as it was written; restore it from a backup, or set it aside with "
                "session-tokens check --fix",
                id=id,
                malformed=True,
            ) from None
        self.met.add(key_id)
        return text

    def _cipher_of(self, key_id: str, id: str) -> Any:
        latest = self._latest  # the fields of one record come one after another
        if latest[1] == id and latest[0] == key_id:
            return latest[2]
        cipher = self._cipher(
            hmac.digest(self._extracted[key_id], id.encode("utf-8", "surrogatepass") + b"\x01", "sha256")
        )
        self._latest = (key_id, id, cipher)
        return cipher


def _bound_to(kind: str, id: str, field: str) -> bytes:
    return ascii((kind, id, field)).encode("ascii")
