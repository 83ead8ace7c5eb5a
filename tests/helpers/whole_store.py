"""Everything that a store keeps, as bytes: what a thief of the database has."""

from __future__ import annotations

from pathlib import Path

import psycopg
import valkey
from psycopg import sql

from session_tokens.stores.common.store_url import store_url_of
from tests.helpers.servers.mariadb import shared_server


def stolen(url: str) -> bytes:
    """Return every value in the database that a URL names, without its keys."""
    kind = store_url_of(url).kind
    if kind == "sqlite":
        path = Path(store_url_of(url).path)
        return b"".join(part.read_bytes() for part in path.parent.glob(f"{path.name}*") if part.suffix != ".key")
    if kind == "postgres":
        return _of_postgres(url)
    if kind == "mysql":
        database = url.rpartition("/")[2].partition("?")[0]
        tables = shared_server().execute("SHOW TABLES", database)
        return b"".join(
            b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
            for (table,) in tables
            for row in shared_server().execute(f"SELECT * FROM {table}", database)
        )
    return _of_valkey(url)


def _of_postgres(url: str) -> bytes:
    parts = []
    with psycopg.connect(url.partition("?")[0]) as connection:
        query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'session_tokens%'"
        for schema, table in connection.execute(query).fetchall():
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table)))
            parts += [row[0].encode() for row in rows.fetchall()]
    return b"".join(parts)


def _of_valkey(url: str) -> bytes:
    address, _, namespace = url.partition("?namespace=")
    parts: list[bytes] = []
    with valkey.Valkey.from_url(address) as client:
        for key in client.scan_iter(f"{{{namespace}*"):
            kind = client.type(key)
            if kind == b"string":
                parts.append(client.get(key))
            elif kind == b"hash":
                parts += [word for pair in client.hgetall(key).items() for word in pair]
            elif kind == b"stream":
                parts.append(repr(client.xrange(key)).encode())
            else:
                parts.append(repr(client.zrange(key, 0, -1)).encode())
    return b"".join(parts)
