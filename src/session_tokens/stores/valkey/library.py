"""The text of the function library that a Valkey or Redis server runs for the store.

``python -m session_tokens.stores.valkey.library`` writes it out, for an administrator who loads it.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files

LIBRARY = "session_tokens_v1"
NEEDED = (
    "GET *", "MGET *", "SET * x", "MSET * x", "DEL *", "EXISTS *", "PERSIST *", "PTTL *", "ZADD * 1 x", "ZREM * x",
    "ZSCORE * x", "ZCARD *", "ZRANGE * 0 1", "ZRANGEBYSCORE * 0 1", "ZREVRANGE * 0 1",
    "ZREVRANGEBYSCORE * 1 0", "HGETALL *", "HSET * x x", "XADD * 1-1 e x", "XRANGE * - +", "XLEN *",
    "XTRIM * MAXLEN 1", "RENAME * *", "TIME", "SCAN 0", "FCALL_RO x 1 *",
)  # fmt: skip
"""Commands that the library and the store give, each with as many words as it has; ``*`` is a key of the store."""


_PARTS = (
    "library_v1.lua", "library_v1_reads.lua", "library_v1_joint.lua", "library_v1_events.lua", "library_v1_rights.lua",
    "library_v1_partitions.lua",
)  # fmt: skip


@cache
def library_text() -> bytes:
    """Return the text of the function library."""
    return b"".join([files(__package__).joinpath(part).read_bytes() for part in _PARTS])


if __name__ == "__main__":
    sys.stdout.buffer.write(library_text())
