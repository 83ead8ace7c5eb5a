"""The check of a store's records: is each as it was written, is what it names there, does each owner's entry stand?

Theory of operation. A store shows its records kind by kind, in batches, with what it finds each by again
(``Inspected``); what is done about them is decided here, the same for every store. Nothing need be locked while it
reads: what is mended is written only if what it rests on is as it was seen. Owners' entries come first. What the
sessions of an owner have epochs that the entry does not know means that an entry was lost, and with it what it
ended: then one is written by which all of the owner's sessions end (``OwnerEntry.after_loss``).

The methods of a store are generators, as its other scripts are: they may yield what its connections carry out.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from ...contract.changes import Changes
from ...errors import CorruptRecord, UnknownPepper
from ...records import OwnerEntry, Token
from .findings import ASIDE, Finding, Findings, Progress
from .kinds import KINDS, OWNER, SESSION, TOKEN, Kind

T = TypeVar("T")
Steps = Generator[Any, Any, T]

WRITTEN_ANEW = "written anew: all sessions ended; disable the owner again if that is what they were"
"""What is said of an owner's entry that was lost."""

_OWNER, _EPOCH = SESSION.names.index("owner"), SESSION.names.index("owner_epoch")


class Stored(NamedTuple):
    """A record as a store keeps it.

    Attributes:
        key: what it is known by, so that it can be shown.
        handle: what the store finds it by again as it was; only the store knows what that is.
        row: its columns, whoever wrote them; empty where they are unknown, or it does not stand where they say.
        record: what they mean, ``None`` where it cannot be read.
        error: why not.
    """

    key: str
    handle: Any
    row: Sequence[Any]
    record: Any = None
    error: CorruptRecord | UnknownPepper | None = None


Seen = tuple[Kind, str, Stored | None]
"""A kind, the key of a record, and it as it was seen; ``None`` for what was not there."""


class Inspected(Protocol):
    """What a store gives for the check of its records."""

    def scan(self, kind: Kind) -> Iterable[Steps[Sequence[Stored]]]:
        """Return scripts that answer all records of a kind, a batch each; the next is taken when one is through."""
        ...

    def get(self, kind: Kind, keys: Collection[str]) -> Steps[dict[str, Stored]]:
        """Return those of some records that are there, by their keys."""
        ...

    def entry_key(self, owner: str) -> str:
        """Return the key by which the entry of an owner is shown."""
        ...

    def now(self) -> Steps[int]:
        """Return the instant on the store's clock, in milliseconds."""
        ...

    def set_aside(
        self, kind: Kind, stored: Stored, reason: str, changes: Changes | None, seen: Sequence[Seen]
    ) -> Steps[bool]:
        """Move a record out of the way as it is, and write changes with it; return whether all was as it was seen."""
        ...

    def write(self, changes: Changes, seen: Sequence[Seen]) -> Steps[bool]:
        """Write changes like any command; return whether all was as it was seen."""
        ...


class _Told:
    """What the sessions of an owner say about epochs."""

    __slots__ = ("epochs", "first", "latest", "needs_entry")

    def __init__(self) -> None:
        self.epochs: set[int] = set()  # also of those that cannot be read
        self.latest = 0  # of those that can
        self.first: Stored | None = None  # that can, which the sweeper is given
        self.needs_entry = False  # one tells of an entry, and there was none


class RecordCheck:
    """One look at all records of a name space.

    Args:
        inspected: shows them.
        findings: told of each thing that is wrong.
        recorded: the ids of the peppers that the store knows: what is under one of them lives for who has it.
        fix: whether to mend what can be mended.
        progress: told how far it is, if given.
        space: the name space, for the findings.
    """

    def __init__(
        self,
        inspected: Inspected,
        findings: Findings,
        recorded: Collection[str],
        *,
        fix: bool,
        progress: Progress | None = None,
        space: str = "",
    ) -> None:
        self._inspected = inspected
        self._findings = findings
        self._recorded = recorded
        self._fix = fix
        self._progress = progress
        self._space = space
        self._epochs: dict[str, int] = {}
        self._unreadable_entries: list[Stored] = []
        self._unreadable_keys: set[str] = set()
        self._told: dict[str, _Told] = {}

    def _report(self, kind: Kind, key: str, message: str, fixed: str | None, what: str) -> None:
        self._findings.add(Finding(kind.name, key, message, fixed, what, self._space))

    def run(self, done: int, total: int) -> Steps[int]:
        """Look at everything.

        Args:
            done: how many records were read before, for ``progress``.
            total: how many there will be at the end.

        Returns:
            How many were read by now.
        """
        for kind in KINDS.values():  # owners' entries before sessions, these before tokens
            for batch in self._inspected.scan(kind):
                some = yield from batch
                yield from self._look_at(kind, some)
                done += len(some)
                if self._progress is not None and some:
                    self._progress(done, max(done, total))
        yield from self._set_entries_aside()
        yield from self._lost_entries()
        return done

    def _look_at(self, kind: Kind, some: Sequence[Stored]) -> Steps[None]:
        for stored in some:
            if kind is SESSION:
                self._hear(stored)
            if stored.error is None:
                if kind is OWNER:
                    self._epochs[stored.record.owner] = stored.record.epoch
            elif kind is OWNER:  # once all sessions were heard
                self._unreadable_entries.append(stored)
                self._unreadable_keys.add(stored.key)
            else:
                fixed = None
                if self._may_go(stored.error):
                    is_gone = yield from self._inspected.set_aside(kind, stored, str(stored.error), None, ())
                    fixed = ASIDE if is_gone else None
                self._report(kind, stored.key, str(stored.error), fixed, self._kind_of(stored.error))
        if kind is TOKEN:
            yield from self._orphans([stored for stored in some if stored.record is not None])

    def _may_go(self, error: CorruptRecord | UnknownPepper) -> bool:
        """Whether a record is set aside: not one that lives for who has its pepper."""
        return self._fix and error.details.get("key_id") not in self._recorded

    def _kind_of(self, error: CorruptRecord | UnknownPepper) -> str:
        """Return what is wrong with a record that cannot be read."""
        if error.details.get("key_id") in self._recorded:
            return "unknown_pepper"
        return "malformed" if error.details.get("malformed") else "forged"

    def _hear(self, session: Stored) -> None:
        """Note what a session says about its owner's epoch, where an entry may have been lost."""
        if len(session.row) <= _EPOCH:
            return
        owner, epoch = session.row[_OWNER], session.row[_EPOCH]
        if not isinstance(owner, str) or not isinstance(epoch, int):
            return
        needs_entry = session.record is not None and session.record.needs_entry and owner not in self._epochs
        is_known = epoch <= self._epochs.get(owner, 0) and not needs_entry
        if is_known and self._inspected.entry_key(owner) not in self._unreadable_keys:
            return
        told = self._told.setdefault(owner, _Told())
        told.epochs.add(epoch)
        if session.record is not None:
            told.latest = max(told.latest, epoch)
            told.needs_entry = told.needs_entry or needs_entry
            if session.record.ended_at is None:
                told.first = told.first or session

    def _set_entries_aside(self) -> Steps[None]:
        """Set entries aside that cannot be read, and write new ones in their place."""
        told_of = {self._inspected.entry_key(owner): owner for owner in self._told}
        for stored in self._unreadable_entries:
            assert stored.error is not None
            owner, fixed = _first_of(stored) or told_of.get(stored.key), None
            if self._may_go(stored.error):
                fixed = yield from self._replaced(stored, owner)
            self._report(OWNER, stored.key, str(stored.error), fixed, self._kind_of(stored.error))

    def _replaced(self, stored: Stored, owner: str | None) -> Steps[str | None]:
        """Return what was done about an entry that cannot be read.

        Where neither it nor a session says who the owner is, there is nothing that it could have ended.
        """
        reason = str(stored.error)
        if owner is None:
            is_gone = yield from self._inspected.set_aside(OWNER, stored, reason, None, ())
            return ASIDE if is_gone else None
        for changes, seen in (yield from self._end_all(owner, None)):
            if (yield from self._inspected.set_aside(OWNER, stored, reason, changes, seen)):
                return f"{ASIDE}; {WRITTEN_ANEW}"
        return None

    def _end_all(self, owner: str, known: OwnerEntry | None) -> Steps[Sequence[tuple[Changes, Sequence[Seen]]]]:
        """Return what is written where an owner's entry was lost, and what it rests on.

        A session is given to the sweeper with it; if that has moved meanwhile, it goes without.
        """
        told, now = self._told.get(owner, _Told()), (yield from self._inspected.now())
        ways: list[tuple[Changes, Sequence[Seen]]] = []
        for first in (told.first, None) if told.first is not None else (None,):
            session = None if first is None else first.record
            seen: Sequence[Seen] = () if session is None else ((SESSION, session.id, first),)
            changes = Changes()
            changes.others().entries.append((known, OwnerEntry.after_loss(owner, known, told.epochs, now)))
            if session is not None and session.sweep_at != 0:
                changes.sessions.append((session, session.replace(sweep_at=0)))
            ways.append((changes, seen))
        return ways

    def _lost_entries(self) -> Steps[None]:
        """See that no session tells of an owner's entry that is not there, or was opened under a later epoch of it.

        Each entry is read once more: it may have been written since, before the session was.
        """
        for owner, told in self._told.items():
            if (told.latest == 0 and not told.needs_entry) or self._inspected.entry_key(owner) in self._unreadable_keys:
                continue
            there = (yield from self._inspected.get(OWNER, [owner])).get(owner)
            if there is not None and (there.error is not None or there.record.epoch >= told.latest):
                continue
            fixed = None
            if self._fix:
                known = None if there is None else there.record
                for changes, seen in (yield from self._end_all(owner, known)):
                    if (yield from self._inspected.write(changes, [*seen, (OWNER, owner, there)])):
                        fixed = WRITTEN_ANEW
                        break
            said = f"a session was opened under its epoch {told.latest}, which its entry does not know"
            if there is None and told.latest == 0:
                said = "its sessions ended at once, or it was disabled, and there is no entry that tells of it"
            self._report(OWNER, shown(owner), said, fixed, "lost_entry")

    def _orphans(self, tokens: Sequence[Stored]) -> Steps[None]:
        """See that each token that names a session has it; without it, it is written down as what it counts as."""
        named = {stored.record.session_id for stored in tokens if stored.record.session_id is not None}
        if not named:
            return
        there = yield from self._inspected.get(SESSION, named)
        lost = {
            stored.record.id: stored for stored in tokens if (stored.record.session_id or "") in named - there.keys()
        }
        if not lost:
            return
        again, now = (yield from self._inspected.get(TOKEN, lost.keys())), (yield from self._inspected.now())
        for id, stored in lost.items():
            if id not in again or again[id].record != stored.record:
                continue  # it has moved on meanwhile, and its session was gone then
            token: Token = stored.record
            left = token.as_of(now, None, None)
            said = f"its session {token.session_id} is not there; it {'is dead' if left is None else 'is unassigned'}"
            fixed = (yield from self._written_down(stored, left, said)) if self._fix else None
            self._report(TOKEN, stored.key, said, fixed, "orphan")

    def _written_down(self, stored: Stored, left: Token | None, said: str) -> Steps[str | None]:
        token: Token = stored.record
        assert token.session_id is not None
        seen: Sequence[Seen] = ((TOKEN, token.id, stored), (SESSION, token.session_id, None))
        if left is None:
            is_done = yield from self._inspected.set_aside(TOKEN, stored, said, None, seen)
            return ASIDE if is_done else None
        changes = Changes()
        changes.tokens.append((token, left))
        is_done = yield from self._inspected.write(changes, seen)
        return "written down as unassigned" if is_done else None


def shown(key: object) -> str:
    """Return what a record is known by, which anyone may have written there, so that it can be shown."""
    try:
        if isinstance(key, str) and key.encode():
            return key
    except UnicodeEncodeError:
        pass
    return ascii(key)


def _first_of(entry: Stored) -> str | None:
    """Return the owner whom an entry names that cannot be read."""
    owner = entry.row[0] if entry.row else None
    return owner if isinstance(owner, str) and owner else None
