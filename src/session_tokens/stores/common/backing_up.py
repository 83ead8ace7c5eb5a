"""Backs a store up while it is in use: into an empty store, record by record, as each of them is when it is read.

Theory of operation. ``dump_now`` promises that what is there from its first batch to its last is in one of them, so
whatever was acknowledged before a backup began is in it, as it was then or later. Two records may be of different
instants: a token may be in the backup without the session that was opened meanwhile, and is then judged as one whose
session is over. What would not be whole in itself is cut at the beginning: events, and the chains of the audit log,
whose ends are read first and put in last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ...contract.queries import Get
from ...contract.store import BlockingStore
from ...errors import Conflict
from .copied_events import log_of, put_log
from .copying import (
    BATCH,
    SPACES,
    Copied,
    Copying,
    CopyOpener,
    MoveSetting,
    Opener,
    Progress,
    batches,
    copyable,
    put_records,
)
from .kinds import KINDS
from .record_codec import Setting

Within = Callable[[str, Mapping[str, str]], bool]
"""``within(name, ends)``: whether a setting belongs to a backup that has these ends of chains; the ends do not."""
SETTING: Final = "setting"


class BackingUp(Copying):
    """One backup of everything, both name spaces, into an empty store.

    Args:
        source, target, name, progress, move: as for ``Copying``.
        ends: names of the settings that say where chains end.
        within: says which settings are within them.
    """

    def __init__(
        self,
        source: Opener,
        target: CopyOpener,
        name: str,
        progress: Progress,
        move: MoveSetting,
        ends: Sequence[str],
        within: Within,
    ) -> None:
        super().__init__(source, target, name, progress, move)
        self._ends, self._within = ends, within

    def _run(self) -> None:
        if not self._is_empty():
            raise Conflict("a backup goes into an empty store; name a file that is not there")
        self._total = sum(copyable(source).count_now() for source, _ in self._pairs.values())
        self._mark([None] * len(SPACES))
        log = log_of(self._pairs[SPACES[0]].source)  # of now: events that come meanwhile are left out
        self._moved, self.events = put_log(log, self._pairs[SPACES[0]].target, self._run_mark), len(log.events)
        for source, target in self._pairs.values():
            for kind, records in records_of_now(source, self._ends, self._within):
                self.counts[kind] += len(records)
                self.written += target.run_now(put_records, kind, self._as_moved(records), self._run_mark)
                self._tell(len(records))
        self._unmark()


def records_of_now(
    store: BlockingStore, ends: Sequence[str], within: Within
) -> Iterator[tuple[str, dict[str, Copied | None]]]:
    """Return all records of a store in use, in batches of a kind, by key; see the theory of operation above.

    Args:
        store: to read; what is there from now to the last batch is in one of them.
        ends: names of the settings that say where chains end, which come last, as they are now.
        within: says which settings are within them.
    """
    found = store.read_now([Get("setting", name) for name in ends]).found
    texts = {name: one.value for name, one in zip(ends, found, strict=True) if one.value is not None}
    for kind in KINDS:
        for batch in batches(store, kind):
            records = batch if kind != SETTING else {name: one for name, one in batch.items() if within(name, texts)}
            if records:
                yield kind, records
    last = [Setting(name, text) for name, text in texts.items()]
    for at in range(0, len(last), BATCH):
        yield SETTING, {setting.name: setting for setting in last[at : at + BATCH]}
