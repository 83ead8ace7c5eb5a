"""How ``TokenTables`` keeps the strings by which an application names its sessions and tokens.

In memory a string is the id of its record. A store that outlives the process looks a string up by HMAC under the
pepper, and keeps the string itself beside the record, because the seed's lists answer strings: sealed with AES-GCM
(``session-tokens[sealed]``), or in clear where that is not installed or not wanted.
"""

from __future__ import annotations

import hmac
import logging
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from ..crypto.minting import Keyring
from ..crypto.sealing import Sealer, can_seal
from ..errors import CorruptRecord, InvalidInput
from ..records import Session, Token

log = logging.getLogger("session_tokens.tables")

TokenStrings = Literal["sealed", "clear"]
SETTING = "token_strings"
_NAME = "\x1fname:"


class Naming(metaclass=ABCMeta):
    """What turns an application's strings into ids and back."""

    @abstractmethod
    def ids(self, string: str) -> Sequence[str]:
        """Return the ids that a string may have, the one for new records first."""
        ...

    @abstractmethod
    def kept(self, kind: str, id: str, string: str) -> str | None:
        """Return what a new record keeps of its string."""
        ...

    @abstractmethod
    def string_of(self, record: Session | Token) -> str:
        """Return the string of a record."""
        ...

    @abstractmethod
    def hash_of(self, string: str, owner: str) -> str:
        """Return the hash that shows the owner of a session without telling its string."""
        ...


class PlainNaming(Naming):
    """In memory: the string is the id."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = blake2b(os.urandom(32), digest_size=32)

    def ids(self, string: str) -> Sequence[str]:
        """Return the string itself."""
        return (string,)

    def kept(self, kind: str, id: str, string: str) -> str | None:
        """Return nothing: the id says it."""
        return None

    def string_of(self, record: Session | Token) -> str:
        """Return the id."""
        return record.id

    def hash_of(self, string: str, owner: str) -> str:
        """Return a keyed hash of string and owner in hex, under a key of this process.

        The key is simply put in front: BLAKE2 cannot be extended (RFC 7693), and one block less is hashed. To copy a
        hash that has begun with it takes two thirds of the time of beginning one.
        """
        begun = self._begun.copy()
        begun.update(f"{string}\0{owner}".encode())
        return begun.hexdigest()


class KeyedNaming(Naming):
    """On a store that outlives the process: found by HMAC, kept sealed or in clear."""

    def __init__(self, keyring: Keyring, token_strings: TokenStrings) -> None:
        self._keyring = keyring
        self._sealer = Sealer(keyring.data_keys) if token_strings == "sealed" else None

    def ids(self, string: str) -> Sequence[str]:
        """Return the look-up key of the string under each live pepper."""
        return self._keyring.lookups(_NAME + string)

    def kept(self, kind: str, id: str, string: str) -> str | None:
        """Return the string, sealed for this record or in clear."""
        return string if self._sealer is None else self._sealer.seal(kind, id, "name", string)

    def string_of(self, record: Session | Token) -> str:
        """Return the string that a record keeps.

        Raises:
            CorruptRecord: it was sealed for another record, or changed.
            UnknownPepper: its data key is not held.
        """
        if record.name is None:
            raise CorruptRecord("a record of TokenTables has lost its string", id=record.id)
        if self._sealer is None:
            return record.name
        kind = "session" if isinstance(record, Session) else "token"
        return self._sealer.unseal(kind, record.id, "name", record.name)

    def hash_of(self, string: str, owner: str) -> str:
        """Return hex HMAC-SHA256(index key, string + NUL + owner)."""
        return _hash_of(next(iter(self._keyring.index_keys.values())), string, owner)


def sealed_anew(sealer: Sealer, record: Session | Token) -> Session | Token:
    """Return a record whose string is sealed under the current data key.

    Raises:
        CorruptRecord, UnknownPepper: as ``string_of``.
    """
    if record.name is None:
        return record
    kind = "session" if isinstance(record, Session) else "token"
    string = sealer.unseal(kind, record.id, "name", record.name)
    return record.replace(name=sealer.seal(kind, record.id, "name", string))


def _hash_of(index_key: bytes, string: str, owner: str) -> str:
    return hmac.digest(index_key, f"{string}\0{owner}".encode(), "sha256").hex()


def chosen_token_strings(asked: str | None, recorded: str | None) -> TokenStrings:
    """Return how strings are kept: as recorded in the store, as asked, else sealed where that is installed.

    Raises:
        InvalidInput: what is asked for is unknown, not installed, or not what the store was made with.
    """
    if asked not in (None, "sealed", "clear"):
        raise InvalidInput('token_strings is "sealed", "clear" or None')
    if recorded is not None and asked is not None and asked != recorded:
        raise InvalidInput(f'this store keeps its token strings {recorded}; open it with token_strings="{recorded}"')
    installed = can_seal()
    choice = recorded or asked or ("sealed" if installed else "clear")
    if choice == "sealed":
        if not installed:
            raise InvalidInput("sealed token strings need the extra: pip install 'session-tokens[sealed]'")
        return "sealed"
    if asked is None and recorded is None:
        log.warning(
            "token strings are kept in clear; pip install 'session-tokens[sealed]' before making a store seals them"
        )
    return "clear"
