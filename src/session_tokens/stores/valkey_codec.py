"""What stands in the values of a Valkey or Redis store: records become bytes, replies become records. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from ..clock import Clock
from ..errors import CorruptRecord
from ..minting import Keyring
from ..records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from ..wants import (
    NO_SESSION,
    NO_TOKEN,
    AllKeys,
    EntryOf,
    Found,
    IdempotencyOf,
    KeyById,
    KeyByLookup,
    ParkedTokens,
    SessionById,
    SessionByLookup,
    SessionFound,
    SessionListing,
    SessionsOf,
    SettingOf,
    TokenById,
    TokenByLookup,
    TokenCountOf,
    TokenFound,
    TokenListing,
    TokensOf,
    TransferablesOf,
    Want,
)
from .recent import Recent
from .record_codec import Row, check_mac, mac_of, outcome_of, outcome_text, session_of, session_row, token_of, token_row
from .valkey_asks import ASKS
from .valkey_names import STAMP_LENGTH, owner_part, part_of, session_link, token_link
from .valkey_paths import PATH_KINDS, Path, Paths

KNOWN_MAX = 4_096
"""Decoded records that are kept by their exact bytes, in each of two generations: the same bytes, the same record."""

_as_json = json.JSONEncoder(separators=(",", ":")).encode

Reply = Any
"""What a server answered: nested lists of ``bytes``, ``int`` and ``None``."""


class ValkeyCodec:
    """Words for the server and records from its replies; safe for threads.

    Args:
        keyring: makes and checks the MACs.
        clock: given to the records.
        prefix: what every key begins with.
    """

    def __init__(self, keyring: Keyring, clock: Clock, prefix: bytes) -> None:
        self.keyring = keyring
        self.clock = clock
        self.prefix = prefix
        self.last_stamp_key = prefix + b"n"
        self._known: Recent[bytes, Session | Token | OwnerEntry] = Recent(KNOWN_MAX)
        self.paths = Paths(prefix)

    # --- bodies ---

    def body(self, table: str, row: Row, link: bytes) -> bytes:
        """Answer a record as it is stored, without its stamp."""
        text = _as_json(row).encode("ascii")
        return b"%b\n%b\n%b" % (link, mac_of(self.keyring, table, row).encode("ascii"), text)

    def session_body(self, session: Session) -> bytes:
        """Answer a session as it is stored."""
        return self.body("session", session_row(session), session_link(session))

    def token_body(self, token: Token) -> bytes:
        """Answer a token as it is stored."""
        return self.body("token", token_row(token), token_link(token))

    def idempotency_body(self, record: IdempotencyRecord) -> bytes:
        """Answer the outcome under an idempotency key as it is stored."""
        row = (record.key, record.request, record.nonce, record.key_id, outcome_text(record), record.expires_at)
        return self.body("idempotency", row, b"")

    def _row(self, table: str, value: bytes) -> tuple[bytes, list[Any]]:
        """Answer link and row of a stored record whose MAC is right."""
        try:
            link, mac, text = value[STAMP_LENGTH:].split(b"\n", 2)
            row = json.loads(text)
            if not isinstance(row, list):
                raise ValueError("a row is a list")
            told = mac.decode("ascii")
        except ValueError as error:
            raise _torn(table) from error
        check_mac(self.keyring, table, row, told)
        return link, row

    def wrote(self, stamp: int, body: bytes, record: Session | Token) -> None:
        """Remember the record of a value that was just written."""
        self._known.keep(b"%d%b" % (stamp, body), record)

    def session(self, value: bytes) -> Session:
        """Answer the session of a stored value; raise ``CorruptRecord`` for what this library did not write."""
        record = self._known.get(value)
        if record is None:
            link, row = self._row("session", value)
            record = session_of(row, self.clock)
            if link != session_link(record):
                raise _forged("session")
            self._known.keep(value, record)
        if not isinstance(record, Session):
            raise _forged("session")
        return record

    def token(self, value: bytes) -> Token:
        """Answer the token of a stored value; raise ``CorruptRecord`` for what this library did not write."""
        record = self._known.get(value)
        if record is None:
            link, row = self._row("token", value)
            record = token_of(row)
            if link != token_link(record):
                raise _forged("token")
            self._known.keep(value, record)
        if not isinstance(record, Token):
            raise _forged("token")
        return record

    def entry(self, value: bytes) -> OwnerEntry:
        """Answer the owner's entry of a stored value."""
        entry = self._known.get(value)
        if entry is None:
            entry = OwnerEntry(*_sized("entry", self._row("entry", value)[1], 4))
            self._known.keep(value, entry)
        if not isinstance(entry, OwnerEntry):
            raise _forged("entry")
        return entry

    def service_key(self, value: bytes) -> ServiceKey:
        """Answer the service key of a stored value."""
        return ServiceKey(*_sized("key", self._row("key", value)[1], 6))

    def outcome(self, value: bytes) -> IdempotencyRecord:
        """Answer the idempotency record of a stored value."""
        key, request, nonce, key_id, text, until = _sized("idempotency", self._row("idempotency", value)[1], 6)
        return IdempotencyRecord(key, request, nonce, key_id, outcome_of(text, self.clock), until)

    def setting(self, value: bytes) -> tuple[str, str]:
        """Answer name and text of a stored setting."""
        name, text = _sized("setting", self._row("setting", value)[1], 2)
        return name, text

    def found(self, want: Want, reply: Reply) -> Found:
        """Answer what one reply says to one want.

        Raises:
            CorruptRecord: it is not what this library wrote, or stands where it was not written.
        """
        return self._FOUND[type(want)](self, want, reply)

    def usual_session(self, lookup: str, path: Path, values: list[bytes | None]) -> SessionFound | None:
        """Answer what stands on a remembered way; ``None`` where it needs a closer look, which ``found`` takes."""
        seen = path.seen
        if seen is not None and seen[0] == values:
            found: SessionFound = seen[1]
            return found
        looked: SessionFound | None = self._look_again(SessionByLookup(lookup), path, values)
        return looked

    def usual_token(self, lookup: str, path: Path, values: list[bytes | None]) -> TokenFound | None:
        """As ``usual_session``, for a token."""
        seen = path.seen
        if seen is not None and seen[0] == values:
            found: TokenFound = seen[1]
            return found
        looked: TokenFound | None = self._look_again(TokenByLookup(lookup), path, values)
        return looked

    def _look_again(self, want: Want, path: Path, values: list[bytes | None]) -> Any:
        """Look closely at values on a remembered way and remember what they said: the same values say the same."""
        replies = self.paths.replies([want], [path], list(values))
        if replies is None:
            return None
        try:
            found = self.found(want, replies[0])
        except CorruptRecord:  # the general way tells it
            return None
        if found.value[0] is None:  # another pepper's look-up key may lead there by now
            self.paths.forget(want)
            return None
        path.seen = (values, found.value)
        return found.value

    def learn(self, want: Want, reply: Reply) -> None:
        """Remember over which names a want was followed, so that it can be read by plain commands the next time."""
        kind = type(want)
        if kind in PATH_KINDS and (reply[0] is not None or kind is EntryOf) and self.paths.of_want(want) is None:
            _, first, hops = ASKS[kind](want)
            self.paths.learn(want, first, int(hops), reply)

    def _session_by_id(self, want: SessionById, reply: Reply) -> Found:
        stamps = _stamps(b"s:" + part_of(want.id), reply)
        found = self._session_found(reply, 0)
        if found.session is not None and found.session.id != want.id:
            raise _forged("session")
        return Found(found, stamps)

    def _session_by_lookup(self, want: SessionByLookup, reply: Reply) -> Found:
        stamps = _stamps(b"S:" + part_of(want.lookup), reply)
        found = self._session_found(reply, 1)
        if found.session is not None and found.session.lookup != want.lookup:
            raise _forged("session")
        return Found(found, stamps)

    def _session_found(self, reply: Reply, at: int) -> SessionFound:
        value = reply[at] if at < len(reply) else None
        if value is None:
            return NO_SESSION
        session = self.session(value)
        entry = None
        if len(reply) > at + 1 and reply[at + 1] is not None:
            entry = self.entry(reply[at + 1])
            if entry.owner != session.owner:
                raise _forged("entry")
        return SessionFound(session, entry)

    def _token_by_id(self, want: TokenById, reply: Reply) -> Found:
        stamps = _stamps(b"t:" + part_of(want.id), reply)
        found = self._token_found(reply, 0)
        if found.token is not None and found.token.id != want.id:
            raise _forged("token")
        return Found(found, stamps)

    def _token_by_lookup(self, want: TokenByLookup, reply: Reply) -> Found:
        stamps = _stamps(b"T:" + part_of(want.lookup), reply)
        found = self._token_found(reply, 1)
        if found.token is not None and found.token.lookup != want.lookup:
            raise _forged("token")
        return Found(found, stamps)

    def _token_found(self, reply: Reply, at: int) -> TokenFound:
        value = reply[at] if at < len(reply) else None
        if value is None:
            return NO_TOKEN
        token = self.token(value)
        if len(reply) == at + 1:
            return TokenFound(token, None, None)
        session, entry = self._session_found(reply, at + 1)
        if session is not None and session.id != token.session_id:
            raise _forged("session")
        return TokenFound(token, session, entry)

    def _entry(self, want: EntryOf, reply: Reply) -> Found:
        entry = None if reply[0] is None else self.entry(reply[0])
        if entry is not None and entry.owner != want.owner:
            raise _forged("entry")
        return Found(entry, ((b"e:" + owner_part(want.owner), _stamp(reply[0])),))

    def _idempotency(self, want: IdempotencyOf, reply: Reply) -> Found:
        record = None if reply[0] is None else self.outcome(reply[0])
        if record is not None and record.key != want.key:
            raise _forged("idempotency")
        return Found(record, ((b"i:" + part_of(want.key), _stamp(reply[0])),))

    def _setting(self, want: SettingOf, reply: Reply) -> Found:
        text = None
        if reply[0] is not None:
            name, text = self.setting(reply[0])
            if name != want.name:
                raise _forged("setting")
        return Found(text, ((b"c:" + part_of(want.name), _stamp(reply[0])),))

    def _key_by_id(self, want: KeyById, reply: Reply) -> Found:
        key = None if reply[0] is None else self.service_key(reply[0])
        if key is not None and key.id != want.id:
            raise _forged("key")
        return Found(key, ((b"k:" + part_of(want.id), _stamp(reply[0])),))

    def _key_by_lookup(self, want: KeyByLookup, reply: Reply) -> Found:
        value = reply[1] if len(reply) > 1 else None
        key = None if value is None else self.service_key(value)
        if key is not None and key.lookup != want.lookup:
            raise _forged("key")
        return Found(key, _stamps(b"K:" + part_of(want.lookup), reply))

    def _sessions_of(self, want: SessionsOf, reply: Reply) -> Found:
        sessions, stamps = [], [(b"bo:" + owner_part(want.owner), reply[0] or b"")]
        for id, value in zip(reply[1::2], reply[2::2], strict=True):
            stamps.append((b"s:" + id, _stamp(value)))
            session = self.session(value)
            if session.owner == want.owner and session.ended_at is None and part_of(session.id) == id:
                sessions.append(session)
        return Found(sessions, stamps)

    def _tokens(self, bucket: bytes, reply: Reply, belongs: Callable[[Token], bool]) -> Found:
        """Answer the tokens of a bucket; a bucket may hold more than belongs there, never less."""
        tokens, stamps = [], [(bucket, reply[0] or b"")]
        for id, value in zip(reply[1::2], reply[2::2], strict=True):
            stamps.append((b"t:" + id, _stamp(value)))
            token = self.token(value)
            if belongs(token) and part_of(token.id) == id:
                tokens.append(token)
        return Found(tokens, stamps)

    def _tokens_of(self, want: TokensOf, reply: Reply) -> Found:
        return self._tokens(b"bh:" + part_of(want.session_id), reply, lambda token: token.session_id == want.session_id)

    def _transferables_of(self, want: TransferablesOf, reply: Reply) -> Found:
        return self._tokens(b"bx:" + part_of(want.session_id), reply, lambda token: token.session_id == want.session_id)

    def _parked(self, want: ParkedTokens, reply: Reply) -> Found:
        return self._tokens(b"bp:" + owner_part(want.owner), reply, lambda token: token.owner == want.owner)

    def _count(self, want: TokenCountOf, reply: Reply) -> Found:
        return Found(reply[1], ((b"bh:" + part_of(want.session_id), reply[0] or b""),))

    def _all_keys(self, want: AllKeys, reply: Reply) -> Found:
        return Found([self.service_key(values[1]) for values in reply])

    def _session_listing(self, want: SessionListing, reply: Reply) -> Found:
        return Found([self._session_found(values, 1) for values in reply])

    def _token_listing(self, want: TokenListing, reply: Reply) -> Found:
        return Found([self._token_found(values, 1) for values in reply])

    _FOUND: ClassVar[dict[type, Callable[[ValkeyCodec, Any, Reply], Found]]] = {
        SessionById: _session_by_id,
        SessionByLookup: _session_by_lookup,
        TokenById: _token_by_id,
        TokenByLookup: _token_by_lookup,
        EntryOf: _entry,
        IdempotencyOf: _idempotency,
        SettingOf: _setting,
        KeyById: _key_by_id,
        KeyByLookup: _key_by_lookup,
        SessionsOf: _sessions_of,
        TokensOf: _tokens_of,
        TransferablesOf: _transferables_of,
        ParkedTokens: _parked,
        TokenCountOf: _count,
        AllKeys: _all_keys,
        SessionListing: _session_listing,
        TokenListing: _token_listing,
    }


def _stamps(name: bytes, reply: Reply) -> list[tuple[bytes, bytes]]:
    """Answer the stamps of a record and of those it brought along."""
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


def _sized(table: str, row: list[Any], size: int) -> list[Any]:
    if len(row) != size:
        raise CorruptRecord(f"a stored {table} has {len(row)} columns, not {size}", table=table)
    return row


def _torn(table: str) -> CorruptRecord:
    return CorruptRecord(f"a stored {table} is torn; restore it from a backup, or delete it", table=table)


def _forged(table: str) -> CorruptRecord:
    return CorruptRecord(
        f"a stored {table} stands where it was not written; restore it from a backup, or delete it", table=table
    )
