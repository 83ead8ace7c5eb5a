"""What a check of PostgreSQL looks at beneath the records: are the functions ours, is each index there and complete?

Theory of operation. What should be there is read from the migrations' own text, which this library made the tables
with. An index is compared with its table by counting and adding up the keys twice in one snapshot: once by going
through the table, once in the order that only the index gives, where the plan says that it is the one. Nothing of this
needs an extension; making things anew needs the role that owns them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..common.findings import Finding, Findings
from ..common.kinds import KINDS, Kind
from ..common.sql_tables import index_statements
from .address import Address
from .functions import DIALECT, functions_text
from .queries import Statement
from .schema import PlainStatement, Script, in_schema, patience

NOT_THE_OWNER = "it can be mended by the role that owns the tables"
_FUNCTION = re.compile(r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) \{schema\}\.(\w+)\(.*?\bAS \$\$(.*?)\$\$;", re.DOTALL)
_LATEST_FIRST = {
    "session": "o.version DESC",
    "token": "o.version DESC",
    "owner": "o.epoch DESC, o.watermark DESC, o.disabled_at",
    "service key": "o.expires_at",
}
"""Kind → in which order the latest of several rows comes first (a key is only ever ended sooner); else by writing."""
_BY_TABLE = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
_BY_INDEX = ("enable_seqscan", "enable_indexonlyscan", "enable_bitmapscan", "enable_sort", "enable_incremental_sort")


class _Index(NamedTuple):
    """One index as it should be."""

    name: str
    kind: Kind
    columns: str
    where: str
    text: str


def expected_indexes() -> Iterator[_Index]:
    """Return every index that there should be, in the order in which they are made."""
    for kind in KINDS.values():
        name = f"{kind.table}_pkey"
        text = f"ALTER TABLE {{schema}}.{kind.table} ADD CONSTRAINT {name} PRIMARY KEY ({kind.key})"
        yield _Index(name, kind, kind.key, "true", text)
    for name, kind, holds, where, text in index_statements(KINDS.values(), DIALECT, "{schema}."):
        yield _Index(name, kind, ", ".join(holds.columns), where, text)


class Foundations:
    """A look at the functions and the indexes of one name space.

    Args:
        address: where they are.
        fix: whether to mend what can be mended.
        findings: told of each thing that is wrong.
    """

    def __init__(self, address: Address, fix: bool, findings: Findings) -> None:
        self._address = address
        self._schema = address.schema
        self._namespace = address.namespace
        self._fix = fix
        self._findings = findings
        self._owns = False

    def functions(self) -> Script:
        """See that each function is there and is ours; return whether all of them are now."""
        query = """
            SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = %s
        """
        there: dict[str, str] = dict((yield Statement(query, (self._namespace,))))
        query = """
            SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = 'sessions'
        """
        owns = yield Statement(query, (self._namespace,))
        self._owns = bool(owns and owns[0][0])
        whole = True
        for found in _FUNCTION.finditer(functions_text()):
            name = found[1]
            if there.get(name) == self._ours(found[2]):
                continue
            said = "it is not there" if name not in there else "its text is not that of this version"
            if self._fix and self._owns:
                yield PlainStatement(self._ours(found[0]))
            else:
                whole = False
            self._tell("function", name, said, "made anew")
        return whole

    def _ours(self, text: str) -> str:
        return in_schema(self._address, text)

    def _tell(self, kind: str, id: str, said: str, done: str) -> None:
        what = "index" if kind == "index" else "foundation"
        if self._fix and not self._owns:
            said = f"{said}; {NOT_THE_OWNER}"
        self._findings.add(Finding(kind, id, said, done if self._fix and self._owns else None, what))

    def indexes(self) -> Script:
        """See that each index is there, in use, and holds what its table holds."""
        query = """
            SELECT c.relname, i.indisvalid AND i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s
        """
        there: dict[str, bool] = dict((yield Statement(query, (self._namespace,))))
        for index in expected_indexes():
            if index.name not in there:
                if index.name.endswith("_pkey"):
                    yield from self._twins(index)
                yield from self._mend(index, "it is not there", self._ours(index.text))
            elif not there[index.name]:
                yield from self._mend(index, "it is not in use, because it was not made to its end", None)
            elif (yield from self._differs(index)):
                yield from self._mend(index, f"it does not hold what the table {index.kind.table} holds", None)

    def _mend(self, index: _Index, said: str, text: str | None) -> Script:
        if self._fix and self._owns:
            yield PlainStatement(text or f"REINDEX INDEX {self._schema}.{index.name}")
        self._tell("index", index.name, said, "made anew")

    def _differs(self, index: _Index) -> Script:
        """Whether an index and its table hold different keys; ``False`` too where the index cannot be asked alone."""
        key, table = index.kind.key, f"{self._schema}.{index.kind.table}"
        rows = f"SELECT hashtextextended({key}, 0) AS hash FROM {table} WHERE {index.where}"
        ordered = f"{rows} ORDER BY {index.columns} OFFSET 0"
        add_up = "SELECT count(*), coalesce(sum(hash), 0)::text FROM ({}) AS rows"
        yield PlainStatement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield patience(self._address)
        yield self._without("jit")  # what is off counts as very dear, and would be compiled
        yield self._without("max_parallel_workers_per_gather", to="0")
        yield self._without(*_BY_TABLE)
        by_table = yield Statement(add_up.format(rows), ())
        yield self._without(*_BY_TABLE, to="on")
        yield self._without(*_BY_INDEX)
        plan = yield Statement(f"EXPLAIN (FORMAT JSON) {ordered}", ())
        by_index = by_table
        if _names_in(plan[0][0]) == {index.name}:
            by_index = yield Statement(add_up.format(ordered), ())
        yield PlainStatement("COMMIT")
        return by_index != by_table

    def _without(self, *names: str, to: str = "off") -> Statement:
        """Set what the planner may do, for this transaction alone."""
        return Statement(f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(names))}", [
            word for name in names for word in (name, to)
        ])  # fmt: skip

    def _twins(self, index: _Index) -> Script:
        """Find rows that share a key, as when a table without its primary key was restored twice; keep the latest."""
        key, table = index.columns, f"{self._schema}.{index.kind.table}"
        order = _LATEST_FIRST.get(index.kind.name, "age(o.xmin)")
        query = f"SELECT {key}, count(*) FROM {table} GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"
        for id, count in (yield Statement(query, ())):
            done = None
            if self._fix:
                query = f"""
                    WITH gone AS (
                        DELETE FROM {table} AS t WHERE t.{key} = %s AND t.ctid <> (
                            SELECT o.ctid FROM {table} o WHERE o.{key} = %s
                            ORDER BY {order}, o.ctid LIMIT 1)
                        RETURNING t.*)
                    INSERT INTO {self._schema}.quarantine
                    SELECT {self._schema}.now_v1(), %s, %s, 'a row of the same key was written later',
                        to_jsonb(gone)::text FROM gone
                """
                yield Statement(query, (id, id, index.kind.table, id))
                done = "kept the latest, moved the others to quarantine"
            self._findings.add(Finding(index.kind.name, id, f"it is there {count} times", done, "twin"))


def _names_in(plan: Any) -> set[str]:
    """Return the names of the indexes that a plan, or a part of one, goes through."""
    if isinstance(plan, list):
        return set().union(*map(_names_in, plan))
    if not isinstance(plan, dict):
        return set()
    names = {plan["Index Name"]} if "Index Name" in plan else set()
    return names.union(*map(_names_in, plan.values()))
