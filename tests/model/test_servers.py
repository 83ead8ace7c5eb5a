"""The servers against the model and beside memory: the same answers at every instant, on a clock that the test sets."""

from __future__ import annotations

import pytest

from tests.helpers.effort import PROVEN, machine
from tests.model.machine import SessionsAndTokens
from tests.model.servers import CLUSTER, MARIADB, POSTGRES, VALKEY
from tests.model.worlds import MEMORY

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
