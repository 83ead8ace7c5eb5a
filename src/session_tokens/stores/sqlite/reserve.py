"""Space that is kept beside a database, so that sessions can be ended when the disk is full.

Theory of operation. ``<database>-reserve`` is a file of zeros. The writer who finds the disk full deletes it, and as
long as it cannot be made again, every writer of every process carries out only what ends things or frees space. What
that writes goes into the write-ahead log. The first thing done with the freed space is to take the log over into the
database, so that the log begins anew in the place that it has: enough for any number of log-outs.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

BYTES: Final = 5_242_880
"""What taking the log over may make the database grow by (SQLite does so from 1,000 pages on), and some for the log."""
FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """The reserve of one database."""

    __slots__ = ("_new", "_path")

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-reserve"
        self._new = f"{self._path}.new"

    def is_kept(self) -> bool:
        """Whether it is there; it takes a microsecond."""
        try:
            return os.stat(self._path).st_size >= BYTES
        except OSError:
            return False

    def keep(self) -> bool:
        """Make it where it is not there; return ``False`` if the disk has no room for it.

        Where it cannot be made for another reason there is none, which is no reason to refuse anything.
        """
        if self.is_kept():
            return True
        try:
            space = os.statvfs(os.path.dirname(os.path.abspath(self._path)))
            if space.f_bavail * space.f_frsize < BYTES:  # an attempt would take what a log-out needs meanwhile
                return False
            descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                _allocate(descriptor)
            finally:
                os.close(descriptor)
            os.replace(self._new, self._path)
        except OSError as error:
            if error.errno not in FULL:
                return True
            self._unlink(self._new)
            return False
        return True

    def give_up(self) -> None:
        """Give its space to others; twice is the same."""
        self._unlink(self._path)

    def _unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            pass  # another process did, or it never was


def _allocate(descriptor: int) -> None:
    """Take the space, not only the length: a file with a hole keeps nothing.

    Raises:
        OSError: there is none.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, BYTES)
        return
    zeros = bytes(65_536)
    for place in range(0, BYTES, len(zeros)):
        os.pwrite(descriptor, zeros, place)
