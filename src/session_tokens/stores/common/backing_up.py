"""Backs a store up while it is in use: into an empty store, record by record, as each of them is when it is read.

Theory of operation. ``dump_now`` promises that what is there from its first batch to its last is in one of them, so
whatever was acknowledged before a backup began is in it, as it was then or later. Two records may be of different
instants: a token may be in the backup without the session that was opened meanwhile, and is then judged as one whose
session is over. What would not be whole in itself is cut at the beginning: events, and the chains of the audit log,
whose ends are read first and put in last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...contract.queries import Get
from ...contract.store import BlockingStore
from ...errors import Conflict
from .copied_events import events_of_now
from .copying import (
    BATCH,
    MARK,
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
        self._mark(SPACES, Setting(MARK, self._name))
        self._moved, self.events = events_of_now(*self._pairs[SPACES[0]], MARK, self._name)
        for source, target in self._pairs.values():
            ends = self._ends_of(source)
            for kind in KINDS:
                for records in batches(source, kind):
                    self._put(target, kind, self._taken(kind, records, ends))
                    self._tell(len(records))
            names = list(ends)
            for at in range(0, len(names), BATCH):
                self._put(target, SETTING, {name: Setting(name, ends[name]) for name in names[at : at + BATCH]})
        self._mark(SPACES[::-1], None)

    def _ends_of(self, source: BlockingStore) -> dict[str, str]:
        """Return where chains end now, as of one instant."""
        found = source.read_now([Get("setting", name) for name in self._ends]).found
        return {name: one.value for name, one in zip(self._ends, found, strict=True) if one.value is not None}

    def _taken(self, kind: str, records: dict[str, Copied | None], ends: Mapping[str, str]) -> dict[str, Copied | None]:
        moved = self._as_moved(records)
        if kind != SETTING:
            return moved
        return {name: record for name, record in moved.items() if self._within(name, ends)}

    def _put(self, target: BlockingStore, kind: str, records: dict[str, Copied | None]) -> None:
        if records:
            self.counts[kind] += len(records)
            self.written += target.run_now(put_records, kind, records)
