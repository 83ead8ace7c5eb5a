"""What a copy asks of PostgreSQL: its records in order of their keys, how many there are, and to be emptied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..common.copying import Dump, Setting
from .check import TABLES
from .queries import Statement
from .rows import Decoder
from .schema import BEGIN, Script

WHOLE_TABLE_TIMEOUT_S = 600.0


def dump_statement(schema: str, kind: str, after: str, limit: int) -> Statement:
    """Ask for a batch of records; see ``Copyable.dump_now``."""
    table = next(table for table in TABLES if table.kind == kind)
    text = (
        f"SELECT t.{table.key}, {table.json} FROM {{schema}}.{table.name} t"
        f" WHERE t.{table.key} > %s ORDER BY t.{table.key} LIMIT %s"
    )
    return Statement(text.format(schema=schema), (after, limit))


def dump_of(kind: str, rows: Sequence[tuple[str, str]], decoder: Decoder, limit: int) -> Dump:
    """Return the records in the reply."""
    decode: dict[str, Callable[[str], Any]] = {
        "owner": lambda text: decoder.entry(text)[0],
        "setting": lambda text: Setting(*decoder.setting(text)[0]),
        "service key": lambda text: decoder.key(text)[0],
        "session": lambda text: decoder.session(text)[0],
        "token": lambda text: decoder.token(text)[0],
        "idempotency": lambda text: decoder.idempotency(text)[0],
    }
    records = [decode[kind](text) for _, text in rows]
    return Dump(records, None if len(rows) < limit else rows[-1][0])


def counting(schema: str) -> Script:
    """Ask how many records there are in the store's name space."""
    counts = ", ".join(f"(SELECT count(*) FROM {schema}.{table.name})" for table in TABLES)
    rows = yield Statement(f"SELECT {counts}", ())
    return sum(rows[0])


def clearing(schema: str) -> Script:
    """Delete every record of the store's name space, and which peppers it had, all or none."""
    yield BEGIN
    for table in TABLES:
        yield Statement(f"DELETE FROM {schema}.{table.name}", ())
    yield Statement(f"DELETE FROM {schema}.peppers", ())
    yield Statement("COMMIT", ())
