"""Rows of a PostgreSQL store that somebody else holds, so that a commit waits for them."""

from __future__ import annotations

import threading
import time
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


WAIT_S = 30.0


def wait_for_waiting(url: str) -> None:
    """Wait until a commit waits for the row; that none does for half a minute is an error."""
    over = time.monotonic() + WAIT_S
    with psycopg.connect(url, autocommit=True) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        while connection.execute(waiting).fetchone() == (0,):
            assert time.monotonic() < over, "nothing waits for the row"
            threading.Event().wait(0.005)
