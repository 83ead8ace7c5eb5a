"""A name space that is not there, as a store that holds nothing, for what reads a store as a whole.

Whoever only reads makes nothing: a name space that was made in passing would keep values in clear beside sealed ones,
and want rights that its reader may not have.
"""

from __future__ import annotations

from ..crypto.minting import Keyring
from .common.copying import Dump
from .memory.store import MemoryStore


class Absent(MemoryStore):
    """Holds nothing.

    Args:
        keyring: of a name space that is there.
    """

    def __init__(self, keyring: Keyring) -> None:
        super().__init__()
        self.keyring = keyring

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return no records."""
        return Dump((), None)

    def count_now(self) -> int:
        """Return that there are none."""
        return 0

    def clear_now(self) -> None:
        """Do nothing."""
