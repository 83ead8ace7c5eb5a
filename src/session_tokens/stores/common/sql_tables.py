"""SQL that follows from the table of kinds: what makes their tables and indexes, and the lists that statements name.

A database's own ways are in its ``Dialect``; everything else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from .kinds import KINDS, Index, Kind, Type

SIGNED = "mac"
"""The column after those of a kind: the MAC over them."""


class Dialect(NamedTuple):
    """How a database writes what ``table_statement`` and ``index_statement`` say.

    Attributes:
        types: what each type of column is called.
        living: the condition that a session was not ended.
        after_columns: columns of every table that follow the MAC, such as a stamp.
        table_options: answers what stands behind the columns of a kind's table.
        has_partial_indexes: whether an index may hold some of the rows.
        has_checks: whether rows are checked against the conditions of their kind.
    """

    types: Mapping[Type, str]
    living: str
    after_columns: tuple[str, ...] = ()
    table_options: Callable[[Kind], str] = lambda kind: ""
    has_partial_indexes: bool = True
    has_checks: bool = False


class NamedStatement(NamedTuple):
    """A statement that makes an index.

    Attributes:
        name: of the index.
        kind: whose table it is of.
        holds: what of it.
        where: the condition of its rows, ``TRUE`` for all.
        text: SQL.
    """

    name: str
    kind: Kind
    holds: Index
    where: str
    text: str


def table_statement(kind: Kind, dialect: Dialect, prefix: str) -> str:
    """Return the statement that makes a kind's table.

    Args:
        kind: whose.
        dialect: of the database.
        prefix: what stands before the name of every table.
    """
    lines = [f"{column.name} {dialect.types[column.type]}{'' if column.may_be_null else ' NOT NULL'}"
             for column in kind.columns]  # fmt: skip
    lines[0] += " PRIMARY KEY"
    lines += [f"{SIGNED} {dialect.types['name']} NOT NULL", *dialect.after_columns]
    if dialect.has_checks:
        lines += [f"CONSTRAINT {kind.table}_{name} CHECK ({condition})" for name, condition in kind.checks]
    body = ",\n    ".join(lines)
    return f"CREATE TABLE {prefix}{kind.table} (\n    {body}\n){dialect.table_options(kind)}"


def index_statements(
    kinds: Iterable[Kind], dialect: Dialect, prefix: str, of_name: str = ""
) -> Iterator[NamedStatement]:
    """Return the statements that make the indexes of some kinds.

    Args:
        kinds: whose.
        dialect: of the database.
        prefix: what stands before the name of every table.
        of_name: what stands before the name of every index; the names of indexes have no schema in PostgreSQL.
    """
    for kind in kinds:
        for index in kind.indexes:
            name = f"{of_name}{kind.table}_{index.name}"
            where = condition_of(index.where, dialect) if dialect.has_partial_indexes else ""
            unique = "UNIQUE " if index.is_unique else ""
            text = f"CREATE {unique}INDEX {name} ON {prefix}{kind.table} ({', '.join(index.columns)})"
            yield NamedStatement(name, kind, index, where or "TRUE", f"{text} WHERE {where}" if where else text)


def condition_of(where: str, dialect: Dialect) -> str:
    """Return a condition of ``kinds`` as a database has it."""
    return where.replace("{living}", dialect.living)


def schema_statements(dialect: Dialect, prefix: str, of_name: str = "") -> Iterator[str]:
    """Return the statements that make the tables and indexes of all kinds."""
    for kind in KINDS.values():
        yield table_statement(kind, dialect, prefix)
    for statement in index_statements(KINDS.values(), dialect, prefix, of_name):
        yield statement.text


def pepper_ranges(parameter: str) -> list[str]:
    """Return where rows would stand that need a pepper: tables, each with a condition on its key id and the next.

    They are looked up, named or signed under it; that an outcome was derived with it is not among these.

    Args:
        parameter: how the database writes a parameter; each condition has two.
    """
    return [
        f"{kind.table} WHERE {column} >= {parameter} AND {column} < {parameter}"
        for kind in KINDS.values()
        for column in dict.fromkeys((*(("lookup", kind.key) if kind.is_looked_up else ()), SIGNED))
    ]


def columns_of(kind: Kind, alias: str = "") -> str:
    """Return the columns of a kind and its MAC, as a statement lists them.

    Args:
        kind: whose.
        alias: of the table, empty for none.
    """
    letter = f"{alias}." if alias else ""
    return ", ".join(f"{letter}{name}" for name in (*kind.names, SIGNED))
