"""A use that cannot be written down fails no verification: full, read-only and locked stores, on both shells."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
import valkey

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.testing import ManualClock
from session_tokens.touching import QUIET_S
from tests.helpers.full_disk import full_at
from tests.helpers.servers.postgres import shared_server
from tests.helpers.servers.valkey import ValkeyServer

PEPPER = bytes(range(32))
WINDOW_S = 4


class Host(Protocol):
    """A store that can be brought to take no write."""

    url: str
    clock: ManualClock | None

    def unwritable(self, id: str) -> AbstractContextManager[None]: ...


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "sessions.db"
        self.url = f"sqlite:///{self.path}"
        self.clock: ManualClock | None = ManualClock()


class FullSqlite(Sqlite):
    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Let no file of this process grow any more, or be written at all."""
        with full_at(0):
            yield


class LockedSqlite(Sqlite):
    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Hold the file's one write transaction from elsewhere."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield


class Postgres:
    clock: ManualClock | None = None

    def __init__(self) -> None:
        self.url = shared_server().new_database()


class ReadOnlyPostgres(Postgres):
    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Make every transaction that begins from now on read-only."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
            others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
            connection.execute(others, (name, connection.info.backend_pid))
            yield
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
            connection.execute(others, (name, connection.info.backend_pid))


class LockedPostgres(Postgres):
    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Hold the session's row from elsewhere."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT FROM session_tokens.sessions WHERE id = %s FOR UPDATE", (id,))
            yield


class FullValkey:
    clock: ManualClock | None = None

    def __init__(self, server: ValkeyServer) -> None:
        self.url = server.url

    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Leave the server no memory."""
        with valkey.from_url(self.url) as client:  # type: ignore[no-untyped-call]  # the driver's
            client.config_set("maxmemory", 1)
            yield
            client.config_set("maxmemory", 0)


class UnsavingValkey(FullValkey):
    def __init__(self, server: ValkeyServer) -> None:
        super().__init__(server)
        self.folder = server.folder

    @contextmanager
    def unwritable(self, id: str) -> Iterator[None]:
        """Let the server fail to save, after which it refuses writes: a folder is in the way of its file."""
        with valkey.from_url(self.url) as client:  # type: ignore[no-untyped-call]  # the driver's
            (self.folder / "dump.rdb" / "in the way").mkdir(parents=True)
            client.config_set("save", "3600 1")
            client.bgsave()
            while client.info("persistence")["rdb_last_bgsave_status"] != "err":
                threading.Event().wait(0.01)
            yield
            client.config_set("save", "")


HOSTS = (
    "full sqlite", "locked sqlite", "read-only postgres", "locked postgres", "full valkey", "unsaving valkey",
)  # fmt: skip


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path, private_valkey: Callable[..., ValkeyServer]) -> Iterator[Host]:
    if request.param.endswith("sqlite"):
        yield FullSqlite(tmp_path) if request.param.startswith("full") else LockedSqlite(tmp_path)
    elif request.param.endswith("valkey"):
        yield (FullValkey if request.param.startswith("full") else UnsavingValkey)(private_valkey())
    else:
        postgres = ReadOnlyPostgres() if request.param.startswith("read-only") else LockedPostgres()
        yield postgres
        shared_server().drop_database(postgres.url)


def make_due(host: Host) -> None:
    """Let a use of a session be one to be written down: a sixteenth of its window has passed."""
    if host.clock is not None:
        host.clock.advance(WINDOW_S / 8)
    else:
        threading.Event().wait(WINDOW_S / 16 + 0.05)


class Seconds:
    """The seconds that the quiet after a failure is counted by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_use_that_cannot_be_written_down_fails_no_verification(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with SessionTokens.open(host.url, pepper=PEPPER, clock=host.clock, sweep=False) as tokens:
        seconds = tokens.touches.monotonic_s = Seconds()
        issued = tokens.open_session("ann", idle_timeout=WINDOW_S)
        make_due(host)
        with host.unwritable(issued.id), caplog.at_level(logging.WARNING, "session_tokens"):
            assert tokens.verify_session(issued.secret) == issued.record
            assert tokens.touches.failed == 1
            for _ in range(8):
                assert tokens.verify_session(issued.secret) == issued.record
            assert tokens.touches.failed == 1, "no other is tried for a while"
            seconds.now += QUIET_S
            assert tokens.verify_session(issued.secret) == issued.record
            assert tokens.touches.failed == 2
        told = [record for record in caplog.records if record.name == "session_tokens.touching"]
        assert len(told) == 1, "told once a minute"
        assert issued.secret not in told[0].getMessage()

        seconds.now += QUIET_S
        touched = tokens.verify_session(issued.secret)
        assert touched is not None
        assert touched.last_seen_at > issued.session.last_seen_at
        assert tokens.touches.failed == 2


def test_an_awaited_use_that_cannot_be_written_down_fails_no_verification(host: Host) -> None:
    async def use() -> None:
        async with await AsyncSessionTokens.open(host.url, pepper=PEPPER, clock=host.clock, sweep=False) as tokens:
            seconds = tokens.touches.monotonic_s = Seconds()
            issued = await tokens.open_session("ann", idle_timeout=WINDOW_S)
            make_due(host)
            with host.unwritable(issued.id):
                at_once = await asyncio.gather(*[tokens.verify_session(issued.secret) for _ in range(16)])
                assert at_once == [issued.record] * 16
                assert 1 <= (failed := tokens.touches.failed) <= 16
                assert await tokens.verify_session(issued.secret) == issued.record
                assert tokens.touches.failed == failed

            seconds.now += QUIET_S
            touched = await tokens.verify_session(issued.secret)
            assert touched is not None
            assert touched.last_seen_at > issued.session.last_seen_at

    asyncio.run(use())


def test_threads_at_once_are_all_answered(host: Host) -> None:
    with SessionTokens.open(host.url, pepper=PEPPER, clock=host.clock, sweep=False) as tokens:
        issued = tokens.open_session("ann", idle_timeout=WINDOW_S)
        make_due(host)
        answers: list[object] = []

        def verify() -> None:
            try:
                answers.append(tokens.verify_session(issued.secret))
            except StoreUnavailable as error:
                answers.append(error)

        with host.unwritable(issued.id):
            threads = [threading.Thread(target=verify) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert answers == [issued.record] * 12
