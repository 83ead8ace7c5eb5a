"""The file that ``store export`` writes: all records as lines of JSON that people and other programs can read.

Theory of operation. Each line is ``{"kind": …, "record": {…}, "mac": …}``: first a head, then events, then records
with the names of their columns (``kinds``), what is absent left out, and at the end how many there are. Records of the
second name space say so with ``"space"``. The MAC of a line covers that of the line before: nobody without the pepper
can change, add, take away or move one, and what is damaged is known at its line. It is made of the JSON, not of the
bytes: a file that ``jq -c`` wrote anew is as good.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final, NamedTuple

from ...clock import Clock
from ...crypto.minting import PepperKeyring
from ...errors import CorruptRecord, InvalidInput, StoreError
from ...events import Event, place_of_event
from ...settings import DATA_BYTES_MAX
from .copying import SPACES, Checks, Copied, check_checks
from .kinds import KINDS, Kind

HEAD: Final = "session-tokens store"
EVENT: Final = "event"
END: Final = "end"
VERSION: Final = 1
LINE_BYTES_MAX: Final = 16 * DATA_BYTES_MAX
"""The longest line: the largest data, each character of it escaped twice."""
Said = dict[str, Any]

_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_FRESH: Final = "export anew, or take a whole copy of the file"


class Head(NamedTuple):
    """What the first line says.

    Attributes:
        version: of the format.
        made_at: when, on the store's clock, in milliseconds since the epoch.
        sealed: whether the store seals values, which are opened here.
        records: how many there are in the store, about, as it is in use.
        trimmed, newest: ids between which the events stand; see ``LogRead``.
        keys: by what a store that these go into knows whether it has the keys.
    """

    version: int
    made_at: int
    sealed: bool
    records: int
    trimmed: str
    newest: str
    keys: Checks


class Line(NamedTuple):
    """One line that was read.

    Attributes:
        kind: of the record, or ``EVENT``.
        space: the name space; empty for events.
        record: what stands there.
    """

    kind: str
    space: str
    record: Copied | Event


class Writing:
    """Writes the lines of one file.

    Args:
        keyring: of the store.
        write: takes each line, as bytes.

    Attributes:
        records: how many were written.
        events: how many were written.
    """

    def __init__(self, keyring: PepperKeyring, write: Callable[[bytes], object]) -> None:
        self._keyring = PepperKeyring(keyring.peppers)  # that of a sealed store makes MACs of its own
        self._write, self._mac = write, ""
        self.records = self.events = 0

    def head(self, head: Head) -> None:
        """Write the first line."""
        self._put({"kind": HEAD, "record": head._asdict()})

    def event(self, event: Event) -> None:
        """Write an event."""
        self._put({"kind": EVENT, "record": event.to_dict()})
        self.events += 1

    def record(self, kind: str, space: str, record: Copied) -> None:
        """Write a record.

        Raises:
            StoreError: it is longer than a line may be.
        """
        columns = zip(KINDS[kind].names, KINDS[kind].row(record), strict=True)
        said = {"kind": kind, "record": {name: value for name, value in columns if value is not None}}
        self._put({**said, "space": space} if space else said)
        self.records += 1

    def end(self) -> None:
        """Write the last line, without which a file is not whole."""
        self._put({"kind": END, "record": {"records": self.records, "events": self.events}})

    def _put(self, said: Said) -> None:
        self._mac = self._keyring.mac(_covered(self._mac, said))
        line = _as_json({**said, "mac": self._mac}).encode() + b"\n"
        if len(line) > LINE_BYTES_MAX:
            raise StoreError(
                f"a {said['kind']} record is longer than a line may be ({LINE_BYTES_MAX} bytes); take session-tokens "
                "store backup, which keeps any"
            )
        self._write(line)


def _covered(before: str, said: Said) -> bytes:
    """Return what the MAC of a line covers."""
    return b"export\0" + before.encode() + b"\0" + _as_json(said).encode()


class Reading:
    """Reads the lines of one file, from its beginning.

    Args:
        lines: the file, at its beginning.
        name: its name, for errors.

    Attributes:
        head: what the first line says; nobody vouches for it before ``lines`` was begun.
        places: those of ``trimmed`` and ``newest``.
        mac: of the last line that was read by ``lines``.

    Raises:
        InvalidInput: it is none of these files, or of a version that is not known here.
    """

    def __init__(self, lines: IO[bytes], name: str) -> None:
        self._lines, self._name, self._number = lines, name, 0
        self.mac = ""
        self._first = self._next()
        if self._first.get("kind") != HEAD:
            raise InvalidInput(f"{name} was not made by session-tokens store export; name a file that was")
        head = self._first.get("record")
        if not isinstance(head, dict):
            raise self._damaged()
        version = head.get("version")
        if version != VERSION:
            raise InvalidInput(
                f"{name} is of version {json.dumps(version)[:20]} of the format, and this program knows {VERSION}; "
                "take the version of session-tokens that made it"
            )
        try:
            self.head = Head(**head)
            self.places = (place_of_event(self.head.trimmed), place_of_event(self.head.newest))
            if not all(isinstance(ids, dict) and all(map(_is_text, ids.values())) for ids in self.head.keys.values()):
                raise ValueError("what tells a key is none")
        except (TypeError, ValueError, AttributeError, InvalidInput) as error:
            raise self._damaged() from error

    def lines(self, keyring: PepperKeyring, clock: Clock) -> Iterator[Line]:
        """Return all lines between the first and the last.

        Args:
            keyring: of a store that they may go into.
            clock: for the records.

        Raises:
            InvalidInput: other keys, a line that is not as it was written, or the last one is not there.
        """
        check_checks(self.head.keys, keyring)
        counts = {EVENT: 0, END: 0}
        self._check(self._first, keyring)
        while (said := self._next()).get("kind") != END:
            self._check(said, keyring)
            counts[EVENT if said["kind"] == EVENT else END] += 1
            yield self._line(said, clock)
        self._check(said, keyring)
        if said["record"] != {"records": counts[END], "events": counts[EVENT]}:
            raise self._damaged()
        if self._lines.read(1):
            raise InvalidInput(f"{self._name} goes on after its last line, {self._number}; {_FRESH}")

    def _next(self) -> Said:
        line = self._lines.readline(LINE_BYTES_MAX + 1)
        if not line or (not line.endswith(b"\n") and len(line) <= LINE_BYTES_MAX):
            raise InvalidInput(
                f"{self._name} is cut off after line {self._number}, so it holds only a part; {_FRESH}"
                if self._number
                else f"{self._name} was not made by session-tokens store export; name a file that was"
            )
        self._number += 1
        if len(line) > LINE_BYTES_MAX:
            raise InvalidInput(f"line {self._number} of {self._name} is longer than {LINE_BYTES_MAX} bytes; {_FRESH}")
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._damaged() from error
        if not isinstance(said, dict):
            raise self._damaged()
        return said

    def _damaged(self) -> InvalidInput:
        return InvalidInput(f"line {self._number} of {self._name} is not as it was written; {_FRESH}")

    def _check(self, said: Said, keyring: PepperKeyring) -> None:
        """Accept a line whose MAC is right, and take that off."""
        mac = said.pop("mac", None)
        try:
            is_right = isinstance(mac, str) and keyring.mac_is_right(mac, _covered(self.mac, said))
        except UnicodeEncodeError:  # half of a surrogate pair
            is_right = False
        if not is_right:
            raise self._damaged()
        self.mac = mac

    def _line(self, said: Said, clock: Clock) -> Line:
        kind, space = said["kind"], said.get("space", "")
        try:
            if kind == EVENT:
                return Line(EVENT, "", Event(**said["record"]))
            if space not in SPACES:
                raise KeyError(space)
            return Line(kind, space, _record_of(KINDS[kind], said["record"], clock))
        except (KeyError, TypeError, ValueError, CorruptRecord) as error:
            raise self._damaged() from error


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


def _record_of(kind: Kind, columns: Mapping[str, Any], clock: Clock) -> Copied:
    """Return the record in columns by name.

    Raises:
        KeyError: there is no such column.
    """
    unknown = columns.keys() - set(kind.names)
    if unknown:
        raise KeyError(*unknown)
    record: Copied = kind.record([columns.get(name) for name in kind.names], clock)
    return record
