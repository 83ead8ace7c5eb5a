"""How a change set becomes the checks and writes of one call to the library; index moves follow from the records."""

from __future__ import annotations

from collections.abc import Sequence

from ...clock import NEVER
from ...contract.changes import Changes, owner_of_living, parked_owner
from ...contract.optimistic import Commit
from ...errors import InvalidInput
from ...records import OwnerEntry, ServiceKey, Session, Token
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN
from .event_log import event_body
from .keys import expires_at, lookup_part, owner_part, part_of
from .rows import ValkeyCodec


def commit_words(
    codec: ValkeyCodec, commits: Sequence[Commit], *, though_full: bool = False
) -> tuple[list[bytes], list[Writes]]:
    """Return the call that carries out commits one after another, each whole or not at all, and what each writes.

    Args:
        though_full: whether a server that is out of memory shall carry them out too, for they end things.
    """
    function = b"session_tokens_end_v1" if though_full else b"session_tokens_commit_v1"
    words = [b"FCALL", function, b"1", codec.last_stamp_key]
    all_writes = []
    for commit in commits:
        writes = Writes(codec, commit)
        all_writes.append(writes)
        words += (b"%d" % commit.now, b"%d" % commit.not_after, b"%d" % len(writes.checks))
        for check in writes.checks.items():
            words += check
        words.append(b"%d" % len(writes.words))
        words += writes.words
    return words, all_writes


class Writes:
    """The checks and writes of one commit.

    Attributes:
        checks: name → stamp that it must still have, empty for what must not be there.
        words: the writes.
        bodies: name, value without stamp, and record of what is put of sessions, tokens and entries.
        gone: names and buckets of which nothing is known afterwards.
        kept: names of sessions that must not expire by themselves.
    """

    __slots__ = ("_put", "bodies", "checks", "codec", "gone", "kept", "words")

    def __init__(self, codec: ValkeyCodec, commit: Commit) -> None:
        self.codec = codec
        self.checks: dict[bytes, bytes] = dict(commit.stamps)
        self.words: list[bytes] = []
        self.bodies: list[tuple[bytes, bytes, Session | Token | OwnerEntry | str]] = []
        self.gone: list[bytes] = []
        self.kept: list[bytes] = []
        self._put: set[bytes] = set()
        changes = commit.changes
        for old_session, new_session in changes.sessions:
            self._session(old_session, new_session)
        for name in self.kept:
            self.words += (b"y", name)
        for old_token, new_token in changes.tokens:
            self._token(old_token, new_token)
        if changes.entries or changes.idempotency or changes.forgotten or changes.settings or changes.keys:
            self._rest(changes)
        for event in changes.events:
            self.words += (b"e", event_body(codec, event))

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

    def _add(self, bucket: bytes, at: int, member: bytes) -> None:
        self.words += (b"a", bucket, b"%d" % at, member)

    def _take(self, bucket: bytes, member: bytes) -> None:
        self.words += (b"r", bucket, member)

    def _move(self, listing: bytes, was: bool, stands: bool, at: int, member: bytes) -> None:
        if stands and not was:
            self._add(listing, at, member)
        elif was and not stands:
            self._take(listing, member)

    def _move_due(self, was: int, at: int, member: bytes) -> None:
        """Note when something should be swept, ``NEVER`` for never."""
        if at == was:
            return
        if at == NEVER:
            self._take(b"du", member)
        else:
            self._add(b"du", at, member)

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
        until = b"0" if new is None else expires_at(_needed_until(new))
        if new is None:
            self.words += (b"d", name, b"d", b"bh:" + id, b"d", b"lx:" + id, b"d", b"bs:" + id)
            self.gone.append(name)
        else:
            body = self.codec.body(SESSION, new)
            self.bodies.append((name, body, new))
            if old is not None and _needed_until(old) == _needed_until(new):
                self.words += (b"k", name, body)
                if _stands_alike(old, new):
                    return
            else:
                self.words += (b"q", name, until, body)
        if old is None or new is None or old.lookup != new.lookup or _needed_until(old) != _needed_until(new):
            self._lead(b"S:", None if old is None else old.lookup, None if new is None else new.lookup, until, name)
        lived = owner_of_living(old) is not None
        lives = owner_of_living(new) is not None
        if lived != lives:
            bucket = b"bo:" + owner_part(record.owner)
            self._move(bucket, lived, lives, record.created_at, id)
            self.gone.append(bucket)
            self._move(b"ls", lived, lives, record.created_at, id)
        self._follow(old, new, record, id)
        was_detached, is_detached = old is not None and old.is_detached, new is not None and new.is_detached
        self._move(b"ld", was_detached, is_detached, record.created_at, id)
        self._move_due(NEVER if old is None else old.sweep_at, NEVER if new is None else new.sweep_at, b"s" + id)

    def _follow(self, old: Session | None, new: Session | None, record: Session, id: bytes) -> None:
        """Put a replaced session among the predecessors of its successor, which is kept as long as it is there."""
        former = None if old is None else old.details.successor
        successor = None if new is None else new.details.successor
        if former == successor:
            return
        if former is not None:
            self._take(b"bs:" + part_of(former), id)
        if successor is not None:
            self._add(b"bs:" + part_of(successor), record.created_at, id)
            self.kept.append(b"s:" + part_of(successor))

    def _token(self, old: Token | None, new: Token | None) -> None:
        record = old or new
        assert record is not None
        id = part_of(record.id)
        name = b"t:" + id
        self._check(name, old)
        at, until = record.created_at, b"0" if new is None else expires_at(new.deadline)
        if new is None:
            self.words += (b"d", name, b"r", b"lt", id)
            self.gone.append(name)
        else:
            body = self.codec.body(TOKEN, new)
            self.bodies.append((name, body, new))
            self.words += (b"p", name, until, body)
            if old is None:
                self._add(b"lt", at, id)
        if old is None or new is None or old.lookup != new.lookup or old.deadline != new.deadline:
            self._lead(b"T:", None if old is None else old.lookup, None if new is None else new.lookup, until, name)
        self._hold(old, new, record, id)
        was_listed, is_listed = old is not None and old.is_sellable, new is not None and new.is_sellable
        if was_listed is not is_listed:
            self._move(b"lv", was_listed, is_listed, at, id)
        was_free, is_free = old is not None and old.is_unassigned, new is not None and new.is_unassigned
        if was_free is not is_free:
            self._move(b"lu", was_free, is_free, at, id)
        if old is None or new is None or old.deadline != new.deadline:
            self._move_due(NEVER if old is None else old.deadline, NEVER if new is None else new.deadline, b"t" + id)

    def _hold(self, old: Token | None, new: Token | None, record: Token, id: bytes) -> None:
        """Move a token from where it was held to where it is now."""
        was_in = None if old is None else old.session_id
        is_in = None if new is None else new.session_id
        if was_in != is_in:
            was_part, part = b"" if was_in is None else part_of(was_in), b"" if is_in is None else part_of(is_in)
            how = b"x" if record.is_transferable else b""
            self.words += (b"h", id, b"%d" % record.created_at, was_part, part, how)
        if was_in is not None and is_in is not None:
            return
        was_parked, is_parked = parked_owner(old), parked_owner(new)
        if was_parked != is_parked:
            if was_parked is not None:
                self._take(b"bp:" + owner_part(was_parked), id)
            if is_parked is not None:
                self._add(b"bp:" + owner_part(is_parked), record.created_at, id)

    def _rest(self, changes: Changes) -> None:
        for old_entry, entry in changes.entries:
            self._entry(old_entry, entry)
        for record in changes.idempotency:
            key = part_of(record.key)
            body = self.codec.body(IDEMPOTENCY, record)
            self.words += (b"p", b"i:" + key, expires_at(record.expires_at), body)
            self._add(b"du", record.expires_at, b"i" + key)
        for forgotten in changes.forgotten:
            key = part_of(forgotten)
            self.words += (b"d", b"i:" + key)
            self._take(b"du", b"i" + key)
        for setting, text in changes.settings:
            name = b"c:" + lookup_part(setting)  # most are written once and never again
            if text is None:
                self.gone.append(name)
                self.words += (b"d", name)
            else:
                body = self.codec.body(SETTING, (setting, text))
                self.words += (b"p", name, b"0", body)
                if name in self.checks:  # what was read before it is written will be read again
                    self.bodies.append((name, body, text))
        for old_key, key_record in changes.keys:
            self._service_key(old_key, key_record)

    def _entry(self, old: OwnerEntry | None, entry: OwnerEntry) -> None:
        owner = owner_part(entry.owner)
        self._check(b"e:" + owner, old)
        body = self.codec.body(OWNER, entry)
        self.bodies.append((b"e:" + owner, body, entry))
        self.words += (b"p", b"e:" + owner, b"0", body)
        if old is None:
            self._add(b"le", 0, owner)

    def _service_key(self, old: ServiceKey | None, new: ServiceKey | None) -> None:
        record = old or new
        assert record is not None
        id = part_of(record.id)
        name = b"k:" + id
        self._check(name, old)
        if new is None:
            self.words += (b"d", name)
        else:
            self.words += (b"p", name, b"0", self.codec.body(SERVICE_KEY, new))
        self._lead(b"K:", None if old is None else old.lookup, None if new is None else new.lookup, b"0", name)
        self._move(b"lk", old is not None, new is not None, record.created_at, id)


def _needed_until(session: Session) -> int:
    """Return until when a session is surely looked for: one that lives may have to be swept before its deadline."""
    return max(session.sweep_at, session.deadline)


def _stands_alike(old: Session, new: Session) -> bool:
    """Whether two states of a session stand in the same indexes, under the same look-up key and deadline."""
    return (
        old.lookup == new.lookup
        and old.sweep_at == new.sweep_at
        and old.ended_at is None
        and new.ended_at is None
        and (old.detached_at is None) == (new.detached_at is None)
        and old.details.successor == new.details.successor
    )
