"""Tells that nobody has committed to an SQLite file, by the header of its WAL index, without asking SQLite.

Theory of operation. In write-ahead mode all processes that have a file open share memory, the file that ends in
``-shm``. It begins with a header of 48 bytes (walformat.html, "The WAL-Index Header"), which each commit changes last
of all: SQLite takes a read transaction, compares that header with the one that it knows, and if they are equal there
is nothing new, which is what ``PRAGMA data_version`` tells. Comparing it here tells the same for a hundredth of that.
A header that is being written differs from both, and one that differs only means that SQLite is asked.

The memory is mapped by the very file descriptor that SQLite has for it. One of our own would have to be closed some
day, and that would take away all locks that this process holds on the file, SQLite's among them. What is mapped is
there for as long as the connection that it was mapped for, and no longer used after that.

Where the system has no ``/proc/self/fd`` nothing is mapped, and SQLite is asked.
"""

from __future__ import annotations

import os
from typing import Any, Final

FILES: Final = "/proc/self/fd"
HEADER_BYTES: Final = 48
_PROT_READ = _MAP_SHARED = 1  # on Linux, whatever the processor


class WalIndex:
    """A mapped header.

    Args:
        address: where it is.
        unmap: takes it away again.

    Attributes:
        header: has the bytes as they are now in ``raw``.
    """

    __slots__ = ("_address", "_unmap", "header")

    def __init__(self, address: int, unmap: Any) -> None:
        import ctypes

        self._address = address
        self._unmap = unmap
        self.header = (ctypes.c_char * HEADER_BYTES).from_address(address)

    def __del__(self) -> None:
        self._unmap(self._address, HEADER_BYTES)

    @classmethod
    def of(cls, path: str) -> WalIndex | None:
        """Return the header for a database that this process has open; ``None`` where it cannot be had."""
        try:
            shared = os.stat(f"{path}-shm")
            file = next(file for file in map(int, os.listdir(FILES)) if _is_same(file, shared))
        except (OSError, StopIteration):
            return None
        if shared.st_size < HEADER_BYTES:
            return None
        try:
            import ctypes  # a program that asks once never pays for it

            library = ctypes.CDLL(None)
        except (ImportError, OSError):  # a Python without it, or a library that is linked in
            return None
        library.mmap.restype = ctypes.c_void_p
        library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        address = library.mmap(None, HEADER_BYTES, _PROT_READ, _MAP_SHARED, file, 0)
        return None if address in (None, ctypes.c_void_p(-1).value) else cls(address, library.munmap)


def _is_same(file: int, shared: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(file), shared)
    except OSError:  # the one with which they are listed is closed by now
        return False
