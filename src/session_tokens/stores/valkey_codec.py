"""What a Valkey or Redis store says and hears: wants become words, replies become records. Pure, for both shells.

Theory of operation. Every key begins with the hash tag of its partition, ``{st:00}:``, so that all keys of a
partition lie in one slot of a cluster from the first day. Whatever a user can choose (owners) stands in a key only as
a digest; ids are of our own making. A record is one string: a stamp, the name of the record that reading it brings
along (a token its session, a session its owner's entry), the MAC, and the row as JSON. A look-up key is a record
without a body that brings its session or token along, so a secret is followed to everything in one round trip.

    s:id  t:id  e:owner  i:key  k:id  c:name     sessions, tokens, owners' entries, outcomes, service keys, settings
    S:…   T:…   K:…                              look-up keys of sessions, tokens, service keys
    bo:owner  bh:session  bx:session  bp:owner   living sessions; tokens held, of those transferable; tokens parked
    ls ld  lt lv lu  le lk                       sessions, detached; tokens, sellable, unassigned; entries; keys
    du  n  m                                     what is due when; the last stamp; which peppers were used
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, ClassVar

from ..clock import NEVER, Clock
from ..errors import CorruptRecord, InvalidInput
from ..minting import PARTITION, Keyring
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
from .record_codec import Row, check_mac, mac_of, outcome_of, outcome_text, session_of, session_row, token_of, token_row
from .valkey_paths import PATH_KINDS, STAMP_LENGTH, Path, Paths

KNOWN_MAX = 4_096
"""Decoded records that are kept by their exact bytes: reading the same bytes again is the same record."""
GRACE_MS = 7 * 86_400_000
"""How long after its deadline the server throws a record away by itself, if nobody swept it."""

_as_json = json.JSONEncoder(separators=(",", ":")).encode
_PART = re.compile(r"[A-Za-z0-9_:-]{1,200}")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,32}")

Reply = Any
"""What a server answered: nested lists of ``bytes``, ``int`` and ``None``."""


def prefix_of(prefix: str, space: str) -> bytes:
    """Answer what every key of one name space begins with.

    Raises:
        InvalidInput: for anything but 1 to 32 letters, digits, ``_``, ``.`` and ``-`` (a brace would move the slot).
    """
    name = f"{prefix}.{space}" if space else prefix
    if not _PREFIX.fullmatch(name):
        raise InvalidInput("a key prefix is 1 to 32 ASCII letters, digits, '_', '.' or '-'")
    return f"{{{name}:{PARTITION}}}:".encode("ascii")


def part_of(text: str) -> bytes:
    """Answer an id as part of a key; what cannot be an id becomes the name of nothing."""
    if _PART.fullmatch(text):
        return text.encode("ascii")
    return b"~" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest().encode("ascii")


def owner_part(owner: str) -> bytes:
    """Answer an owner as part of a key: a digest, so that no owner chooses a slot or the form of a key."""
    return sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:40].encode("ascii")


def session_link(session: Session) -> bytes:
    """Answer the name of what reading a session brings along."""
    return b"e:" + owner_part(session.owner)


def token_link(token: Token) -> bytes:
    """Answer the name of what reading a token brings along."""
    return b"" if token.session_id is None else b"s:" + part_of(token.session_id)


def expires_at(deadline: int) -> bytes:
    """Answer when the server may throw a record away, in milliseconds; ``0`` for never."""
    return b"0" if deadline in (0, NEVER) else b"%d" % (deadline + GRACE_MS)


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
        self._known: dict[bytes, Session | Token] = {}
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
        self._keep(b"%d%b" % (stamp, body), record)

    def _keep(self, value: bytes, record: Session | Token) -> None:
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[value] = record

    def session(self, value: bytes) -> Session:
        """Answer the session of a stored value; raise ``CorruptRecord`` for what this library did not write."""
        record = self._known.get(value)
        if record is None:
            link, row = self._row("session", value)
            record = session_of(row, self.clock)
            if link != session_link(record):
                raise _forged("session")
            self._keep(value, record)
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
            self._keep(value, record)
        if not isinstance(record, Token):
            raise _forged("token")
        return record

    def entry(self, value: bytes) -> OwnerEntry:
        """Answer the owner's entry of a stored value."""
        return OwnerEntry(*_sized("entry", self._row("entry", value)[1], 4))

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

    # --- wants become words ---

    def ask_words(self, wants: Sequence[Want]) -> list[bytes]:
        """Answer the call that asks all wants at once."""
        words = [b"FCALL_RO", b"session_tokens_read_v1", b"1", self.last_stamp_key]
        for want in wants:
            words += self._ASK[type(want)](want)
        return words

    def found(self, want: Want, reply: Reply) -> Found:
        """Answer what one reply says to one want.

        Raises:
            CorruptRecord: it is not what this library wrote, or stands where it was not written.
        """
        return self._FOUND[type(want)](self, want, reply)

    def usual_session(self, lookup: str, path: Path, values: Sequence[bytes | None]) -> Session | None:
        """Answer the session at the end of a remembered way if all is as usual: known bytes and no owner's entry.

        ``None`` says nothing: then ``found`` looks closely.
        """
        pointer, value, *entry = values
        if pointer is None or value is None or entry != [None]:
            return None
        leads, brings = path.links
        if not (pointer.startswith(leads, STAMP_LENGTH) and value.startswith(brings, STAMP_LENGTH)):
            return None
        session = self._known.get(value)
        # The bytes were checked when they were first seen; that they stand under this look-up key is checked here.
        return session if session.__class__ is Session and session.lookup == lookup else None  # type: ignore[return-value, union-attr]  # the class is asked

    def learn(self, want: Want, reply: Reply) -> None:
        """Remember over which names a want was followed, so that it can be read by plain commands the next time."""
        if (
            type(want) in PATH_KINDS
            and (reply[0] is not None or type(want) is EntryOf)
            and self.paths.one(want) is None
        ):
            self.paths.learn(want, self._ASK[type(want)](want)[1], reply)

    _ASK: ClassVar[dict[type, Callable[[Any], Sequence[bytes]]]] = {
        SessionByLookup: lambda want: (b"c", b"S:" + part_of(want.lookup), b"2"),
        TokenByLookup: lambda want: (b"c", b"T:" + part_of(want.lookup), b"3"),
        SessionById: lambda want: (b"c", b"s:" + part_of(want.id), b"1"),
        TokenById: lambda want: (b"c", b"t:" + part_of(want.id), b"2"),
        EntryOf: lambda want: (b"c", b"e:" + owner_part(want.owner), b"0"),
        IdempotencyOf: lambda want: (b"c", b"i:" + part_of(want.key), b"0"),
        SettingOf: lambda want: (b"c", b"c:" + part_of(want.name), b"0"),
        KeyById: lambda want: (b"c", b"k:" + part_of(want.id), b"0"),
        KeyByLookup: lambda want: (b"c", b"K:" + part_of(want.lookup), b"1"),
        SessionsOf: lambda want: (b"b", b"bo:" + owner_part(want.owner), b"s:", b"0"),
        TokensOf: lambda want: (b"b", b"bh:" + part_of(want.session_id), b"t:", b"%d" % (want.limit or 0)),
        TransferablesOf: lambda want: (b"b", b"bx:" + part_of(want.session_id), b"t:", b"0"),
        ParkedTokens: lambda want: (b"b", b"bp:" + owner_part(want.owner), b"t:", b"0"),
        TokenCountOf: lambda want: (b"n", b"bh:" + part_of(want.session_id)),
        AllKeys: lambda want: (b"l", b"", b"", b"1000000", b"k:", b"0", b"1", b"=lk"),
        SessionListing: lambda want: _listing_words(want.after, want.limit, b"s:", b"1", _session_sources(want)),
        TokenListing: lambda want: _listing_words(want.after, want.limit, b"t:", b"2", _token_sources(want)),
    }

    # --- replies become records ---

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


def _listing_words(
    after: tuple[int, str] | None, limit: int, kind: bytes, hops: bytes, sources: Sequence[bytes]
) -> Sequence[bytes]:
    score, id = (b"", b"") if after is None else (b"%d" % after[0], part_of(after[1]))
    return (b"l", score, id, b"%d" % limit, kind, hops, b"%d" % len(sources), *sources)


def _session_sources(want: SessionListing) -> Sequence[bytes]:
    if want.owner is not None:
        return (b"=bo:" + owner_part(want.owner),)
    return (b"=ld",) if want.detached else (b"=ls",)


def _token_sources(want: TokenListing) -> Sequence[bytes]:
    """Answer the smallest sets that surely hold what the listing asks for; see ``sources`` in the function library."""
    if want.session_id is not None:
        return (b"=bh:" + part_of(want.session_id),)
    if want.owner is not None:
        owner = owner_part(want.owner)
        return (b"*bo:%b bh:" % owner, b"=bp:" + owner)
    if want.sellable:
        return (b"=lv",)
    if want.unassigned:  # or held by a session that is over, or whose owner may be disabled
        return (b"=lu", b"!du s bx:", b"+le bo: bx:")
    return (b"=lt",)


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
