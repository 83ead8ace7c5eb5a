"""The SQL of a name space: its tables and its functions, made of the files in ``sql`` and the table of kinds.

Theory of operation. What is asked alike of several kinds or sets of records is one text with names in braces; here it
is named. Columns and indexes follow from ``kinds``. Every function is made by ``CREATE OR REPLACE``, so that a
migration changes tables and then makes all functions anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from ..common.kinds import KINDS, RECORD_SETS, RECORDS, SESSION, TOKEN, Kind, RecordSet
from ..common.locking import COUNT_OF, NEWEST
from ..common.sql_tables import SIGNED, Dialect, columns_of, condition_of, schema_statements

STAMP = "stamp"
"""The column after the MAC: it changes with each write."""
WRITTEN_APART = (SESSION, TOKEN)
"""Kinds of which a change and a creation are different statements; the others are put in place."""

DIALECT = Dialect(
    {"name": 'text COLLATE "C"', "text": "text", "number": "bigint", "flag": "smallint"},
    living="deadline > 0",
    after_columns=(f"{STAMP} bigint NOT NULL",),
    table_options=lambda kind: " WITH (fillfactor = 80)" if kind in WRITTEN_APART else "",
    has_checks=True,
)

_LETTERS = {"session": "s", "token": "t"}
_WITH_HEIR = (
    "LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (s).successor OFFSET 0) AS r (h)\n"
    "        ON true"
)
_WITH_ENTRY = (
    "LEFT JOIN LATERAL (SELECT held FROM {schema}.owners AS held WHERE held.owner = (s).owner OFFSET 0) AS e (o)\n"
    "        ON true"
)
_WITH_SESSION = (
    "LEFT JOIN LATERAL (SELECT held FROM {schema}.sessions AS held WHERE held.id = (t).session_id OFFSET 0) AS f (s)\n"
    f"        ON true\n    {_WITH_ENTRY}\n    {_WITH_HEIR}"
)
_SNIPPETS = {
    "session_answers": "{schema}.session_json_v1(s), {schema}.owner_json_v1(o), NULL::text, NULL::text",
    "token_answers": (
        "{schema}.token_json_v1(t), {schema}.session_json_v1(s), {schema}.owner_json_v1(o),\n"
        "        {schema}.session_json_v1(h)"
    ),
    "session_item": "{schema}.session_json_v1(s), E'\\n', {schema}.owner_json_v1(o)",
    "token_item": (
        "{schema}.token_json_v1(t), E'\\n', {schema}.session_json_v1(s), E'\\n',\n"
        "            {schema}.owner_json_v1(o), E'\\n', {schema}.session_json_v1(h)"
    ),
    "with_entry": _WITH_ENTRY,
    "with_session": _WITH_SESSION,
}


@cache
def tables_text() -> str:
    """Return what makes the tables of a name space, ``{schema}``."""
    made = schema_statements(DIALECT, "{schema}.")
    return _sql("tables") + "".join(f"\n{statement};\n" for statement in made)


@cache
def functions_text() -> str:
    """Return what makes the functions of a name space, ``{schema}``, or makes them anew."""
    reading = (_filled(_sql("reading"), _SNIPPETS), *_listings())
    return "\n".join((*_functions_of_kinds(), *reading, *_writing(), _sql("events"), _commit()))


def _sql(name: str) -> str:
    return files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def json_function(kind: Kind) -> str:
    """Return the name of the function that makes a JSON array of a record: its columns, its MAC and its stamp."""
    return f"{kind.name.replace(' ', '_')}_json_v1"


def _functions_of_kinds() -> Iterator[str]:
    for kind in KINDS.values():
        yield (
            f"CREATE OR REPLACE FUNCTION {{schema}}.{json_function(kind)}(r {{schema}}.{kind.table}) RETURNS text\n"
            "LANGUAGE sql STABLE AS $$\n"
            f"    SELECT CASE WHEN r.{kind.key} IS NOT NULL THEN\n"
            f"        json_build_array({columns_of(kind, 'r')}, r.{STAMP})::text END\n$$;\n"
        )
    for what, (kind, column) in RECORDS.items():
        yield _get(f"get_{what}", kind, column)
    for name, of in RECORD_SETS.items():
        yield _members(name, of)
        yield _filled(_sql("count"), {"name": f"{COUNT_OF}{name}", **_names(of)})
    yield _members(f"{NEWEST}sessions_of", RECORD_SETS["sessions_of"], descending=" DESC")


def _get(name: str, kind: Kind, column: str) -> str:
    alone = f"{{schema}}.{json_function(kind)}(r), NULL::text, NULL::text, NULL::text"
    joins = {"session": _WITH_ENTRY, "token": _WITH_SESSION}.get(kind.name, "")
    values = {
        "name": name, "table": kind.table, "column": column, "letter": _LETTERS.get(kind.name, "r"), "with": joins,
        "answers": _SNIPPETS.get(f"{kind.name}_answers", alone),
    }  # fmt: skip
    return _filled(_sql("get"), values)


def _names(of: RecordSet) -> dict[str, str]:
    """Return what the text about a set calls its members and the condition that makes them so."""
    where = condition_of(of.where, DIALECT)
    return {"table": of.kind.table, "of": of.of, "where": f" AND held.{where}" if where else ""}


def _members(name: str, of: RecordSet, descending: str = "") -> str:
    record = f"{{schema}}.{json_function(of.kind)}(r)"
    return _filled(_sql("members"), {"name": name, "record": record, "descending": descending, **_names(of)})


def _listings() -> Iterator[str]:
    yield _filled(_sql("listing"), {"newest": "", "follows": ">", "descending": "", **_SNIPPETS})
    yield _filled(_sql("listing"), {"newest": NEWEST, "follows": "<", "descending": " DESC", **_SNIPPETS})


def _writing() -> Iterator[str]:
    for kind in WRITTEN_APART:
        yield _filled(_sql("write"), {"table": kind.table, "key": kind.key, "made_columns": _assigned(kind, "made")})


def _assigned(kind: Kind, source: str) -> str:
    names = [*kind.names[1:], SIGNED, STAMP]
    return ",\n            ".join(f"{name} = {source}.{name}" for name in names)


def _commit() -> str:
    rest = [kind for kind in KINDS.values() if kind not in WRITTEN_APART]
    puts = (
        _filled(_sql("put"), {"table": kind.table, "key": kind.key, "excluded_columns": _assigned(kind, "excluded")})
        for kind in rest
    )
    return _filled(_sql("commit"), {
        "rest": "".join(puts).rstrip("\n"),
        "sets": ", ".join(f"'{name}'" for name in (*RECORD_SETS, f"{NEWEST}sessions_of")),
        "stamps": "\n".join((*_stamps_of_records(), *_stamps_of_sets())),
    })  # fmt: skip


def _stamps_of_records() -> Iterator[str]:
    for what, (kind, column) in RECORDS.items():
        yield (
            f"    WHEN '{what}' THEN\n"
            f"        SELECT r.stamp INTO present FROM {{schema}}.{kind.table} r WHERE r.{column} = part_key;"
        )


def _stamps_of_sets() -> Iterator[str]:
    sets = [(name, of, "") for name, of in RECORD_SETS.items()]
    for name, of, descending in (*sets, (f"{NEWEST}sessions_of", RECORD_SETS["sessions_of"], " DESC")):
        yield _filled(_SET_STAMP, {"name": name, "descending": descending, **_names(of)})
    for name, of in RECORD_SETS.items():
        yield _filled(_COUNT_STAMP, {"name": f"{COUNT_OF}{name}", **_names(of)})


_SET_STAMP = """\
    WHEN '{name}' THEN
        SELECT string_agg(m.id || '=' || m.stamp, ' ' ORDER BY m.created_at, m.id) INTO present FROM (
            SELECT held.id, held.stamp, held.created_at FROM {schema}.{table} AS held
            WHERE held.{of} = whose{where} ORDER BY held.created_at{descending}, held.id{descending} LIMIT most
        ) AS m;"""
_COUNT_STAMP = """\
    WHEN '{name}' THEN
        SELECT count(*) INTO present FROM {schema}.{table} AS held WHERE held.{of} = part_key{where};"""
