"""How a change set becomes the checks and writes of one call to the library; index moves follow from the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from ...contract.changes import Changes, Rare
from ...contract.optimistic import Commit
from ...contract.places import (
    BOUND_OF,
    SESSIONS_OF,
    TRANSFERABLES_OF,
    Place,
    are_held_alike,
    entry_places,
    moves,
    outcome_places,
    service_key_places,
    session_places,
    stand_alike,
    token_places,
)
from ...errors import InvalidInput
from ...records import TRANSFERABLE, OwnerEntry, ServiceKey, Session, Token
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN
from .event_log import event_body
from .keys import WHOLE, entry_at, expires_at, lookup_part, owner_part, part_of, set_in
from .rows import ValkeyCodec

_HELD = frozenset({BOUND_OF, TRANSFERABLES_OF})


def commit_words(
    codec: ValkeyCodec, commits: Sequence[Commit], *, though_full: bool = False
) -> tuple[list[bytes], list[Callable[[bytes], None]]]:
    """Return the call that carries out commits one after another, each whole or not at all.

    Beside it stands for each commit what takes in, given its stamp, what it wrote.

    Args:
        though_full: whether a server that is out of memory shall carry them out too, for they end things.
    """
    function = b"session_tokens_end_v1" if though_full else b"session_tokens_commit_v1"
    words = [b"FCALL", function, b"1", codec.last_stamp_key]
    taking_in: list[Callable[[bytes], None]] = []
    for commit in commits:
        writes = writes_of(codec, commit)
        checks, written = writes.checks, writes.words
        taking_in.append(writes.remember)
        words += (b"%d" % commit.now, b"%d" % commit.changes.not_after, b"%d" % len(checks))
        words += chain.from_iterable(checks.items())
        words.append(b"%d" % len(written))
        words += written
    return words, taking_in


class InPlace(NamedTuple):
    """The checks and write of a commit that changes one session where it stands; as of ``Writes``.

    Attributes:
        checks, words, remember: as there.
    """

    checks: dict[bytes, bytes]
    words: list[bytes]
    remember: Callable[[bytes], None]


def writes_of(codec: ValkeyCodec, commit: Commit) -> Writes | InPlace:
    """Return the checks and writes of a commit, in the short way where there is one."""
    session = _changed_alone(commit.changes)
    if session is None:
        return Writes(codec, commit)
    name, body = b"s:" + part_of(session.id), codec.body(SESSION, session)
    assert name in commit.stamps, "a rule replaces only what it has read"
    return InPlace(commit.stamps, [b"k", name, body], partial(codec.wrote, name, body, session))


def _changed_alone(changes: Changes) -> Session | None:
    """Return the session that a change set writes where it stands, if it writes nothing else.

    So do most that change one: its data or label. ``Writes`` would come to the same with more steps.
    """
    if len(changes.sessions) != 1 or changes.tokens or changes.events or changes.rare is not None:
        return None
    old, new = changes.sessions[0]
    return new if old is not None and new is not None and _is_changed_in_place(old, new) else None


def _is_changed_in_place(old: Session, new: Session) -> bool:
    """Whether nothing is written for a change of a session but its own key, which is kept as long as before."""
    return old.lookup == new.lookup and old.deadline == new.deadline and stand_alike(old, new)


class Writes:
    """The checks and writes of one commit.

    Attributes:
        checks: name → stamp that it must still have, empty for what must not be there.
        words: the writes.
        bodies: name, value without stamp, and record of what is put and remembered.
        gone: names and buckets of which nothing is known afterwards.
        kept: names of sessions that must not expire by themselves.
    """

    __slots__ = ("_put", "bodies", "checks", "codec", "gone", "kept", "words")

    def __init__(self, codec: ValkeyCodec, commit: Commit) -> None:
        self.codec = codec
        self.checks: dict[bytes, bytes] = dict(commit.stamps)
        self.words: list[bytes] = []
        self.bodies: list[tuple[bytes, bytes, Session | Token | OwnerEntry | ServiceKey | str]] = []
        self.gone: list[bytes] = []
        self.kept: list[bytes] = []
        self._put: set[bytes] = set()
        changes = commit.changes
        if changes.sessions:
            for old_session, new_session in changes.sessions:
                self._session(old_session, new_session)
            for name in self.kept:
                self.words += (b"y", name)
        for old_token, new_token in changes.tokens:
            self._token(old_token, new_token)
        if changes.rare is not None:
            self._rare(changes.rare)
        for event in changes.events:
            self.words += (b"e", event_body(codec, event))

    def remember(self, stamp: bytes) -> None:
        """Take in what was written under a stamp, once it is confirmed."""
        for name, body, record in self.bodies:
            self.codec.wrote(name, body, record, stamp)
        for name in self.gone:
            self.codec.record_cache.forget(name)

    def _check(self, name: bytes, old: object) -> None:
        """What is created must not be there; what is replaced must be as it was read."""
        if name.endswith(b":") or b"~" in name:
            raise InvalidInput("this store takes ids of 1 to 200 ASCII letters, digits, '_', '-' and ':'")
        if name in self._put:
            return
        self._put.add(name)
        if old is None:
            self.checks.setdefault(name, b"")
        else:
            assert name in self.checks, "a rule replaces only what it has read"

    def _move(self, old: Sequence[Place], new: Sequence[Place], id: bytes) -> None:
        """Move a record in the indexes: of those that it leaves, enters or stands in elsewhere."""
        if not old:
            self._enter(new, id)
            return
        for index, former, present in moves(old, new):
            if index in _HELD:
                place = present or former
                assert place is not None
                left, entered = None if former is None else former[1], None if present is None else present[1]
                self._hold(left, entered, place[2], id, is_transferable=index == TRANSFERABLES_OF)
                continue
            entry = None if present is None else entry_at(present, id)
            if former is not None:
                bucket, member, _ = entry_at(former, id)
                if entry is None or entry[0] != bucket:
                    self.words += (b"r", bucket, member)
                if index == SESSIONS_OF:
                    self.gone.append(bucket)
            if entry is not None:
                bucket, member, at = entry
                self.words += (b"a", bucket, b"%d" % at, member)
                if index == SESSIONS_OF:
                    self.gone.append(bucket)

    def _enter(self, places: Sequence[Place], id: bytes) -> None:
        """Put a new record into the indexes."""
        words = self.words
        for index, whose, at in places:
            if index in _HELD:
                words += (b"h", id, b"%d" % at, b"", part_of(whose), b"x" if index == TRANSFERABLES_OF else b"")
                continue
            bucket = WHOLE.get(index) or set_in(index, whose)
            words += (b"a", bucket, b"%d" % at, id)
            if index == SESSIONS_OF:
                self.gone.append(bucket)

    def _hold(self, left: str | None, entered: str | None, at: int, id: bytes, *, is_transferable: bool) -> None:
        """Move a token from the session that held it to that which holds it now."""
        was_in = b"" if left is None else part_of(left)
        is_in = b"" if entered is None else part_of(entered)
        self.words += (b"h", id, b"%d" % at, was_in, is_in, b"x" if is_transferable else b"")

    def _lead(self, kind: bytes, was: str | None, lookup: str | None, until: bytes, target: bytes) -> None:
        """Let a look-up key lead to a record as long as that is kept, and its former one nowhere."""
        if was is not None and was != lookup:
            self.words += (b"d", kind + lookup_part(was))
        if lookup is not None:
            self.words += (b"p", kind + lookup_part(lookup), until, target + b"\n")

    def _session(self, old: Session | None, new: Session | None) -> None:
        record = old or new
        assert record is not None
        id = part_of(record.id)
        name = b"s:" + id
        self._check(name, old)
        if old is not None and new is not None and _is_changed_in_place(old, new):
            body = self.codec.body(SESSION, new)
            self.bodies.append((name, body, new))
            self.words += (b"k", name, body)
            return
        was_needed, needed = _needed_until(old), _needed_until(new)
        until = expires_at(needed)
        if new is None:
            self.words += (b"d", name, b"d", b"bh:" + id, b"d", b"lx:" + id, b"d", b"bs:" + id)
            self.gone.append(name)
        else:
            body = self.codec.body(SESSION, new)
            self.bodies.append((name, body, new))
            if old is not None and was_needed == needed:
                self.words += (b"k", name, body)
            else:
                self.words += (b"q", name, until, body)
        if old is None or new is None or old.lookup != new.lookup or was_needed != needed:
            self._lead(b"S:", None if old is None else old.lookup, None if new is None else new.lookup, until, name)
        if old is not None and new is not None and stand_alike(old, new):
            return
        self._move(session_places(old), session_places(new), id)
        successor = None if new is None else new.details.successor
        if successor is not None and (old is None or old.details.successor != successor):
            self.kept.append(b"s:" + part_of(successor))

    def _token(self, old: Token | None, new: Token | None) -> None:
        record = new or old
        assert record is not None
        id = part_of(record.id)
        name = b"t:" + id
        self._check(name, old)
        if new is None:
            self.words += (b"d", name)
            self.gone.append(name)
            self._lead(b"T:", record.lookup, None, b"0", name)
            self._move(token_places(old), (), id)
            return
        until, body = expires_at(new.deadline), self.codec.body(TOKEN, new)
        self.bodies.append((name, body, new))
        self.words += (b"p", name, until, body)
        if old is None:
            self._lead(b"T:", None, new.lookup, until, name)
            self._enter(token_places(new), id)
            return
        if old.lookup != new.lookup or old.deadline != new.deadline:
            self._lead(b"T:", old.lookup, new.lookup, until, name)
        if not are_held_alike(old, new):
            self._move(token_places(old), token_places(new), id)
        elif old.session_id != new.session_id:
            is_transferable = new.traits.kind is TRANSFERABLE
            self._hold(old.session_id, new.session_id, new.created_at, id, is_transferable=is_transferable)

    def _rare(self, changes: Rare) -> None:
        for setting, text in changes.settings:
            self._setting(setting, text)
        for old_entry, entry in changes.entries:
            self._entry(old_entry, entry)
        for record in changes.idempotency:
            key = part_of(record.key)
            body = self.codec.body(IDEMPOTENCY, record)
            self.words += (b"p", b"i:" + key, expires_at(record.expires_at), body)
            self._move((), outcome_places(record), key)
        for forgotten in changes.forgotten:
            key = part_of(forgotten)
            self.words += (b"d", b"i:" + key)
            self.words += (b"r", b"dui", key)
        for old_key, key_record in changes.keys:
            self._service_key(old_key, key_record)

    def _setting(self, setting: str, text: str | None) -> None:
        name = b"c:" + lookup_part(setting)  # most are written once and never again
        if text is None:
            self.gone.append(name)
            self.words += (b"d", name)
            return
        body = self.codec.signed(SETTING.table, (setting, text))
        self.words += (b"p", name, b"0", body)
        if name in self.checks:  # what was read before it is written will be read again
            self.bodies.append((name, body, text))

    def _entry(self, old: OwnerEntry | None, new: OwnerEntry | None) -> None:
        record = old or new
        assert record is not None
        owner = owner_part(record.owner)
        name = b"e:" + owner
        self._check(name, old)
        if new is None:
            self.words += (b"d", name)
            self.gone.append(name)
        else:
            body = self.codec.body(OWNER, new)
            self.bodies.append((name, body, new))
            self.words += (b"p", name, b"0", body)
        self._move(entry_places(old), entry_places(new), owner)

    def _service_key(self, old: ServiceKey | None, new: ServiceKey | None) -> None:
        record = old or new
        assert record is not None
        id = part_of(record.id)
        name = b"k:" + id
        self._check(name, old)
        if new is None:
            self.gone.append(name)
            self.words += (b"d", name)
        else:
            body = self.codec.body(SERVICE_KEY, new)
            self.bodies.append((name, body, new))
            self.words += (b"p", name, b"0", body)
        self._lead(b"K:", None if old is None else old.lookup, None if new is None else new.lookup, b"0", name)
        self._move(service_key_places(old), service_key_places(new), id)


def _needed_until(session: Session | None) -> int:
    """Return until when a session is surely looked for: one that lives may have to be swept before its deadline."""
    return 0 if session is None else max(session.sweep_at, session.deadline)
