"""The servers against the model and beside memory: the same answers at every instant, on a clock that the test sets."""

from __future__ import annotations

import pytest

from tests.helpers.effort import PROVEN, machine
from tests.model.machine import SessionsAndTokens
from tests.model.servers import CLUSTER, MARIADB, POSTGRES, VALKEY
from tests.model.worlds import MEMORY

pytestmark = pytest.mark.server


class PostgresBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, POSTGRES)


class ValkeyBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, VALKEY)


class ClusterBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, CLUSTER)


class MariaDBBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, MARIADB)


TestPostgresBesideMemory = PostgresBesideMemory.TestCase
TestPostgresBesideMemory.settings = machine(2, proving=PROVEN)

TestValkeyBesideMemory = ValkeyBesideMemory.TestCase
TestValkeyBesideMemory.settings = machine(3, proving=PROVEN)

TestClusterBesideMemory = ClusterBesideMemory.TestCase
TestClusterBesideMemory.settings = machine(1, proving=PROVEN // 10)

TestMariaDBBesideMemory = MariaDBBesideMemory.TestCase
TestMariaDBBesideMemory.settings = machine(1, proving=PROVEN)
