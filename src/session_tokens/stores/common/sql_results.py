"""What the rows of SQL servers mean: records whose MAC is right become answers, with the stamp of each part.

Theory of operation. A server's own ``rows`` brings what it answers into *lines*: the record that was asked for, then
what comes along with it, ``None`` for what is not there. Whoever may change a database could have it answer a genuine
record that was not asked for: so what comes is also compared with the question.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ...clock import Clock
from ...contract.queries import (
    NO_SESSION,
    NO_TOKEN,
    Get,
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    TokenResult,
    Unreadable,
)
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE, CorruptRecord
from ...records import OwnerEntry, Session, Token
from .kinds import IDEMPOTENCY, OWNER, RECORD_SETS, RECORDS, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from .locking import ABSENT, Part, part_asked
from .record_codec import unreadable_of
from .seen_parts import SeenParts

R = TypeVar("R")
Line = Sequence[Any]
"""Records as the database has them, or the one value that was asked for."""


class Results(ABC, Generic[R]):
    """Makes answers of what one store's database holds.

    Args:
        keyring: holds the peppers that the MACs were made with.
        clock: goes into sessions, for their time left.
        unreadables: gets each record that is left out of a list because it cannot be read.

    Attributes:
        seen: remembers what was read.
    """

    def __init__(self, keyring: Keyring, clock: Clock, unreadables: Unreadables) -> None:
        self.keyring = keyring
        self.clock = clock
        self.unreadables = unreadables
        self.seen = SeenParts(clock.now, self.set_stamp)

    @abstractmethod
    def record(self, kind: Kind, raw: R) -> tuple[Any, Any]:
        """Return a record whose MAC is right, and its stamp.

        Raises:
            CorruptRecord, UnknownPepper: it cannot be read.
        """

    @abstractmethod
    def columns(self, raw: R) -> Sequence[Any]:
        """Return the columns of a record that cannot be read; its key is the first, its stamp the last."""

    @abstractmethod
    def set_stamp(self, members: Sequence[tuple[str, Any]]) -> str:
        """Return the stamp of a set from the ids and stamps of its members in their order."""

    def answer(self, query: Query, lines: Sequence[Line]) -> Result:
        """Return what lines say to a query.

        Raises:
            CorruptRecord, UnknownPepper: the one record that was asked for cannot be read, or is another.
        """
        if isinstance(query, Get):
            kind, asked = RECORDS[query.what][0], (query.what, query.key)
            if kind is SESSION:
                return self.session(lines[0], asked) if lines else Result(NO_SESSION, (self._gone(asked),))
            if kind is TOKEN:
                return self.token(lines[0], asked) if lines else Result(NO_TOKEN, (self._gone(asked),))
            return self._one(query, kind, asked, lines)
        if isinstance(query, Scan):
            return self._scanned(query, lines)
        part = part_asked(query)
        if isinstance(query, Members):
            return self._members(query, part, [line[0] for line in lines])
        return Result(int(lines[0][0]), ((part, str(lines[0][0])),))

    def _one(self, query: Get, kind: Kind, part: Part, lines: Sequence[Line]) -> Result:
        if not lines:
            if kind is not OWNER and kind is not SETTING:
                return Result(None, (self._gone(part),))
            self.seen.saw(part, ABSENT, None)
            return Result(None, ((part, ABSENT),))
        record, stamp = self.record(kind, lines[0][0])
        same(record.lookup if query.what == "key_lookup" else record[0], query.key)
        value = record.text if kind is SETTING else record
        if kind is not IDEMPOTENCY:
            length = len(value) if kind is SETTING else 0
            self.seen.saw(("key", record.id) if kind is SERVICE_KEY else part, str(stamp), value, length)
        return Result(value, ((part, str(stamp)),))

    def session(self, line: Line, asked: Part | None) -> Result:
        """Return a session with its owner's entry, and the stamps of both."""
        session, stamp = self.record(SESSION, line[0])
        _compare(asked, session)
        entry, of_entry = self.entry_of(session, line[1])
        text = str(stamp)
        part = self.seen.saw_session(session, text)
        self._led(asked, part, session)
        return Result(SessionResult(session, entry), ((part, text), of_entry))

    def token(self, line: Line, asked: Part | None) -> Result:
        """Return a token with its session, that one's owner's entry and its successor, and the stamps of all."""
        token, stamp = self.record(TOKEN, line[0])
        _compare(asked, token)
        text = str(stamp)
        part = self.seen.saw_token(token, text)
        self._led(asked, part, token)
        stamps = [(part, text)]
        if line[1] is None:
            if token.session_id is not None:
                stamps.append(self._gone(("session", token.session_id)))
            return Result(TokenResult(token, None, None), stamps)
        session, session_stamp = self.record(SESSION, line[1])
        same(session.id, token.session_id)
        entry, of_entry = self.entry_of(session, line[2])
        text = str(session_stamp)
        stamps += [(self.seen.saw_session(session, text), text), of_entry]
        heir, successor = None, session.details.successor
        if successor is not None:
            if line[3] is None:
                stamps.append(self._gone(("session", successor)))
            else:
                heir, heir_stamp = self.record(SESSION, line[3])
                same((heir.id, heir.owner), (successor, session.owner))
                text = str(heir_stamp)
                stamps.append((self.seen.saw_session(heir, text), text))
        return Result(TokenResult(token, session, entry, heir), stamps)

    def _gone(self, part: Part) -> tuple[Part, str]:
        """Forget what is not there, as it was; return its stamp."""
        self.seen.forget(part)
        return part, ABSENT

    def _led(self, asked: Part | None, part: Part, record: Session | Token) -> None:
        """Remember that a look-up key led to a record: the one asked for, or that of a listing or a look."""
        if asked is None:
            if record.lookup is not None:
                self.seen.led((f"{part[0]}_lookup", record.lookup), part)
        elif asked[0].endswith("_lookup"):
            self.seen.led(asked, part)

    def entry_of(self, session: Session, raw: R | None) -> tuple[OwnerEntry | None, tuple[Part, str]]:
        """Return the entry of a session's owner, if there is one, and its stamp."""
        part = ("entry", session.owner)
        if raw is None:
            self.seen.saw(part, ABSENT, None)
            return None, (part, ABSENT)
        entry, stamp = self.record(OWNER, raw)
        same(entry.owner, session.owner)
        self.seen.saw(part, str(stamp), entry)
        return entry, (part, str(stamp))

    def _members(self, query: Members, part: Part, raws: Sequence[R]) -> Result:
        of = RECORD_SETS[query.what]
        pairs, left_out = self._readable(raws, lambda raw: raw, lambda raw: self.record(of.kind, raw))
        for record, _ in pairs:
            same(of.whose(record), query.whose)
        members = [(record.id, stamp) for record, stamp in pairs]
        if left_out:  # what cannot be read is a member too
            members = [(columns[0], columns[-1]) for columns in map(self.columns, raws)]
        if query.what == "sessions_of":
            parts = [self.seen.saw_session(session, str(stamp)) for session, stamp in pairs]
            self.seen.saw_sessions_of(query, parts, not left_out)
        return Result([record for record, _ in pairs], ((part, self.set_stamp(members)),), left_out)

    def _scanned(self, query: Scan, lines: Sequence[Line]) -> Result:
        """Return the lines of a listing, each with what it is judged by; a listing has no stamp."""
        decode: Callable[[Line], Any] = {
            "sessions": lambda line: self.session(line, None).value,
            "due": lambda line: self.session(line, None).value,
            "tokens": lambda line: self.token(line, None).value,
            "waiting": lambda line: self.token(line, None).value,
            "keys": lambda line: self.record(SERVICE_KEY, line[0])[0],
            "peppers": lambda line: line[0],
        }[query.what]
        values, left_out = self._readable(lines, lambda line: line[0], decode)
        return Result(values, (), left_out)

    def _readable(
        self, rows: Sequence[Any], raw_of: Callable[[Any], R], decode: Callable[[Any], Any]
    ) -> tuple[list[Any], list[Unreadable]]:
        """Return what rows say, and which of them say nothing that can be read; these are logged."""
        records: list[Any] = []
        left_out: list[Unreadable] = []
        for row in rows:
            try:
                records.append(decode(row))
            except UNREADABLE as error:
                self.unreadables.met(error)
                left_out.append(unreadable_of(self.columns(raw_of(row)), error))
        return records, left_out


def not_asked_for() -> CorruptRecord:
    """Return the error for an answer that no index or function of ours would give."""
    return CorruptRecord(
        "the database answered a record that was not asked for: its indexes or functions are not as we made them; "
        "run session-tokens check --fix"
    )


def same(came: object, asked: object) -> None:
    """Refuse what was not asked for."""
    if came != asked:
        raise not_asked_for()


def _compare(asked: Part | None, record: Session | Token) -> None:
    """Refuse a record that was asked for by its id or look-up key and has another one."""
    if asked is not None:
        same(record.lookup if asked[0].endswith("_lookup") else record.id, asked[1])
