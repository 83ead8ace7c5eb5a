"""The library against the naive model: each store gives the model's answers, and the invariants hold at each step."""

from __future__ import annotations

from tests.helpers.effort import PROVEN, machine
from tests.model.machine import SessionsAndTokens
from tests.model.worlds import MEMORY, SQLITE


class MemoryAgainstTheModel(SessionsAndTokens):
    kinds = (MEMORY,)


class SqliteAgainstTheModel(SessionsAndTokens):
    kinds = (SQLITE,)


TestMemoryAgainstTheModel = MemoryAgainstTheModel.TestCase
TestMemoryAgainstTheModel.settings = machine(60, proving=5000)

TestSqliteAgainstTheModel = SqliteAgainstTheModel.TestCase
TestSqliteAgainstTheModel.settings = machine(12, proving=PROVEN)
