"""The stores against each other: SQLite beside memory, on one clock, restarted in between, answering the same."""

from __future__ import annotations

from tests.helpers.effort import machine
from tests.model.machine import SessionsAndTokens
from tests.model.worlds import MEMORY, SQLITE


class SqliteBesideMemory(SessionsAndTokens):
    kinds = (MEMORY, SQLITE)


TestSqliteBesideMemory = SqliteBesideMemory.TestCase
TestSqliteBesideMemory.settings = machine(12, proving=1000)
