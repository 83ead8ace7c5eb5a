"""Reads all records of a kind from PostgreSQL, in order of their keys, for a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .copying import Dump, Setting
from .postgres_checking import TABLES
from .postgres_decoding import Decoder
from .postgres_reading import Statement


def dump_statement(schema: str, kind: str, after: str, limit: int) -> Statement:
    """Ask for a batch of records; see ``Copyable.dump_now``."""
    table = next(table for table in TABLES if table.kind == kind)
    text = (
        f"SELECT t.{table.key}, {table.json} FROM {{schema}}.{table.name} t"
        f" WHERE t.{table.key} > %s ORDER BY t.{table.key} LIMIT %s"
    )
    return Statement(text.format(schema=schema), (after, limit))


def dump_of(kind: str, rows: Sequence[tuple[str, str]], decoder: Decoder, limit: int) -> Dump:
    """Answer the records in the reply."""
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
