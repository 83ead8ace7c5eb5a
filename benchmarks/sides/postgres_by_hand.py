"""Measure what one would write by hand with psycopg: the least that a verification and a durable command can cost.

The tables are copies of those of the store, with its columns, rows and indexes. Ten connections that stay open, each
with prepared statements; a task waits for a free one.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Any

import psycopg

from benchmarks.sides.many_tasks import Loop
from benchmarks.sides.names import VALUE, picks
from benchmarks.sides.serving import count_right, serve

CONNECTIONS = 10
COPIES = """
    CREATE SCHEMA by_hand;
    CREATE TABLE by_hand.sessions (LIKE session_tokens.sessions INCLUDING ALL);
    CREATE TABLE by_hand.tokens (LIKE session_tokens.tokens INCLUDING ALL);
    CREATE TABLE by_hand.owners (LIKE session_tokens.owners INCLUDING ALL);
    INSERT INTO by_hand.sessions SELECT * FROM session_tokens.sessions;
    INSERT INTO by_hand.tokens SELECT * FROM session_tokens.tokens;
    ANALYZE by_hand.sessions; ANALYZE by_hand.tokens;
"""
SELECT = b"""
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, s.*, o.*
    FROM by_hand.sessions s LEFT JOIN by_hand.owners o ON o.owner = s.owner WHERE s.lookup = %s
"""
UPDATE = b"""
    UPDATE by_hand.sessions SET label = 'desk', version = version + 1, mac = %s, stamp = stamp + 1
    WHERE id = %s AND deadline > (extract(epoch FROM clock_timestamp()) * 1000)::bigint RETURNING id
"""
LOCK = b"SELECT * FROM by_hand.sessions WHERE id = %s FOR UPDATE"
INSERT = b"""
    INSERT INTO by_hand.tokens (id, owner, lookup, kind, session_id, value, is_json, created_at, own_deadline, deadline,
        held_since, epoch, version, mac, stamp)
    SELECT %s, s.owner, %s, 'session-bound', s.id, %s, 0, 0, 1, 1, 0, 0, 1, %s, 1
    FROM by_hand.sessions s WHERE s.id = %s RETURNING session_id
"""
MAC = "key-id--:" + "0" * 64


class Measured:
    """The store's rows once more, and statements on them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = Loop()
        self.blocking = psycopg.connect(url, autocommit=True)
        self.rows: list[tuple[str, str]] = []
        self.made = 0

    def prepare(self, sessions: int) -> dict[str, Any]:
        self.blocking.execute(COPIES.encode())
        self.rows = self.blocking.execute("SELECT id, lookup FROM by_hand.sessions ORDER BY id").fetchall()
        assert len(self.rows) == sessions
        self.loop.run(self._connect())
        return {"sessions": sessions}

    async def _connect(self) -> None:
        self.free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self.free.put_nowait(await psycopg.AsyncConnection.connect(self.url, autocommit=True))

    def time_operation(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        numbers = picks(count, len(self.rows))
        if operation == "select_blocking":
            return count_right(self._select_blocking, [(number,) for number in numbers], [True] * count)
        return self.loop.time_calls(getattr(self, f"_{operation}"), numbers, tasks)

    def _select_blocking(self, number: int) -> bool:
        id, lookup = self.rows[number]
        row = self.blocking.execute(SELECT, (lookup,), prepare=True).fetchone()
        return row is not None and row[1] == id

    async def _select(self, number: int) -> bool:
        id, lookup = self.rows[number]
        connection = await self.free.get()
        row = await (await connection.execute(SELECT, (lookup,), prepare=True)).fetchone()
        self.free.put_nowait(connection)
        return row is not None and row[1] == id

    async def _update(self, number: int) -> bool:
        id, _ = self.rows[number]
        connection = await self.free.get()
        row = await (await connection.execute(UPDATE, (MAC, id), prepare=True)).fetchone()
        self.free.put_nowait(connection)
        return row is not None and row[0] == id

    async def _transaction(self, number: int) -> bool:
        id, _ = self.rows[number]
        connection = await self.free.get()
        async with connection.transaction():
            read = await (await connection.execute(LOCK, (id,), prepare=True)).fetchone()
            row = await (await connection.execute(UPDATE, (MAC, id), prepare=True)).fetchone()
        self.free.put_nowait(connection)
        return read is not None and row is not None and read[0] == row[0] == id

    async def _insert(self, number: int) -> bool:
        id, _ = self.rows[number]
        self.made += 1
        made = f"tok_{self.made:024d}"
        connection = await self.free.get()
        row = await (await connection.execute(INSERT, (made, made, VALUE, MAC, id), prepare=True)).fetchone()
        self.free.put_nowait(connection)
        return row is not None and row[0] == id

    def describe(self) -> dict[str, str]:
        """Tell the versions."""
        server = self.blocking.info.parameter_status("server_version") or "?"
        kind = psycopg.pq.__impl__
        return {"postgresql server": server, "psycopg client": f"{version('psycopg')} ({kind})"}


if __name__ == "__main__":
    side = Measured(sys.argv[1])
    serve({"prepare": side.prepare, "time_operation": side.time_operation, "describe": side.describe})
