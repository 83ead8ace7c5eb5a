"""What the replies of PostgreSQL mean: JSON arrays become records whose MAC is right, with their stamps.

Text that PostgreSQL cannot hold is escaped on the way there and back. What a stamp is a stamp of (``Part``) is shared
with ``postgres_commit``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from ...clock import Clock
from ...contract.queries import (
    NO_SESSION,
    NO_TOKEN,
    AllKeys,
    EntryOf,
    IdempotencyOf,
    KeyById,
    KeyByLookup,
    ParkedTokens,
    PeppersInUse,
    PredecessorsOf,
    Query,
    Result,
    SessionById,
    SessionByLookup,
    SessionCountOf,
    SessionListing,
    SessionResult,
    SessionsOf,
    SettingOf,
    TokenById,
    TokenByLookup,
    TokenCountOf,
    TokenListing,
    TokenResult,
    TokensOf,
    TransferablesOf,
    Unreadable,
)
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE, CorruptRecord
from ...records import OwnerEntry, ServiceKey, Session, Token
from ..common.generational_cache import GenerationalCache
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.locking import ABSENT, Part
from ..common.record_codec import check_mac, unreadable_of

T = TypeVar("T")

NUMBERS = 2**44 - 1
"""The part of a stamp that is a number of the sequence; what stands before it is the server's timeline."""
ESCAPE = "\x1a"

KNOWN_MAX = 4_096
"""Records that are remembered by their text: reading the same again neither checks nor decodes it."""
KNOWN_LENGTH_MAX = 2_000
"""Characters of a text that is remembered, so that all of them take about 16 MB at most."""
Row = Sequence[Any]
"""What a statement answers: query, number, token, session, entry, other; all but the number are text or ``None``."""


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


def set_stamp(members: Sequence[tuple[str, int]]) -> str:
    """Return the stamp of a set from the ids and stamps of its members in their order, as ``stamp_v1`` does."""
    if not members:
        return ABSENT
    return sha256(escaped(" ".join(f"{id}={stamp}" for id, stamp in members)).encode()).hexdigest()


def columns_in(text: str) -> list[Any]:
    """Return the columns in a JSON array, its MAC and stamp the last two."""
    columns: list[Any] = json.loads(text)
    if "\\u001a" in text:
        try:
            columns = [unescaped(column) if isinstance(column, str) else column for column in columns]
        except ValueError:  # nobody of ours wrote that; its MAC cannot be right
            columns[-2] = None
    return columns


def _members_of(rows: Sequence[Row], column: int) -> list[tuple[str, int]]:
    """Return id and stamp of each row of a set, whether it can be read or not."""
    return [(columns[0], columns[-1]) for columns in (columns_in(row[column]) for row in rows)]


class Decoder:
    """Makes records of the JSON arrays of one store, checking the MAC of each.

    Whoever may change the functions of the database could have them answer a genuine record that was not asked for:
    so what comes back is also compared with the question.

    Args:
        keyring: holds the peppers that the MACs were made with.
        clock: goes into sessions, for their time left.

    Attributes:
        unreadables: gets each record that is left out of a list because it cannot be read.
    """

    __slots__ = ("_clock", "_keyring", "_known", "_looked_up", "unreadables")

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._known: dict[str, tuple[Any, int]] = {}
        self._looked_up: dict[type, GenerationalCache[str, tuple[str | None, Any]]] = {
            kind: GenerationalCache(KNOWN_MAX // 2) for kind in _LOOKED_UP
        }
        self.unreadables = Unreadables()

    def _checked(self, table: str, text: str) -> tuple[tuple[Any, ...], int]:
        """Return the columns and the stamp of a JSON array whose MAC is right."""
        columns = columns_in(text)
        stamp = columns.pop()
        mac = columns.pop()
        row = tuple(columns)
        check_mac(self._keyring, table, row, mac)
        return row, stamp

    def record(self, kind: Kind, text: str) -> tuple[Any, int]:
        """Return a record of any kind and its stamp."""
        row, stamp = self._checked(kind.table, text)
        return kind.record(row, self._clock), stamp

    def session(self, text: str) -> tuple[Session, int]:
        """Return a session and its stamp."""
        return self._known.get(text) or self._remember(text, self.record(SESSION, text))

    def token(self, text: str) -> tuple[Token, int]:
        """Return a token and its stamp."""
        return self._known.get(text) or self._remember(text, self.record(TOKEN, text))

    def _remember(self, text: str, known: tuple[Any, int]) -> tuple[Any, int]:
        """Keep a record that was found genuine by its exact text, MAC and stamp included."""
        if len(text) <= KNOWN_LENGTH_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[text] = known
        return known

    def looked_up(self, kind: type, lookup: str, text: str) -> Any:
        """Return what a look-up key leads to: ``SessionResult``, ``TokenResult`` or service key.

        Args:
            kind: the query that asks for it.
            lookup: the key.
            text: the record and what comes along with it, a JSON array a line, an empty line for what is not there.

        Raises:
            CorruptRecord, UnknownPepper: it cannot be read, or is not what the key leads to.
        """
        known = self._looked_up[kind]
        pair = known.get(text)
        if pair is None:
            pair = _LOOKED_UP[kind](self, *text.split("\n"))
            if len(text) <= KNOWN_LENGTH_MAX:
                known.keep(text, pair)
        if pair[0] != lookup:
            raise not_asked_for()
        return pair[1]

    def _looked_up_session(self, session: str, entry: str = "", *_: str) -> tuple[str | None, SessionResult]:
        result: SessionResult = self.session_found([(None, None, None, session, entry or None)], None).value
        assert result.session is not None
        return result.session.lookup, result

    def _looked_up_token(
        self, token: str, session: str = "", entry: str = "", heir: str = "", *_: str
    ) -> tuple[str | None, TokenResult]:
        row = (None, None, token, session or None, entry or None, heir or None)
        result: TokenResult = self.token_found([row], None).value
        assert result.token is not None
        return result.token.lookup, result

    def _looked_up_key(self, key: str, *_: str) -> tuple[str | None, ServiceKey]:
        record: ServiceKey = self.record(SERVICE_KEY, key)[0]
        return record.lookup, record

    def entry_of(self, session: Session, text: str | None) -> tuple[OwnerEntry | None, int]:
        """Return the entry of a session's owner, if there is one, and its stamp."""
        if text is None:
            return None, 0
        entry, stamp = self.record(OWNER, text)
        _same(entry.owner, session.owner)
        return entry, stamp

    def session_found(self, rows: Sequence[Row], absent: Part | None) -> Result:
        """Return a session with its owner's entry, and the stamps of both."""
        if not rows:
            return Result(NO_SESSION, () if absent is None else ((absent, ABSENT),))
        session, stamp = self.session(rows[0][3])
        _compare(absent, session)
        entry, entry_stamp = self.entry_of(session, rows[0][4])
        return Result(
            SessionResult(session, entry),
            ((("session", session.id), str(stamp)), (("entry", session.owner), str(entry_stamp))),
        )

    def token_found(self, rows: Sequence[Row], absent: Part | None) -> Result:
        """Return a token with its session and that owner's entry, and the stamps of all."""
        if not rows:
            return Result(NO_TOKEN, () if absent is None else ((absent, ABSENT),))
        token, stamp = self.token(rows[0][2])
        _compare(absent, token)
        stamps: list[tuple[Part, str]] = [(("token", token.id), str(stamp))]
        session = entry = heir = None
        if rows[0][3] is not None:
            session, session_stamp = self.session(rows[0][3])
            _same(session.id, token.session_id)
            entry, entry_stamp = self.entry_of(session, rows[0][4])
            stamps += [(("session", session.id), str(session_stamp)), (("entry", session.owner), str(entry_stamp))]
            successor = session.details.successor
            if rows[0][5] is not None:
                heir, heir_stamp = self.session(rows[0][5])
                _same((heir.id, heir.owner), (successor, session.owner))
                stamps.append((("session", heir.id), str(heir_stamp)))
            elif successor is not None:
                stamps.append((("session", successor), ABSENT))
        elif token.session_id is not None:
            stamps.append((("session", token.session_id), ABSENT))
        return Result(TokenResult(token, session, entry, heir), stamps)

    def _readable(
        self, rows: Sequence[Row], column: int, decode: Callable[[Row], T]
    ) -> tuple[list[T], list[Unreadable]]:
        """Return what rows say, and which of them say nothing that can be read; these are logged.

        Args:
            rows: as they came.
            column: where in a row the JSON of what it is about stands.
            decode: answers what one row says.
        """
        records: list[T] = []
        left_out: list[Unreadable] = []
        for row in rows:
            try:
                records.append(decode(row))
            except UNREADABLE as error:
                self.unreadables.met(error)
                left_out.append(unreadable_of(columns_in(row[column]), error))
        return records, left_out

    def sessions_found(self, rows: Sequence[Row], part: Part) -> Result:
        """Return a set of sessions and its stamp."""
        pairs, left_out = self._readable(rows, 3, lambda row: self.session(row[3]))
        kind, key = part
        for session, _ in pairs:
            _same(session.details.successor if kind == "predecessors_of" else session.owner, key.partition(":")[2])
        members = [(session.id, stamp) for session, stamp in pairs]
        stamp = set_stamp(members if not left_out else _members_of(rows, 3))
        return Result([session for session, _ in pairs], ((part, stamp),), left_out)

    def tokens_found(self, rows: Sequence[Row], part: Part) -> Result:
        """Return a set of tokens and its stamp."""
        pairs, left_out = self._readable(rows, 2, lambda row: self.token(row[2]))
        kind, key = part
        for token, _ in pairs:
            whose = key.partition(":")[2]
            if kind == "parked_tokens":
                _same((token.owner, token.session_id), (whose, None))
            else:
                _same(token.session_id, whose)
        members = [(token.id, stamp) for token, stamp in pairs]
        stamp = set_stamp(members if not left_out else _members_of(rows, 2))
        return Result([token for token, _ in pairs], ((part, stamp),), left_out)

    def listing_found(self, rows: Sequence[Row], column: int, found: Callable[[Sequence[Row], None], Result]) -> Result:
        """Return the lines of a listing, each with what it is judged by; a listing has no stamp."""
        values, left_out = self._readable(rows, column, lambda row: found([row], None).value)
        return Result(values, (), left_out)

    def keys_found(self, rows: Sequence[Row]) -> Result:
        """Return all service keys."""
        keys, left_out = self._readable(rows, 5, lambda row: self.record(SERVICE_KEY, row[5])[0])
        return Result(keys, (), left_out)

    def one_found(self, rows: Sequence[Row], part: Part, kind: Kind) -> Result:
        """Return the record in the one row, if there is one, and its stamp."""
        if not rows:
            return Result(None, ((part, ABSENT),))
        record, stamp = self.record(kind, rows[0][5])
        _same(record.lookup if part[0] == "key_lookup" else record[0], part[1])
        return Result(record.text if kind is SETTING else record, ((part, str(stamp)),))

    def found(self, query: Query, rows: Sequence[Row]) -> Result:
        """Return one query from the rows that came for it."""
        return _ANSWERS[type(query)](self, query, rows)


def _some(limit: int | None, whose: str) -> str:
    """Return the key of the part that is a set, or at most so many of it."""
    return f"{'' if limit is None else limit}:{whose}"


def not_asked_for() -> CorruptRecord:
    """Return the error for an answer that no function of ours would give."""
    return CorruptRecord("PostgreSQL answered a record that was not asked for; its functions are not ours any more")


def _same(came: object, asked: object) -> None:
    if came != asked:
        raise not_asked_for()


def _compare(asked: Part | None, record: Session | Token) -> None:
    """Refuse a record that was asked for by its id or look-up key and has another one."""
    if asked is not None:
        _same(record.lookup if asked[0].endswith("_lookup") else record.id, asked[1])


_ANSWERS: dict[type, Callable[[Decoder, Any, Sequence[Row]], Result]] = {
    SessionById: lambda to, query, rows: to.session_found(rows, ("session", query.id)),
    SessionByLookup: lambda to, query, rows: to.session_found(rows, ("session_lookup", query.lookup)),
    TokenById: lambda to, query, rows: to.token_found(rows, ("token", query.id)),
    TokenByLookup: lambda to, query, rows: to.token_found(rows, ("token_lookup", query.lookup)),
    SessionsOf: lambda to, query, rows: to.sessions_found(
        rows, ("newest_sessions_of" if query.newest else "sessions_of", _some(query.limit, query.owner))
    ),
    SessionCountOf: lambda to, query, rows: Result(int(rows[0][5]), ((("session_count_of", query.owner), rows[0][5]),)),
    PredecessorsOf: lambda to, query, rows: to.sessions_found(rows, ("predecessors_of", _some(None, query.session_id))),
    EntryOf: lambda to, query, rows: to.one_found(rows, ("entry", query.owner), OWNER),
    TokensOf: lambda to, query, rows: to.tokens_found(rows, ("tokens_of", _some(query.limit, query.session_id))),
    TransferablesOf: lambda to, query, rows: to.tokens_found(
        rows, ("transferables_of", _some(query.limit, query.session_id))
    ),
    TokenCountOf: lambda to, query, rows: Result(
        int(rows[0][5]),
        ((("transferable_count_of" if query.transferable else "token_count_of", query.session_id), rows[0][5]),),
    ),
    ParkedTokens: lambda to, query, rows: to.tokens_found(rows, ("parked_tokens", _some(query.limit, query.owner))),
    IdempotencyOf: lambda to, query, rows: to.one_found(rows, ("idempotency", query.key), IDEMPOTENCY),
    SettingOf: lambda to, query, rows: to.one_found(rows, ("setting", query.name), SETTING),
    KeyByLookup: lambda to, query, rows: to.one_found(rows, ("key_lookup", query.lookup), SERVICE_KEY),
    KeyById: lambda to, query, rows: to.one_found(rows, ("key", query.id), SERVICE_KEY),
    AllKeys: lambda to, query, rows: to.keys_found(rows),
    PeppersInUse: lambda to, query, rows: Result([row[5] for row in rows]),
    SessionListing: lambda to, query, rows: to.listing_found(rows, 3, to.session_found),
    TokenListing: lambda to, query, rows: to.listing_found(rows, 2, to.token_found),
}

_LOOKED_UP: dict[type, Callable[..., tuple[str | None, Any]]] = {
    SessionByLookup: Decoder._looked_up_session,
    TokenByLookup: Decoder._looked_up_token,
    KeyByLookup: Decoder._looked_up_key,
}
