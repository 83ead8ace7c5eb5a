"""What the replies of PostgreSQL mean: JSON arrays become records whose MAC is right, with their stamps.

Text that PostgreSQL cannot hold is escaped on the way there and back. What a stamp is a stamp of (``Part``) is shared
with ``commit``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from ...clock import Clock
from ...contract.generational_cache import GenerationalCache
from ...contract.queries import SessionResult, TokenResult
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...records import ServiceKey
from ..common.kinds import SERVICE_KEY, SESSION, TOKEN, Kind
from ..common.locking import ABSENT
from ..common.record_codec import check_mac
from ..common.sealed_rows import record_in
from ..common.sql_results import Results, not_asked_for

_from_json = json.JSONDecoder().raw_decode

ESCAPE = "\x1a"

KNOWN_MAX = 4_096
"""Records that are remembered by their text: reading the same again neither checks nor decodes it."""
KNOWN_LENGTH_MAX = 2_000
"""Characters of a text that is remembered, so that all of them take about 16 MB at most."""
Row = Sequence[Any]
"""What a statement answers: the name of a question, its number, and a line of text."""


def escaped(text: str) -> str:
    """Return text that PostgreSQL can hold: without NUL and lone surrogates; ``unescaped`` is its inverse."""
    if "\0" not in text and ESCAPE not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    letters = []
    for letter in text:
        if letter == "\0":
            letters.append(ESCAPE + "0")
        elif letter == ESCAPE:
            letters.append(ESCAPE + "1")
        elif "\ud800" <= letter <= "\udfff":
            letters.append(f"{ESCAPE}u{ord(letter):04x}")
        else:
            letters.append(letter)
    return "".join(letters)


def unescaped(text: str) -> str:
    """Return the text that ``escaped`` was given."""
    if ESCAPE not in text:
        return text
    first, *rest = text.split(ESCAPE)
    parts = [first]
    for part in rest:
        if part.startswith("u"):
            parts.append(chr(int(part[1:5], 16)) + part[5:])
        else:
            parts.append(("\0" if part[:1] == "0" else ESCAPE) + part[1:])
    return "".join(parts)


def columns_in(text: str) -> list[Any]:
    """Return the columns in a JSON array, its MAC and stamp the last two."""
    columns: list[Any] = _from_json(text)[0]
    if "\\u001a" in text:
        try:
            columns = [unescaped(column) if isinstance(column, str) else column for column in columns]
        except ValueError:  # nobody of ours wrote that; its MAC cannot be right
            columns[-2] = None
    return columns


class Decoder(Results[str]):
    """Makes records of the JSON arrays of one store; see ``Results``."""

    def __init__(self, keyring: Keyring, clock: Clock, unreadables: Unreadables) -> None:
        super().__init__(keyring, clock, unreadables)
        self._known: dict[str, tuple[Any, int]] = {}
        self._looked_up: dict[str, GenerationalCache[str, tuple[str | None, Any]]] = {
            what: GenerationalCache(KNOWN_MAX // 2) for what in _LOOKED_UP
        }

    def record(self, kind: Kind, raw: str) -> tuple[Any, int]:
        """Return the record in a JSON array whose MAC is right, and its stamp."""
        known = self._known.get(raw)
        if known is not None:
            return known
        *columns, mac, stamp = columns_in(raw)
        row = tuple(columns)
        check_mac(self.keyring, kind.table, row, mac)
        known = record_in(self.keyring, kind, row, self.clock), stamp
        if (kind is SESSION or kind is TOKEN) and len(raw) <= KNOWN_LENGTH_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[raw] = known
        return known

    def looked_up(self, what: str, lookup: str, text: str) -> Any:
        """Return what a look-up key leads to: ``SessionResult``, ``TokenResult`` or service key.

        Args:
            what: of ``BY_LOOKUP``.
            lookup: the key.
            text: the record and what comes along with it, a JSON array a line, an empty line for what is not there.

        Raises:
            CorruptRecord, UnknownPepper: it cannot be read, or is not what the key leads to.
        """
        known = self._looked_up[what]
        pair = known.get(text)
        if pair is None:
            pair = _LOOKED_UP[what](self, *text.split("\n"))
            if len(text) <= KNOWN_LENGTH_MAX:
                known.keep(text, pair)
        if pair[0] != lookup:
            raise not_asked_for()
        return pair[1]

    def _looked_up_session(self, session: str, entry: str = "", *_: str) -> tuple[str | None, SessionResult]:
        result: SessionResult = self.session((session, entry or None), None).value
        assert result.session is not None
        return result.session.lookup, result

    def _looked_up_token(
        self, token: str, session: str = "", entry: str = "", heir: str = "", *_: str
    ) -> tuple[str | None, TokenResult]:
        result: TokenResult = self.token((token, session or None, entry or None, heir or None), None).value
        assert result.token is not None
        return result.token.lookup, result

    def _looked_up_key(self, key: str, *_: str) -> tuple[str | None, ServiceKey]:
        record: ServiceKey = self.record(SERVICE_KEY, key)[0]
        return record.lookup, record

    def columns(self, raw: str) -> Sequence[Any]:
        """Return the columns of a record, its stamp the last."""
        return columns_in(raw)

    def set_stamp(self, members: Sequence[tuple[str, int]]) -> str:
        """Return the stamp of a set, as ``stamp_v1`` does."""
        if not members:
            return ABSENT
        return sha256(escaped(" ".join(f"{id}={stamp}" for id, stamp in members)).encode()).hexdigest()


_LOOKED_UP: dict[str, Callable[..., tuple[str | None, Any]]] = {
    "session_lookup": Decoder._looked_up_session,
    "token_lookup": Decoder._looked_up_token,
    "key_lookup": Decoder._looked_up_key,
}
"""What is looked up → what makes the key and the result of the lines of a text."""
