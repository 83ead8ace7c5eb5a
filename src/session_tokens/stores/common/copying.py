"""Copies everything from one store into another: the ability to read all records, and the rule that puts them there.

Theory of operation. A store that can be copied answers its records kind by kind, in batches, by ``dump_now``. They are
written by a rule, through ``run_now`` like any command, so the target makes its own MACs, stamps and indexes. Records
hold look-up keys under the peppers, so both stores must have been opened with the same keys.

A copy may be broken off at any point and begun again. Before its first record each name space of the target is marked
(``copy_marks``), and the marks are taken away after the last was compared. A marked store is opened by nobody else
(``connect``): it holds a part, and what is written to it would be lost. It is brought in line with the source,
whatever it holds; one that holds records without being marked is only compared: it may be in use, and nothing is
overwritten.

Events come first (``copied_events``): their ids are others in the target, and settings that name one are moved there.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from ...contract.queries import Get, What
from ...contract.store import BlockingStore
from ...contract.transaction import Transaction, reads
from ...crypto.minting import Keyring, PepperKeyring
from ...errors import Conflict, InvalidInput, StoreError
from ...records import IdempotencyRecord, OwnerEntry, ServiceKey, Session, Token
from .copied_events import DifferentLog, MovedEvents, compared_events, copied_events
from .copy_marks import MARK, insist_on_mark, mark_of, name_in, new_mark, put_mark
from .kinds import KINDS
from .record_codec import Setting

SPACES: Final = ("", "tt")
"""The name spaces of a store: that of ``SessionTokens`` and that of ``TokenTables``."""
BATCH: Final = 200
"""Records in one read and in one commit."""


Copied = OwnerEntry | Setting | ServiceKey | Session | Token | IdempotencyRecord


class Dump(NamedTuple):
    """One batch of all records of a kind.

    Attributes:
        records: about as many as were asked for, maybe none; one may come twice.
        after: where the next batch begins; ``None`` after the last.
    """

    records: Sequence[Copied]
    after: str | None


@runtime_checkable
class Copyable(Protocol):
    """A store that answers all its records, ended ones too."""

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return the records of a kind after a place: ``""`` is the beginning, each answer names the next place.

        What was there from the first batch to the last is in one of them.

        Args:
            kind: one of ``KINDS``.
            after: the ``after`` of the batch before.
            limit: about how many records.

        Raises:
            CorruptRecord: one of them is not as it was written; ``store check`` names it.
            StoreUnavailable: the store cannot be asked.
        """
        ...

    def count_now(self) -> int:
        """Return how many records there are in the store's name space; about, where others write meanwhile."""
        ...

    def clear_now(self) -> None:
        """Delete every record of the store's name space; where not all or none, a copy's mark goes last."""
        ...


def copyable(store: BlockingStore) -> Copyable:
    """Return a store that can be copied.

    Raises:
        InvalidInput: it cannot.
    """
    if not isinstance(store, Copyable):
        raise InvalidInput("a store in memory ends with its process and cannot be copied; name one that outlives it")
    return store


class Access(NamedTuple):
    """How records of one kind are asked for and written.

    Attributes:
        what: what a store is asked for.
        answer: the record in a store's answer to that.
        read: reads the record of a key within a rule.
        put: creates, replaces or (new is ``None``) deletes a record within a rule.
    """

    what: What
    answer: Callable[[str, Any], Copied | None]
    read: Callable[[Transaction, str], Copied | None]
    put: Callable[[Transaction, Any, Any], None]


def _put_entry(tx: Transaction, old: OwnerEntry | None, new: OwnerEntry | None) -> None:
    if new is None:
        raise Conflict("the target knows an owner that the source does not; it was used, copy into an empty store")
    tx.put_entry(old, new)


def _put_outcome(tx: Transaction, old: IdempotencyRecord | None, new: IdempotencyRecord | None) -> None:
    if new is not None:
        tx.put_idempotency(new)
    elif old is not None:
        tx.forget_idempotency(old.key)


def _put_setting(tx: Transaction, old: Setting | None, new: Setting | None) -> None:
    if new is not None:
        tx.put_setting(new.name, new.text)
    elif old is not None:
        tx.put_setting(old.name, None)


def _setting(name: str, text: str | None) -> Setting | None:
    return None if text is None else Setting(name, text)


def _in_pair(key: str, value: Any) -> Copied | None:
    """Return the record in an answer that brings others along."""
    record: Session | Token | None = value[0]
    return record


ACCESS: Final[dict[str, Access]] = {
    "owner": Access("entry", lambda key, value: value, lambda tx, key: tx.entry(key), _put_entry),
    "setting": Access("setting", _setting, lambda tx, key: _setting(key, tx.setting(key)), _put_setting),
    "service key": Access(
        "key", lambda key, value: value, lambda tx, key: tx.service_key(key),
        lambda tx, old, new: tx.put_service_key(old, new),
    ),
    "session": Access(
        "session", _in_pair, lambda tx, key: tx.session(key), lambda tx, old, new: tx.put_session(old, new)
    ),
    "token": Access("token", _in_pair, lambda tx, key: tx.token(key), lambda tx, old, new: tx.put_token(old, new)),
    "idempotency": Access(
        "idempotency", lambda key, value: value, lambda tx, key: tx.idempotency(key), _put_outcome
    ),
}  # fmt: skip


PREVIOUS_SECRET, LOAN = "previous secret", "loan"
COUNTED: Final = (*KINDS, PREVIOUS_SECRET, LOAN)
"""What is counted: records by their kinds, and two that are none of what people call so."""


def counted_as(kind: str, record: Copied | None) -> str:
    """Return as what people count a record of a kind."""
    if isinstance(record, Session) and record.former_of is not None:
        return PREVIOUS_SECRET
    return LOAN if isinstance(record, Token) and record.is_loan else kind


def _same(kind: str, one: Copied | None, other: Copied | None) -> bool:
    if one is None or other is None:
        return one is other
    row_of = KINDS[kind].row
    return row_of(one) == row_of(other)


_MARK: Final = Get("setting", MARK)


@reads(lambda kind, records, mark: [_MARK, *(Get(ACCESS[kind].what, key) for key in records)])
def put_records(tx: Transaction, kind: str, records: dict[str, Copied | None], mark: str) -> int:
    """Create, replace or (``None``) delete the records of these keys; return how many were not as they should be.

    Raises:
        Conflict: the store is not marked so any more.
    """
    insist_on_mark(tx, mark)
    access, changed = ACCESS[kind], 0
    for key, record in records.items():
        there = access.read(tx, key)
        if not _same(kind, there, record):
            access.put(tx, there, record)
            changed += 1
    return changed


LOOKED_UP: Final[dict[str, tuple[What, Callable[[Transaction, str], Session | Token | None]]]] = {
    "session": ("session_lookup", lambda tx, lookup: tx.session_by_lookup(lookup)),
    "token": ("token_lookup", lambda tx, lookup: tx.token_by_lookup(lookup)),
}
"""How records of the kinds are asked for whose look-up keys go from one to the next."""


def _lookups(records: Mapping[str, Any]) -> dict[str, str]:
    return {record.lookup: key for key, record in records.items() if record.lookup is not None}


@reads(lambda kind, records, mark: [_MARK, *(Get(LOOKED_UP[kind][0], lookup) for lookup in _lookups(records))])
def free_lookups(tx: Transaction, kind: str, records: dict[str, Any], mark: str) -> None:
    """Take from records that were copied earlier the look-up keys that others have by now: they get theirs later.

    Raises:
        Conflict: the store is not marked so any more.
    """
    insist_on_mark(tx, mark)
    for lookup, key in _lookups(records).items():
        holder: Any = LOOKED_UP[kind][1](tx, lookup)
        if holder is not None and holder.id != key:
            ACCESS[kind].put(tx, holder, holder.replace(lookup=None))


class _Pair(NamedTuple):
    """A name space of the two stores."""

    source: BlockingStore
    target: BlockingStore


Opener = Callable[[ExitStack], Mapping[str, BlockingStore]]
"""Opens all name spaces of a store, until the stack ends."""
CopyOpener = Callable[[str, bool], BlockingStore]
"""Opens a store to copy into for a name space, where any name space of the source is sealed or none is."""
MoveSetting = Callable[[str, str, MovedEvents], str]
"""``move(name, text, moved)``: the text of a setting where the events have other ids."""
Checks = Mapping[str, Mapping[str, str]]
"""What kind of key → key id → what tells that key from any other."""
Progress = Callable[[int, int], None]
"""``progress(done, total)``: how many records were written or compared, and how many that will be at the end."""
PASSES_OF_A_COPY, PASSES_OF_A_COMPARISON = 4, 2
"""How often each record is gone through: it is written, looked for in the source, and compared from both sides."""


class Copying:
    """One copy of everything, both name spaces.

    Args:
        source: opens the store that is read.
        target: opens the store that is written.
        name: identifies the source; the mark of a copy that is under way holds it.
        progress: called with how far it has come.
        move: moves what names an event of the source.

    Attributes:
        counts: each of ``COUNTED`` → how many records the source has.
        written: how many records this run created, replaced or deleted in the target.
        events: how many events this run wrote into the target.
    """

    def __init__(self, source: Opener, target: CopyOpener, name: str, progress: Progress, move: MoveSetting) -> None:
        self._openers = (source, target)
        self._name, self._run_mark = name, new_mark(name)
        self._progress = progress
        self._done = self._total = 0
        self._pairs: dict[str, _Pair] = {}
        self._move = move
        self._moved: MovedEvents | None = None
        self.counts = dict.fromkeys(COUNTED, 0)
        self.written = self.events = 0

    def run(self) -> None:
        """Copy, then compare; running it again goes on where it was broken off, or finds nothing left to do.

        Raises:
            InvalidInput: a store cannot be copied, or the two have different keys.
            Conflict: the target holds other records, or a copy from elsewhere is under way into it.
            StoreError: after the copy the target is not what the source is: one of them is in use.
        """
        open_source, open_target = self._openers
        with ExitStack() as opened:
            sources = open_source(opened)
            is_sealed = any(source.keyring.sealer is not None for source in sources.values())
            for space, source in sources.items():
                target = open_target(space, is_sealed)
                opened.callback(target.close_now)
                check_keys(source.keyring, target.keyring)
                self._pairs[space] = _Pair(source, target)
            self._run()

    def _run(self) -> None:
        marks = [mark_of(self._pairs[space].target) for space in SPACES]
        mark = marks[0]
        if mark is not None and name_in(mark) != self._name:
            raise Conflict(
                "a copy from another store into this one was not finished; finish it with the command that began "
                "it, or empty this store: session-tokens store abandon TO"
            )
        size = sum(copyable(source).count_now() for source, _ in self._pairs.values())
        different = Conflict("the target holds records that the source does not; copy into an empty store")
        if mark is None and not self._is_empty():
            self._total = PASSES_OF_A_COMPARISON * size
            try:
                self._moved = compared_events(*self._pairs[SPACES[0]])
            except DifferentLog:
                raise different from None
            self._compare(different)
            return
        self._total = PASSES_OF_A_COPY * size
        self._mark(marks)
        if mark is None and not self._is_empty():  # another one has filled it since it was looked at
            self._unmark()
            raise different
        self._moved, self.events = copied_events(*self._pairs[SPACES[0]], self._run_mark)
        for source, target in self._pairs.values():
            for kind in KINDS:
                self._put_all(source, target, kind, is_resumed=mark is not None)
                self._delete_others(source, target, kind)
        self._compare(
            StoreError(
                "after the copy the target differs from the source: stop what uses either of them, and sweep the "
                "source (session-tokens sweep), which may hold sessions that ended more than a week ago; then copy "
                "again"
            )
        )
        self._unmark()

    # The first name space is asked whether a copy is under way, so it is marked first, and unmarked last.

    def _mark(self, found: Sequence[str | None]) -> None:
        for space, mark in zip(SPACES, found, strict=True):
            self._pairs[space].target.run_now(put_mark, mark, self._run_mark)

    def _unmark(self) -> None:
        for space in reversed(SPACES):
            self._pairs[space].target.run_now(put_mark, self._run_mark, None)

    def _is_empty(self) -> bool:
        return not any(True for _, target in self._pairs.values() for kind in KINDS for _ in batches(target, kind))

    def _put_all(self, source: BlockingStore, target: BlockingStore, kind: str, *, is_resumed: bool) -> None:
        for records in map(self._as_moved, batches(source, kind)):
            if is_resumed and kind in LOOKED_UP:
                target.run_now(free_lookups, kind, records, self._run_mark)
            self.written += target.run_now(put_records, kind, records, self._run_mark)
            self._tell(len(records))

    def _delete_others(self, source: BlockingStore, target: BlockingStore, kind: str) -> None:
        """Delete what the target has from an earlier run, and the source has forgotten since."""
        for records in batches(target, kind):
            there = found(source, kind, list(records))
            gone: dict[str, Copied | None] = {key: None for key in records if there[key] is None}
            if gone:
                self.written += target.run_now(put_records, kind, gone, self._run_mark)
            self._tell(len(records))

    def _compare(self, difference: Exception) -> None:
        """Accept two stores that hold the same, and count it; raise ``difference`` for others."""
        self.counts = dict.fromkeys(COUNTED, 0)
        for source, target in self._pairs.values():
            for kind in KINDS:
                for one, other, count in ((source, target, True), (target, source, False)):
                    for records in batches(one, kind):
                        there = found(other, kind, list(records))
                        ours, theirs = (records, there) if count else (there, records)
                        ours = self._as_moved(ours)
                        if not all(_same(kind, record, theirs[key]) for key, record in ours.items()):
                            raise difference
                        for record in records.values() if count else ():
                            self.counts[counted_as(kind, record)] += 1
                        self._tell(len(records))

    def _as_moved(self, records: dict[str, Copied | None]) -> dict[str, Copied | None]:
        """Return records of the source as they are in the target."""
        return {key: self._setting_moved(record) for key, record in records.items()}

    def _setting_moved(self, record: Copied | None) -> Copied | None:
        if not isinstance(record, Setting):
            return record
        assert self._moved is not None
        return Setting(record.name, self._move(record.name, record.text, self._moved))

    def _tell(self, count: int) -> None:
        self._done += count
        self._progress(min(self._done, self._total), self._total)


def batches(store: BlockingStore, kind: str) -> Iterator[dict[str, Copied | None]]:
    """Return all records of a kind, in batches by key; no batch is empty, the mark of a copy is in none.

    Raises:
        InvalidInput: the store cannot be copied.
    """
    after: str | None = ""
    while after is not None:
        records, after = copyable(store).dump_now(kind, after, BATCH)
        by_key: dict[str, Copied | None] = {str(KINDS[kind].row(record)[0]): record for record in records}
        if kind == "setting":
            by_key.pop(MARK, None)
        if by_key:
            yield by_key


def found(store: BlockingStore, kind: str, keys: Sequence[str]) -> dict[str, Copied | None]:
    """Return the records that a store has under these keys, ``None`` where it has none."""
    access = ACCESS[kind]
    answers = store.read_now([Get(access.what, key) for key in keys]).found
    return {key: access.answer(key, answer.value) for key, answer in zip(keys, answers, strict=True)}


def check_keys(source: Keyring, target: Keyring) -> None:
    """Accept two stores of which the second holds every key of the first.

    Raises:
        InvalidInput: it does not: secrets and sealed names would be worth nothing there.
    """
    if not isinstance(source, PepperKeyring) or not isinstance(target, PepperKeyring):
        raise InvalidInput("a store in memory ends with its process and cannot be copied; name one that outlives it")
    check_checks(checks_of(source), target)


def checks_of(keyring: PepperKeyring) -> Checks:
    """Return by what another process knows that it holds the same keys: of each a digest, no key."""
    kinds = {"pepper": keyring.peppers, "data key": keyring.data_keys, "index key": keyring.index_keys}
    return {
        what: {key_id: hmac.digest(key, b"check of a copy", "sha256").hex() for key_id, key in keys.items()}
        for what, keys in kinds.items()
    }


def check_checks(of_source: Checks, target: PepperKeyring) -> None:
    """Accept the keys of a store that records come from where a store that they go to holds every one of them.

    Raises:
        InvalidInput: it does not.
    """
    of_target = checks_of(target)
    for what, checks in of_source.items():
        for key_id, check in checks.items():
            if not hmac.compare_digest(check, of_target.get(what, {}).get(key_id, "")):
                raise InvalidInput(
                    f"the target is opened without the {what} {key_id} of the source, so no secret would be valid "
                    "there; name the source's key file for both: SESSION_TOKENS_PEPPER_FILE=<database>.key",
                    key_id=key_id,
                )
