"""Rows of a PostgreSQL store that somebody else holds, so that a commit waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def row_held(url: str, id: str) -> Iterator[None]:
    """Hold the row of a session from a connection of somebody else."""
    with psycopg.connect(url) as connection:
        held = connection.execute("SELECT id FROM session_tokens.sessions WHERE id = %s FOR UPDATE", (id,)).fetchall()
        assert held == [(id,)]
        yield


def wait_for_waiting(url: str) -> None:
    """Wait until a commit waits for the row."""
    with psycopg.connect(url, autocommit=True) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        while connection.execute(waiting).fetchone() == (0,):
            threading.Event().wait(0.005)
