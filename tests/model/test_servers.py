"""The servers against the model and beside memory: the same answers at every instant, on a clock that the test sets."""

from __future__ import annotations

import pytest

from tests.helpers.effort import machine
from tests.model.machine import SessionsAndTokens
from tests.model.servers import POSTGRES, VALKEY
from tests.model.worlds import MEMORY

pytestmark = pytest.mark.server


class PostgresBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, POSTGRES)


class ValkeyBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, VALKEY)


TestPostgresBesideMemory = PostgresBesideMemory.TestCase
TestPostgresBesideMemory.settings = machine(3, proving=200)

TestValkeyBesideMemory = ValkeyBesideMemory.TestCase
TestValkeyBesideMemory.settings = machine(5, proving=300)
