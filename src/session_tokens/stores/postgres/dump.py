"""What a copy asks of PostgreSQL: its records in order of their keys, how many there are, and to be emptied."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.copying import Dump
from ..common.kinds import KINDS, Kind
from .event_log import clearing_events
from .functions import json_function
from .queries import Statement
from .rows import Decoder
from .schema import BEGIN, Script

WHOLE_TABLE_TIMEOUT_S = 600.0


def dump_statement(schema: str, kind: Kind, after: str, limit: int) -> Statement:
    """Ask for a batch of records, each as its key and its JSON; see ``Copyable.dump_now``."""
    text = (
        f"SELECT t.{kind.key}, {schema}.{json_function(kind)}(t) FROM {schema}.{kind.table} t"
        f" WHERE t.{kind.key} > %s ORDER BY t.{kind.key} LIMIT %s"
    )
    return Statement(text, (after, limit))


def dump_of(kind: Kind, rows: Sequence[tuple[str, str]], decoder: Decoder, limit: int) -> Dump:
    """Return the records in the reply."""
    records = [decoder.record(kind, text)[0] for _, text in rows]
    return Dump(records, None if len(rows) < limit else rows[-1][0])


def counting(schema: str) -> Script:
    """Ask how many records there are in the store's name space."""
    counts = ", ".join(f"(SELECT count(*) FROM {schema}.{kind.table})" for kind in KINDS.values())
    rows = yield Statement(f"SELECT {counts}", ())
    return sum(rows[0])


def clearing(schema: str) -> Script:
    """Delete every record of the store's name space, and which peppers it had, all or none."""
    yield BEGIN
    for kind in KINDS.values():
        yield Statement(f"DELETE FROM {schema}.{kind.table}", ())
    yield from clearing_events(schema)
    yield Statement(f"DELETE FROM {schema}.peppers", ())
    yield Statement("COMMIT", ())
