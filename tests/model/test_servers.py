"""The servers against the model and beside memory: the same answers at every instant, on a clock that the test sets."""

from __future__ import annotations

from tests.model.machine import SessionsAndTokens
from tests.model.proving import effort
from tests.model.servers import POSTGRES, VALKEY
from tests.model.worlds import MEMORY


class PostgresBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, POSTGRES)


class ValkeyBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, VALKEY)


TestPostgresBesideMemory = PostgresBesideMemory.TestCase
TestPostgresBesideMemory.settings = effort(3, proving=200)

TestValkeyBesideMemory = ValkeyBesideMemory.TestCase
TestValkeyBesideMemory.settings = effort(5, proving=300)
