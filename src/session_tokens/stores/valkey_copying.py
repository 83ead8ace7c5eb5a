"""Reads all records of a kind from a Valkey or Redis server, in the order of its own table, for a copy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from .copying import Dump, Setting
from .valkey_codec import Reply, ValkeyCodec

_BEGINNINGS = {
    "owner": b"e:",
    "setting": b"c:",
    "service key": b"k:",
    "session": b"s:",
    "token": b"t:",
    "idempotency": b"i:",
}

Dumping = Generator[list[bytes], Reply, Dump]


def dumping(codec: ValkeyCodec, kind: str, after: str, limit: int) -> Dumping:
    """Yield commands, take their replies, answer a batch of records; see ``Copyable.dump_now``.

    A place is a cursor of ``SCAN``, which holds as long as the server runs.
    """
    decode: dict[str, Callable[[bytes], Any]] = {
        "owner": codec.entry,
        "setting": lambda value: Setting(*codec.setting(value)),
        "service key": codec.service_key,
        "session": codec.session,
        "token": codec.token,
        "idempotency": codec.outcome,
    }
    pattern = codec.prefix + _BEGINNINGS[kind] + b"*"
    cursor, keys = yield [b"SCAN", (after or "0").encode("ascii"), b"MATCH", pattern, b"COUNT", b"%d" % limit]
    values = (yield [b"MGET", *keys]) if keys else []
    records = [decode[kind](value) for value in values if value is not None]
    return Dump(records, None if cursor == b"0" else cursor.decode("ascii"))
