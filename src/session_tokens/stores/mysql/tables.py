"""What makes the tables of a name space in MariaDB or MySQL, from the table of kinds.

There are no partial indexes here: where one should hold only some records, the column that marks them stands in it
before their order, or one that is computed for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from ..common.kinds import KINDS, Index, Kind
from ..common.sql_tables import Dialect, NamedStatement, table_statement

STAMP = "stamp"
"""The column after the MAC: a random number, another one each time that the row is written."""
LIVING = "ended_at IS NULL"

_COMPUTED = {
    "sessions": "is_detached TINYINT AS (IF(ended_at IS NULL AND detached_at IS NOT NULL, 1, NULL)) STORED",
    "tokens": "is_unassigned TINYINT AS (IF(unassigned_at IS NOT NULL, 1, NULL)) STORED",
}
_TELLS = {
    "{living}": "ended_at",
    "{living} AND detached_at IS NOT NULL": "is_detached",
    "session_id IS NULL AND owner IS NOT NULL": "session_id",
    "listed = 1": "listed",
    "unassigned_at IS NOT NULL": "is_unassigned",
    "unassigned_at IS NOT NULL AND tag IS NOT NULL": "is_unassigned",
}
"""The condition of a partial index → the column that shows who fulfils it; others show by the first column."""


DIALECT = Dialect(
    {"name": "VARBINARY(768)", "text": "MEDIUMBLOB", "number": "BIGINT", "flag": "TINYINT"},
    LIVING,
    (f"{STAMP} BIGINT NOT NULL",),
    lambda kind: " ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    has_partial_indexes=False,
)


def _dialect(kind: Kind) -> Dialect:
    computed = [_COMPUTED[kind.table]] if kind.table in _COMPUTED else []
    return DIALECT._replace(after_columns=(*DIALECT.after_columns, *computed))


def _indexed(index: Index) -> tuple[str, ...]:
    told_by = _TELLS.get(index.where)
    return index.columns if told_by is None else (*index.columns[:-2], told_by, *index.columns[-2:])


def index_statements(prefix: str) -> Iterator[NamedStatement]:
    """Yield what makes the indexes of all kinds."""
    for kind in KINDS.values():
        for index in kind.indexes:
            name = f"{prefix}{kind.table}_{index.name}"
            unique = "UNIQUE " if index.is_unique else ""
            text = f"CREATE {unique}INDEX {name} ON {prefix}{kind.table} ({', '.join(_indexed(index))})"
            yield NamedStatement(name, kind, index, "TRUE", text)


def table_statements(prefix: str) -> Iterator[str]:
    """Yield what makes the tables that are not there, of kinds and others, and the rows that stand for locks."""
    keys: dict[str, str] = {}
    for index in index_statements(prefix):
        made = index.text.removeprefix("CREATE ").replace(f" ON {prefix}{index.kind.table}", "")
        keys[index.kind.table] = f"{keys.get(index.kind.table, '')},\n    {made}"
    for kind in KINDS.values():
        begin, _, end = table_statement(kind, _dialect(kind), prefix).rpartition("\n)")
        begin = begin.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
        # The one column that is a word of SQL here.
        yield f"{begin}{keys.get(kind.table, '')}\n){end}".replace("\n    key ", "\n    `key` ")
    text = files(__package__).joinpath("sql", "tables.sql").read_text("utf-8").replace("{p}", prefix)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    yield from (statement.strip() for statement in "\n".join(lines).split(";") if statement.strip())
