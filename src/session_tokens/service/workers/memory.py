"""Memory that the workers of a service share: what each carries, and counts that they keep together.

Theory of operation. The supervisor makes a file without a name and hands it to each worker, which maps it. A worker
writes its own load, and reads those of the others without a lock: a number is written whole. Counts stand in tables of
sets: a name's digest says in which set it is, and of a full set the oldest count makes room. A set is changed under a
lock of the file's range, which the system takes back from a process that dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from ..tallies import NAMES_MAX, Change, Tally

WORKERS_MAX: Final = 64
SLOTS_A_WORKER: Final = 4
"""A reload has as many workers again, until those before are done, and some may be about to start or to end."""
TALLIES: Final = ("failures", "rates", "makings", "entrance")

_HEAD = struct.Struct("=16sd8x")  # a key to hash with, how many slots there are
_LOAD = struct.Struct("=4d")  # whether there is a worker, its connections, its streams, nothing
_ENTRY = struct.Struct("=16s2d")
_WAYS = 8
_SETS = -(-NAMES_MAX // _WAYS)
_SET_BYTES = _WAYS * _ENTRY.size
_LOADS_AT = _HEAD.size
_TABLES_AT = _LOADS_AT + SLOTS_A_WORKER * WORKERS_MAX * _LOAD.size
_TABLE_BYTES = _SETS * _SET_BYTES
_BYTES = _TABLES_AT + len(TALLIES) * _TABLE_BYTES
_NOBODY = bytes(16)


class SharedMemory:
    """The memory, as one process sees it.

    Args:
        file: it as an open file; ``make`` makes one.

    Attributes:
        file: the open file, to hand on.
        slots: how many workers can be counted at a time.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._memory = mmap.mmap(file, _BYTES)
        self._key, slots = _HEAD.unpack_from(self._memory)
        self.slots = int(slots)

    @classmethod
    def make(cls, workers: int) -> SharedMemory:
        """Return new memory, in which nothing is counted.

        Args:
            workers: how many there are, up to ``WORKERS_MAX``.

        Raises:
            OSError: there is no room for it.
        """
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("session-tokens workers")
        else:
            with tempfile.TemporaryFile() as made:
                file = os.dup(made.fileno())
        os.ftruncate(file, _BYTES)
        # The key is nobody's to know, so that nobody can choose names that fall into one set.
        os.pwrite(file, _HEAD.pack(os.urandom(16), workers * SLOTS_A_WORKER), 0)
        return cls(file)

    def load(self, slot: int) -> SharedLoad:
        """Return what the worker of a slot carries."""
        return SharedLoad(self._memory, slot, self.slots)

    def tallies(self, name: str) -> SharedTallies:
        """Return the counts of a name in ``TALLIES``."""
        return SharedTallies(self.file, self._memory, self._key, _TABLES_AT + TALLIES.index(name) * _TABLE_BYTES)

    def close(self) -> None:
        """Let go of the file; what is mapped goes with the last object that uses it."""
        os.close(self.file)


class SharedLoad:
    """What one worker carries: written by it alone, read by all."""

    accepts_at_once = 1

    def __init__(self, memory: mmap.mmap, slot: int, slots: int) -> None:
        self._numbers = memoryview(memory)[_LOADS_AT : _LOADS_AT + slots * _LOAD.size].cast("d")
        self._at = slot * 4
        self._slots = range(0, slots * 4, 4)

    def begin(self) -> None:
        """Say that there is a worker that takes connections."""
        self._numbers[self._at] = 1.0

    def end(self) -> None:
        """Say that it takes nothing more."""
        self._numbers[self._at] = 0.0

    def clear(self) -> None:
        """Say that there is no worker; of one that died, what it carried stands here still."""
        self.end()
        self._numbers[self._at + 1] = self._numbers[self._at + 2] = 0.0

    @property
    def connections(self) -> int:
        """How many connections it holds."""
        return int(self._numbers[self._at + 1])

    @connections.setter
    def connections(self, number: int) -> None:
        self._numbers[self._at + 1] = float(number)

    @property
    def streams(self) -> int:
        """How many streams of events it sends."""
        return int(self._numbers[self._at + 2])

    @streams.setter
    def streams(self, number: int) -> None:
        self._numbers[self._at + 2] = float(number)

    @property
    def all_streams(self) -> int:
        """How many streams all workers send together."""
        return int(sum(self._numbers[slot + 2] for slot in self._present()))

    @property
    def is_above_others(self) -> bool:
        """Whether another worker holds fewer connections, by two or more."""
        numbers = self._numbers
        mine = numbers[self._at + 1]
        return any(numbers[slot + 1] + 1 < mine for slot in self._present())

    def _present(self) -> Iterator[int]:
        return (slot for slot in self._slots if self._numbers[slot])


class SharedTallies:
    """Counts that all workers keep together."""

    def __init__(self, file: int, memory: mmap.mmap, key: bytes, at: int) -> None:
        self._file = file
        self._memory = memory
        self._key = key
        self._at = at

    def change(self, name: str, change: Change) -> Tally:
        """Change one count and return it; no other worker changes it meanwhile."""
        digest = blake2b(name.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()
        at = self._at + int.from_bytes(digest[:4], "little") % _SETS * _SET_BYTES
        with self._held(at):
            ways = list(_ENTRY.iter_unpack(self._memory[at : at + _SET_BYTES]))
            found = next((number for number, way in enumerate(ways) if way[0] == digest), None)
            if found is None:
                changed = change(None)
                found = min(range(_WAYS), key=lambda number: (ways[number][0] != _NOBODY, ways[number][1]))
            else:
                changed = change(ways[found][1:])
            _ENTRY.pack_into(self._memory, at + found * _ENTRY.size, digest, *changed)
        return changed

    @contextmanager
    def _held(self, at: int) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SET_BYTES, at)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SET_BYTES, at)
