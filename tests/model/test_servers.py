"""The servers against the model and beside memory: the same answers at every instant, on a clock that the test sets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from session_tokens import Settings
from session_tokens.clock import ManualClock
from session_tokens.contract.queries import Get
from tests.helpers.effort import PROVEN, machine
from tests.model.machine import SessionsAndTokens
from tests.model.servers import CLUSTER, MARIADB, POSTGRES, VALKEY
from tests.model.worlds import MEMORY, StoreKind

pytestmark = pytest.mark.server


class ServerBesideMemory(SessionsAndTokens):
    close_every = 4


class PostgresBesideMemory(ServerBesideMemory):
    kinds = (MEMORY, POSTGRES)


class ValkeyBesideMemory(ServerBesideMemory):
    kinds = (MEMORY, VALKEY)


class ClusterBesideMemory(ServerBesideMemory):
    kinds = (MEMORY, CLUSTER)


class MariaDBBesideMemory(ServerBesideMemory):
    kinds = (MEMORY, MARIADB)


# Two examples at the least: the first that Hypothesis makes is always the simplest, forty times the first rule.
TestPostgresBesideMemory = PostgresBesideMemory.TestCase
TestPostgresBesideMemory.settings = machine(2, proving=PROVEN)

TestValkeyBesideMemory = ValkeyBesideMemory.TestCase
TestValkeyBesideMemory.settings = machine(3, proving=PROVEN)

TestClusterBesideMemory = ClusterBesideMemory.TestCase
TestClusterBesideMemory.settings = machine(2, proving=PROVEN)

TestMariaDBBesideMemory = MariaDBBesideMemory.TestCase
TestMariaDBBesideMemory.settings = machine(2, proving=PROVEN)


@pytest.mark.parametrize("kind", [POSTGRES, VALKEY, CLUSTER, MARIADB], ids=lambda kind: kind.name)
def test_threads_that_ask_side_by_side_are_told_the_time_that_is_set(kind: StoreKind) -> None:
    clock, together = ManualClock(), threading.Barrier(4)
    with TemporaryDirectory(prefix="session-tokens-") as folder, kind.open(Path(folder), Settings(), clock) as tokens:
        session = tokens.open_session("ann")

        def told(_: int) -> int:
            together.wait()
            return tokens.store.read_now([Get("session", session.id)]).now

        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                clock.advance(1)
                assert set(pool.map(told, range(4))) == {clock.now()}
