"""The fixtures that tests of several folders share; what only one folder needs is in its conftest.

What a fixture needs is imported when it is used, so that tests of the core load no server's driver.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from session_tokens.testing import ManualClock
from tests.helpers.effort import QUICK

if TYPE_CHECKING:
    import httpx

    from tests.helpers.running_service import RunningService
    from tests.helpers.servers.mariadb import MariaDBServer
    from tests.helpers.servers.pgbouncer import Bouncer
    from tests.helpers.servers.postgres import PostgresServer
    from tests.helpers.servers.valkey import ValkeyServer
    from tests.helpers.service_world import World


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when it is moved."""
    return ManualClock()


# --- servers of the stores ---


@pytest.fixture(scope="session")
def valkey_server() -> ValkeyServer:
    """The one Valkey server of this process's tests; do it no harm."""
    from tests.helpers.servers.valkey import shared_server

    return shared_server()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The address of that server, with a key prefix that no other test uses."""
    return f"{valkey_server.url}?namespace=t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def private_valkey() -> Iterator[Callable[..., ValkeyServer]]:
    """Start Valkey servers of the test's own, to kill and restart; they are removed when it is over."""
    from tests.helpers.servers.valkey import ValkeyServer

    servers: list[ValkeyServer] = []

    def start(*words: str) -> ValkeyServer:
        server = ValkeyServer(*words)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """The one PostgreSQL server of this process's tests; do it no harm."""
    from tests.helpers.servers.postgres import shared_server

    return shared_server()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="class")
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database for all tests of a class, which empty it: making one takes longer than a test."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def private_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the test's own, to kill and restart."""
    from tests.helpers.servers.postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def bouncer(postgres_server: PostgresServer) -> Iterator[Bouncer]:
    """A PgBouncer of the test's own, before the shared PostgreSQL."""
    from tests.helpers.servers.pgbouncer import running_bouncer

    with running_bouncer(postgres_server.port) as bouncer:
        yield bouncer


@pytest.fixture(scope="session")
def mariadb_server() -> MariaDBServer:
    """The one MariaDB server of this process's tests; do it no harm."""
    from tests.helpers.servers.mariadb import shared_server

    return shared_server()


@pytest.fixture
def mariadb_url(mariadb_server: MariaDBServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = mariadb_server.new_database()
    yield url
    mariadb_server.drop_database(url)


@pytest.fixture(scope="class")
def mariadb_database(mariadb_server: MariaDBServer) -> Iterator[str]:
    """The URL of a database for all tests of a class, which empty it: making tables takes longer than a test."""
    url = mariadb_server.new_database()
    yield url
    mariadb_server.drop_database(url)


@pytest.fixture
def private_mariadb() -> Iterator[MariaDBServer]:
    """A MariaDB server of the test's own, to kill and restart."""
    from tests.helpers.servers.mariadb import running_server

    with running_server() as server:
        yield server


# --- the service ---


@pytest.fixture(params=["memory"] if QUICK else ["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """A service in this process on a manual clock, over a store without a server."""
    from session_tokens import AsyncSessionTokens
    from tests.helpers.service_world import World

    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    pepper = None if request.param == "memory" else b"p" * 32
    async with await AsyncSessionTokens.open(url, clock=clock, sweep=False, pepper=pepper) as tokens:
        made = World(tokens, clock)
        async with made.http:
            yield made


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all tests that need a real process and do not stop it."""
    from tests.helpers.running_service import RunningService

    folder = tmp_path_factory.mktemp("service")
    service = RunningService(f"sqlite:///{folder}/tokens.db", folder / "log")
    yield service
    service.stop()


@pytest.fixture
def admin(running: RunningService) -> Iterator[httpx.Client]:
    """A client of the running service with its admin key."""
    with running.http() as client:
        yield client
