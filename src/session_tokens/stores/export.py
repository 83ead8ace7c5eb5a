"""Exports all that a store holds as lines of JSON, while it is in use, and imports them into an empty store.

What is exported is what a backup holds (``common.backing_up``), in a form that people and other programs read
(``common.json_lines``). A file is read twice: nothing is made or written before its last line was found to be right.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Final, NamedTuple

from ..clock import SteadyClock
from ..contract.queries import Get
from ..contract.store import BlockingStore
from ..crypto.key_file import (
    given_keyring,
    given_keys,
    insist_on_keys_of_source,
    key_file_of,
    keyring_of,
    read_key_file,
    replace_key_file,
)
from ..crypto.minting import PepperKeyring
from ..errors import Conflict, InvalidInput
from ..events import Event, event_id
from .backup import Moving, Progress, give_name, insist_it_is_new, not_written, put_in_place, remove_draft, sync
from .common.backing_up import records_of_now
from .common.copied_events import Log, MovedEvents, log_of, put_log
from .common.copy_marks import MARK, mark_of, name_in, new_mark, put_mark, unfinished
from .common.copying import (
    BATCH,
    SPACES,
    Copied,
    MoveSetting,
    batches,
    checks_of,
    copyable,
    put_records,
)
from .common.json_lines import EVENT, VERSION, Head, Line, Reading, Writing
from .common.kinds import KINDS
from .common.record_codec import Setting
from .common.store_url import store_url_of
from .connect import abandon_store, closing_now, open_copy, opened_to_read

Write = Callable[[bytes], object]
MEMORY: Final = "a store in memory ends with its process and holds nothing to export; name one that outlives it"


class Exported(NamedTuple):
    """What was written, or put into a store.

    Attributes:
        records: how many, of all kinds.
        events: how many.
        unsealed: whether the store seals values, which the file has in clear.
        keys: the key file that an import needs; ``None`` where keys are given another way.
    """

    records: int
    events: int
    unsealed: bool
    keys: str | None


def export_to_file(url: str, file: str, progress: Progress, moving: Moving) -> Exported:
    """Write everything that a store holds into a new file of mode 0600, which appears whole or not at all.

    Args:
        url, progress, moving: as for ``export_store``.
        file: its path.

    Raises:
        InvalidInput: as for ``export_store``, or a place that a file may not be in.
        Conflict: there is such a file already.
        StoreError: the store cannot be read, or the file not be written.
    """
    path = Path(os.path.abspath(file))
    insist_it_is_new(path)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as writing:
                made = export_store(url, writing.write, progress, moving)
            sync(draft)
        except OSError as error:
            raise not_written(draft, error) from error
        give_name(draft, path)
        return made
    finally:
        remove_draft(draft)


def export_store(url: str, write: Write, progress: Progress, moving: Moving) -> Exported:
    """Write everything that a store holds as lines, values opened, while it is in use.

    Whatever was acknowledged before this began is in them. There is no secret in them.

    Args:
        url: of the store; see ``open_store``.
        write: takes each line.
        progress: ``progress(done, total)``, called now and then.
        moving: which settings belong to it; see ``backup_store``.

    Raises:
        InvalidInput: a store in memory, or one that is not there.
        StoreError: the store cannot be read.
    """
    named = store_url_of(url)
    if named.kind == "memory":
        raise InvalidInput(MEMORY)
    with ExitStack() as opened:
        stores = opened_to_read(url, opened)
        keyring = _keyring_in(stores[""])
        total = sum(copyable(store).count_now() for store in stores.values())
        now, _ = stores[""].read_now([Get("setting", MARK)])
        log = log_of(stores[""])
        is_sealed = any(store.keyring.sealer is not None for store in stores.values())
        writing = Writing(keyring, write)
        places = (event_id(log.trimmed), event_id(log.newest))
        writing.head(Head(VERSION, now, is_sealed, total, *places, checks_of(keyring)))
        for event in log.events:
            writing.event(event)
        for space, store in stores.items():
            for kind, records in records_of_now(store, moving.ends, moving.within):
                for record in records.values():
                    assert record is not None
                    writing.record(kind, space, record)
                progress(min(writing.records, total), total)
        writing.end()
    is_beside = named.kind == "sqlite" and given_keys(None) is None
    return Exported(
        writing.records, writing.events, is_sealed, str(key_file_of(Path(named.path))) if is_beside else None
    )


def _keyring_in(store: BlockingStore) -> PepperKeyring:
    assert isinstance(store.keyring, PepperKeyring), "what outlives its process has peppers"
    return store.keyring


def import_store(file: str, url: str, progress: Progress, move: MoveSetting, *, sealed: bool | None = None) -> Exported:
    """Put what was exported into a store that is empty, or not there; one on a server may hold a part of it.

    Args:
        file: what ``export_to_file`` made.
        url: of the store, with the same keys; see ``open_store``. An SQLite file must not be there.
        progress: ``progress(done, total)``, called now and then.
        move: what moves settings where events have other ids; see ``copy_store``.
        sealed: whether a new store seals values; ``None``: as the environment says, else as the exported one does.

    Raises:
        InvalidInput: there is no such file, or it is not as it was written; a store in memory, or other keys.
        Conflict: the store holds something, or its file is there.
        StoreError: the store cannot be written.
    """
    named = store_url_of(url)
    if named.kind == "memory":
        raise InvalidInput(MEMORY)
    if not os.path.isfile(file) or not os.access(file, os.R_OK):
        raise InvalidInput(f"there is no file {file} that can be read; name what store export made")
    with open(file, "rb") as lines:
        importing = partial(_Importing, lines, file, progress, move, sealed)
        if named.kind != "sqlite":
            return importing(given_keyring(None, named.kind)).run(url)
        target = Path(os.path.abspath(named.path))
        insist_it_is_new(target)
        one = importing(_keyring_of_file(target))
        draft = target.with_name(f"{target.name}.{secrets.token_hex(8)}.new")
        keys = key_file_of(draft)
        try:
            if given_keys(None) is None:
                replace_key_file(keys, read_key_file(key_file_of(target)))
            made = one.run(f"sqlite:///{draft}?synchronous=OFF")  # it is synced once, at the end
            put_in_place(draft, target, None)
            return made
        finally:
            remove_draft(draft)


def _keyring_of_file(database: Path) -> PepperKeyring:
    """Return the keys that are given for a database that is not there yet, or stand beside it already."""
    insist_on_keys_of_source(database)
    keys = given_keys(None)
    return keyring_of(read_key_file(key_file_of(database)) if keys is None else keys)


class _Importing:
    """One import of a file that was found to be whole.

    Args:
        lines: the file.
        name: its name, for errors.
        progress, move, sealed: as for ``import_store``.
        keyring: of the store that it goes into.
    """

    def __init__(
        self, lines: IO[bytes], name: str, progress: Progress, move: MoveSetting, sealed: bool | None,
        keyring: PepperKeyring,
    ) -> None:  # fmt: skip
        self._lines, self._name, self._progress, self._move, self._sealed = lines, name, progress, move, sealed
        self._keyring, self._done, self._total = keyring, 0, 0
        self._events: list[Event] = []
        reading = self._again()
        for line in reading.lines(keyring, SteadyClock()):
            if isinstance(line.record, Event):
                self._events.append(line.record)
            else:
                self._total += 1
        self._name_in_mark = f"the export that ends with {reading.mac}"
        self._mark = new_mark(self._name_in_mark)

    def _again(self) -> Reading:
        """Return the file from its beginning."""
        self._lines.seek(0)
        return Reading(self._lines, self._name)

    def run(self, url: str) -> Exported:
        """Write all of it into a store."""
        reading = self._again()
        if self._was_begun(url, reading.head.sealed):
            abandon_store(url)
        with ExitStack() as opened:
            targets = {
                space: opened.enter_context(closing_now(open_copy(url, space, self._sealed, reading.head.sealed)))
                for space in SPACES
            }
            if any(True for store in targets.values() for kind in KINDS for _ in batches(store, kind)):
                raise Conflict("the store holds something; import into an empty one, or one that is not there")
            for space in SPACES:
                targets[space].run_now(put_mark, None, self._mark)
            log = Log(self._events, *reading.places)
            moved = put_log(log, targets[SPACES[0]], self._mark)
            self._put(reading, targets, moved)
            for space in SPACES[::-1]:
                targets[space].run_now(put_mark, self._mark, None)
        return Exported(self._done, len(self._events), False, None)

    def _was_begun(self, url: str, is_sealed: bool) -> bool:
        """Whether this import was begun before, so that the store holds a part."""
        with closing_now(open_copy(url, SPACES[0], self._sealed, is_sealed)) as store:
            mark = mark_of(store)
        if mark is not None and name_in(mark) != self._name_in_mark:
            raise Conflict(str(unfinished(mark)))
        return mark is not None

    def _put(self, reading: Reading, targets: Mapping[str, BlockingStore], moved: MovedEvents) -> None:
        """Write the records, in batches of a kind."""
        lines = (line for line in reading.lines(self._keyring, SteadyClock()) if line.kind != EVENT)
        for (kind, space), of_kind in groupby(lines, lambda line: (line.kind, line.space)):
            row_of = KINDS[kind].row
            while batch := [self._moved(line, moved) for line in islice(of_kind, BATCH)]:
                records = {str(row_of(record)[0]): record for record in batch}
                targets[space].run_now(put_records, kind, records, self._mark)
                self._done += len(batch)
                self._progress(self._done, self._total)

    def _moved(self, line: Line, moved: MovedEvents) -> Copied:
        """Return the record of a line as it is in the target."""
        assert not isinstance(line.record, Event)
        if not isinstance(line.record, Setting):
            return line.record
        return Setting(line.record.name, self._move(line.record.name, line.record.text, moved))
