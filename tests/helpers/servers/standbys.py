"""Standbys of a PostgreSQL server: made, waited for, cut off from what their primary commits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.helpers.servers.postgres import PostgresServer, execute, running_server, text_of
from tests.helpers.waiting import stop_still, wait_until


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Run a standby that has all that its primary has."""
    with running_server(primary) as standby:
        standby.catch_up(primary)
        yield standby


def cut_off(standby: PostgresServer) -> None:
    """Let a standby receive nothing more: what its primary commits from now on is lost with that."""
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
        until_s = time.monotonic() + 30
        while connection.execute("SELECT FROM pg_stat_wal_receiver").fetchone() is not None:
            assert time.monotonic() < until_s, "it still receives"
            time.sleep(0.01)


@contextmanager
def receiving_nothing(standby: PostgresServer) -> Iterator[None]:
    """Let a standby stay connected and take nothing in, as one that hangs."""
    (receiver,) = [pid for pid in standby.pids() if "walreceiver" in text_of(Path(f"/proc/{pid}/cmdline"))]
    stop_still(receiver)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(receiver, signal.SIGCONT)


def set_up(server: PostgresServer, name: str, value: str) -> None:
    """Set what a server is set to, and wait until new connections say so."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: execute(server.url(), f"SHOW {name}") == [(value,)])


def waiting_for_a_standby(server: PostgresServer) -> list[int]:
    """Return the processes of a server whose commits wait for a synchronous standby."""
    rows = execute(server.url(), "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return [pid for (pid,) in rows]
