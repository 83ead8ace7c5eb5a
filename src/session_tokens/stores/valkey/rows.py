"""What stands in the values of a Valkey or Redis store: records become bytes, replies become records. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...clock import Clock
from ...contract.queries import (
    NO_SESSION,
    NO_TOKEN,
    Answered,
    Count,
    Get,
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    TokenResult,
    Unreadable,
)
from ...contract.record_cache import RecordCache
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE, CorruptRecord, UnknownPepper
from ...records import OwnerEntry, Session, Token
from ..common.kinds import OWNER, RECORD_SETS, RECORDS, SERVICE_KEY, SESSION, TOKEN, Kind
from ..common.record_codec import SET_ASIDE, not_written, padded
from ..common.sealed_rows import record_in, trimmed_kept_row
from .json_rows import as_json, from_json
from .key_chains import CHAIN_KINDS, KeyChains
from .keys import LINKS, NAMES, STAMP_LENGTH, owner_part, part_of
from .queries import bucket_of, name_of

Reply = Any
"""What a server answered: nested lists of ``bytes``, ``int`` and ``None``."""
Stamps = Sequence[tuple[bytes, bytes]]
"""Names and their stamps, the stamp of nothing empty."""
VALUE_MAX = 2_048
"""Bytes of the largest value that is remembered."""
_KINDS = {b"s": "session", b"t": "token", b"k": "service key"}
"""What a record is, by the first letter of its name."""


class ValkeyCodec:
    """Words for the server and records from its replies; safe for threads.

    Args:
        keyring: makes and checks the MACs.
        clock: given to the records.
        prefix: what every key begins with.

    Attributes:
        unreadables: gets each record that is left out of a list because it cannot be read.
    """

    def __init__(self, keyring: Keyring, clock: Clock, prefix: bytes) -> None:
        self.keyring = keyring
        self.clock = clock
        self.prefix = prefix
        self.last_stamp_key = prefix + b"n"
        self.record_cache = RecordCache(clock.now, NAMES)
        self.paths = KeyChains(prefix)
        self.unreadables = Unreadables()

    def saw(self, name: bytes, value: bytes | None, said: Any) -> None:
        """Remember the value of a name, ``None`` for its absence, and what it says."""
        if value is None:
            self.record_cache.keep(name, (None, b"", said))
        elif len(value) <= VALUE_MAX:
            self.record_cache.keep(name, (value, value[:STAMP_LENGTH], said))
        else:
            self.record_cache.forget(name)

    def wrote(self, name: bytes, body: bytes, record: Any, stamp: bytes) -> None:
        """As ``saw``, for what was written under a stamp."""
        if len(body) <= VALUE_MAX - STAMP_LENGTH:
            self.record_cache.keep(name, (stamp + body, stamp, record))
        else:
            self.record_cache.forget(name)

    # --- bodies ---

    def signed(self, table: str, row: Sequence[Any], link: bytes = b"") -> bytes:
        """Return a row as it is stored, without its stamp; the MAC covers its very text."""
        text = as_json(row)
        mac = self.keyring.mac(table.encode("ascii") + text).encode("ascii")
        return b"%b\n%b\n%b" % (link, mac, text)

    def row(self, table: str, value: bytes) -> tuple[bytes, list[Any]]:
        """Return link and row of a stored value.

        Raises:
            CorruptRecord: this library did not write it.
            UnknownPepper: it was written under a pepper that was not given.
        """
        try:
            link, mac, text = value[STAMP_LENGTH:].split(b"\n", 2)
            told = mac.decode("ascii")
            is_right = self.keyring.mac_is_right(told, table.encode("ascii") + text)
            row = from_json(text)
            if not isinstance(row, list) or not row:
                raise ValueError("a row is a list of columns")
        except (ValueError, RecursionError) as error:
            raise _torn(table) from error
        if not is_right:
            raise not_written(self.keyring, table, row, told)
        return link, row

    def body(self, kind: Kind, record: Any) -> bytes:
        """Return a record as it is stored, without its stamp."""
        link_of, keyring = LINKS.get(kind.name), self.keyring
        row = kind.trimmed_row(record) if keyring.sealer is None else trimmed_kept_row(keyring, kind, record)
        return self.signed(kind.table, row, b"" if link_of is None else link_of(record))

    def record(self, kind: Kind, value: bytes) -> Any:
        """Return the record of a stored value; raise as ``row``."""
        link, row = self.row(kind.table, value)
        if len(row) > len(kind.columns):
            said = f"a stored {kind.name} has {len(row)} columns, not {len(kind.columns)}"
            raise CorruptRecord(said, table=kind.table)
        record = record_in(self.keyring, kind, padded(row, len(kind.columns)), self.clock)
        link_of = LINKS.get(kind.name)
        if link != (b"" if link_of is None else link_of(record)):
            raise _forged(kind.name)
        return record

    def _session_at(self, name: bytes, value: bytes) -> Session:
        """Return the session under a name: the same bytes are the same record, whose MAC was checked once."""
        part = self.record_cache.get(name)
        if part is not None and part[0] == value:
            session = part[2]
        else:
            session = self.record(SESSION, value)
            if b"s:" + part_of(session.id) == name:
                self.saw(name, value, session)
            else:
                raise _forged("session")
        if not isinstance(session, Session):
            raise _forged("session")
        return session

    def _token_at(self, name: bytes, value: bytes) -> Token:
        """As ``_session_at``, for a token."""
        part = self.record_cache.get(name)
        if part is not None and part[0] == value:
            token = part[2]
        else:
            token = self.record(TOKEN, value)
            if b"t:" + part_of(token.id) == name:
                self.saw(name, value, token)
            else:
                raise _forged("token")
        if not isinstance(token, Token):
            raise _forged("token")
        return token

    def _entry_at(self, name: bytes, value: bytes | None) -> OwnerEntry | None:
        """As ``_session_at``, for an owner's entry, which most have not."""
        part = self.record_cache.get(name)
        if part is not None and part[0] == value:
            entry = part[2]
        else:
            entry = None if value is None else self.record(OWNER, value)
            if entry is not None and b"e:" + owner_part(entry.owner) != name:
                raise _forged("entry")
            self.saw(name, value, entry)
        if entry is not None and not isinstance(entry, OwnerEntry):
            raise _forged("entry")
        return entry

    def found(self, query: Query, reply: Reply) -> Result:
        """Return what one reply says to one query.

        Raises:
            CorruptRecord: it is not what this library wrote, or stands where it was not written.
        """
        if isinstance(query, Get):
            return _GOT[query.what](self, query, reply)
        if isinstance(query, Members):
            return self._members(query, reply)
        if isinstance(query, Count):
            return Result(reply[1], ((bucket_of(query), reply[0] or b""),))
        return self._scanned(query, reply)

    def answer(self, query: Query, reply: Reply) -> Answered:
        """Return what one reply says to one query, an error for a record that is not as it was written."""
        try:
            return self.found(query, reply)
        except UNREADABLE as error:
            return error

    def learnt(self, query: Query, reply: Reply) -> Answered:
        """As ``answer``; remember over which names one record was found, to read it by plain commands the next time."""
        answer = self.answer(query, reply)
        if query.what in CHAIN_KINDS and isinstance(answer, Result) and (reply[0] is not None or query.what == "entry"):
            self.paths.learn(query, reply)  # type: ignore[arg-type]  # these are got
        return answer

    def _session(self, query: Get, reply: Reply) -> Result:
        stamps = self._followed(query, reply)
        if query.what == "session":
            return Result(self._session_found(stamps, reply, 0), stamps)
        return self._led_to(query, self._session_found(stamps, reply, 1), stamps, reply)

    def _token(self, query: Get, reply: Reply) -> Result:
        stamps = self._followed(query, reply)
        if query.what == "token":
            return Result(self._token_found(stamps, reply, 0), stamps)
        return self._led_to(query, self._token_found(stamps, reply, 1), stamps, reply)

    def _followed(self, query: Get, reply: Reply) -> Stamps:
        """Return the stamps of what was got; forget what is not there any more."""
        stamps = _stamps(name_of(query), reply)
        name, stamp = stamps[-1]
        if not stamp and not name.startswith(b"e:"):  # that an owner has no entry is remembered
            self.record_cache.forget(name)
        return stamps

    def _led_to(self, query: Get, found: SessionResult | TokenResult, stamps: Stamps, reply: Reply) -> Result:
        """Return what was found; remember where a look-up key leads, which must be to a record that has it."""
        record = found[0]
        if record is not None:
            if record.lookup != query.key:
                raise _forged(RECORDS[query.what][0].name)
            self.record_cache.keep(stamps[0][0], (None, b"", stamps[1][0]))
        return Result(found, stamps)

    def _session_found(self, stamps: Stamps, reply: Reply, at: int) -> SessionResult:
        """Return the session that stands in a reply, each value under the name that the one before it gave."""
        value = reply[at] if at < len(reply) else None
        if value is None:
            return NO_SESSION
        session = self._session_at(stamps[at][0], value)
        if session.details.successor is not None:  # which brings the entry along
            at += 1
        if at + 1 >= len(reply):
            return SessionResult(session, None)
        return SessionResult(session, self._entry_at(stamps[at + 1][0], reply[at + 1]))

    def _token_found(self, stamps: Stamps, reply: Reply, at: int) -> TokenResult:
        value = reply[at] if at < len(reply) else None
        if value is None:
            return NO_TOKEN
        token = self._token_at(stamps[at][0], value)
        if at + 1 == len(reply):
            return TokenResult(token, None, None)
        session, entry = self._session_found(stamps, reply, at + 1)
        if session is None or session.details.successor is None or at + 2 == len(reply):
            return TokenResult(token, session, entry)
        heir = None if reply[at + 2] is None else self._session_at(stamps[at + 2][0], reply[at + 2])
        return TokenResult(token, session, entry, heir)

    def _entry(self, query: Get, reply: Reply) -> Result:
        name = name_of(query)
        return Result(self._entry_at(name, reply[0]), ((name, _stamp(reply[0])),))

    def _setting(self, query: Get, reply: Reply) -> Result:
        found = self._kept(query, reply)
        text = None if found.value is None else found.value.text
        self.saw(found.stamps[0][0], reply[0], text)
        return found._replace(value=text)

    def _kept(self, query: Get, reply: Reply) -> Result:
        """Return the record of a key and its stamp."""
        kind = RECORDS[query.what][0]
        record = None if reply[0] is None else self.record(kind, reply[0])
        if record is not None and record[0] != query.key:
            raise _forged(kind.name)
        return Result(record, ((name_of(query), _stamp(reply[0])),))

    def _key(self, query: Get, reply: Reply) -> Result:
        found = self._kept(query, reply)
        self.saw(found.stamps[0][0], reply[0], found.value)
        return found

    def _key_by_lookup(self, query: Get, reply: Reply) -> Result:
        value = reply[1] if len(reply) > 1 else None
        key, stamps = None if value is None else self.record(SERVICE_KEY, value), _stamps(name_of(query), reply)
        if key is not None:
            if key.lookup != query.key:
                raise _forged(SERVICE_KEY.name)
            self.saw(b"k:" + part_of(key.id), value, key)
        return Result(key, stamps)

    def _members(self, query: Members, reply: Reply) -> Result:
        """Return the records of a bucket; a bucket may hold more than belongs there, never less."""
        bucket, stamp = bucket_of(query), reply[0] or b""
        if len(reply) == 1:
            if query.what == "sessions_of":
                self.record_cache.saw_set(bucket, stamp, ())
            return Result([], ((bucket, stamp),))
        of, ids = RECORD_SETS[query.what], reply[1::2]
        record_at: Callable[[bytes, bytes], Any] = self._session_at
        beginning = b"s:"
        if of.kind is TOKEN:
            record_at, beginning = self._token_at, b"t:"
        records, stamps, left_out = list[Any](), [(bucket, stamp)], list[Unreadable]()
        for id, value in zip(ids, reply[2::2], strict=True):
            name = beginning + id
            stamps.append((name, _stamp(value)))
            try:
                record = record_at(name, value)
            except UNREADABLE as error:
                left_out.append(self._left_out(name, error))
                continue
            if of.whose(record) == query.whose and (query.what != "sessions_of" or record.ended_at is None):
                records.append(record)
        if query.newest and query.limit is not None:  # the last came first
            records.reverse()
            ids = ids[::-1]
        if query.what == "sessions_of" and (query.limit is None or len(ids) < query.limit):
            self.record_cache.saw_set(bucket, stamp, [beginning + id for id in ids])
        elif query.what == "sessions_of":
            kept = self.record_cache.get(bucket)
            if kept is not None and kept[1] != stamp:
                self.record_cache.forget(bucket)
        return Result(records, stamps, left_out)

    def _left_out(self, name: bytes, error: CorruptRecord | UnknownPepper) -> Unreadable:
        """Log a record that cannot be read; return what a list says of it."""
        id = name[2:].decode("ascii", "backslashreplace")
        if error.details.get("id") is None:
            error = CorruptRecord(f"{_KINDS[name[:1]]} {id}: {error}", table=_KINDS[name[:1]], id=id)
        self.unreadables.met(error)
        return Unreadable(id, error)

    def _scanned(self, query: Scan, reply: Reply) -> Result:
        if query.what == "peppers":
            recorded = zip(reply[::2], reply[1::2], strict=True)
            return Result([key_id.decode("ascii", "replace") for key_id, said in recorded if not said.endswith(b" 0")])
        if query.what == "keys":
            return self._listed(b"k:", reply, lambda _, values, at: self.record(SERVICE_KEY, values[at]))
        if query.what in ("sessions", "due"):
            return self._listed(b"s:", reply, self._session_found)
        return self._listed(b"t:", reply, self._token_found)

    def _listed(self, kind: bytes, reply: Reply, found: Callable[[Stamps, Reply, int], object]) -> Result:
        """Return the lines of a listing, each an id, the record under it, and those that came with it."""
        records, left_out = [], list[Unreadable]()
        for id, *values in reply:
            name = kind + id
            try:
                records.append(found(_stamps(name, values), values, 0))
            except UNREADABLE as error:
                left_out.append(self._left_out(name, error))
        return Result(records, (), left_out)


_GOT: dict[str, Callable[[ValkeyCodec, Get, Reply], Result]] = {
    "session": ValkeyCodec._session,
    "session_lookup": ValkeyCodec._session,
    "token": ValkeyCodec._token,
    "token_lookup": ValkeyCodec._token,
    "entry": ValkeyCodec._entry,
    "setting": ValkeyCodec._setting,
    "idempotency": ValkeyCodec._kept,
    "key": ValkeyCodec._key,
    "key_lookup": ValkeyCodec._key_by_lookup,
}
"""What is got → what takes its reply apart."""


def _stamps(name: bytes, reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return the stamps of a record and of those that came with it."""
    stamps = []
    for value in reply:
        if value is None:
            stamps.append((name, b""))
            break
        stamps.append((name, value[:STAMP_LENGTH]))
        line_end = value.find(b"\n", STAMP_LENGTH)
        if line_end < 0:
            raise _torn("record")
        name = value[STAMP_LENGTH:line_end]
    return stamps


def _stamp(value: bytes | None) -> bytes:
    return b"" if value is None else value[:STAMP_LENGTH]


def _torn(table: str) -> CorruptRecord:
    return CorruptRecord(f"a stored {table} is torn; {SET_ASIDE}", table=table)


def _forged(table: str) -> CorruptRecord:
    return CorruptRecord(f"a stored {table} stands where it was not written; {SET_ASIDE}", table=table)
