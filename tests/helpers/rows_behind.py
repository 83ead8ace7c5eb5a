"""Rows of a store as somebody sees and writes them who has the database and none of the keys, on any kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import psycopg
import valkey

from session_tokens.stores.common.kinds import KINDS
from session_tokens.stores.common.store_url import store_url_of
from session_tokens.stores.valkey.json_rows import as_json, from_json
from session_tokens.stores.valkey.keys import LETTERS, STAMP_LENGTH
from tests.helpers.servers.mariadb import shared_server
from tests.helpers.sqlite_files import behind

Row = dict[str, Any]
"""The columns of a record by their names, and its ``mac``."""


def row_behind(url: str, kind: str, id: str) -> Row:
    """Return the row of a record."""
    names = [*KINDS[kind].names, "mac"]
    if store_url_of(url).kind == "valkey":
        _, mac, columns = _value_on_valkey(url, kind, id)
        return {"mac": mac, **dict(zip(names, columns, strict=False))}
    (row,) = _executed(url, f"SELECT {', '.join(names)} FROM {_table(url, kind)} WHERE id = %s", id)
    return dict(zip(names, row, strict=True))


def put_behind(url: str, kind: str, id: str, row: Row) -> None:
    """Write a row in the place of a record's."""
    if store_url_of(url).kind == "valkey":
        head, _, _ = _value_on_valkey(url, kind, id)
        columns = [row[name] for name in KINDS[kind].names if name in row]
        with _on_valkey(url) as client:
            client.set(_key_on_valkey(url, kind, id), b"\n".join((head, row["mac"], as_json(columns))))
        return
    changes = ", ".join(f"{name} = %s" for name in row)
    _executed(url, f"UPDATE {_table(url, kind)} SET {changes} WHERE id = %s", *row.values(), id)


def lose_keys(url: str) -> None:
    """Take away all that a store records of its keys."""
    if store_url_of(url).kind == "valkey":
        with _on_valkey(url) as client:
            assert client.delete(f"{{{url.partition('?namespace=')[2]}:00}}:m") == 1
    else:
        _executed(url, f"DELETE FROM {_table(url, '').removesuffix('s')}peppers")


def _table(url: str, kind: str) -> str:
    return {"sqlite": "", "postgres": "session_tokens.", "mysql": "session_tokens_"}[
        store_url_of(url).kind
    ] + f"{kind}s"


def _executed(url: str, statement: str, *values: Any) -> list[Any]:
    kind = store_url_of(url).kind
    if kind == "sqlite":
        return behind(Path(store_url_of(url).path), statement.replace("%s", "?"), *values)
    if kind == "postgres":
        with psycopg.connect(url) as connection:
            done = connection.execute(statement.encode(), values)
            return done.fetchall() if done.description else []
    with shared_server().connect(url.rpartition("/")[2]) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _on_valkey(url: str) -> valkey.Valkey:
    return valkey.Valkey.from_url(url.partition("?")[0])


def _key_on_valkey(url: str, kind: str, id: str) -> bytes:
    return b"{%b:00}:%b:%b" % (url.partition("?namespace=")[2].encode(), LETTERS[kind], id.encode())


def _value_on_valkey(url: str, kind: str, id: str) -> tuple[bytes, bytes, list[Any]]:
    """Return stamp and link, the MAC, and the columns; those that are absent at the end are not there."""
    with _on_valkey(url) as client:
        value = cast("bytes", client.get(_key_on_valkey(url, kind, id)))
    head, mac, text = value.split(b"\n", 2)
    assert len(head) >= STAMP_LENGTH
    return head, mac, from_json(text)
