"""The library against the naive model: each store gives the model's answers, and the invariants hold at each step."""

from __future__ import annotations

from tests.model.machine import SessionsAndTokens
from tests.model.proving import effort
from tests.model.worlds import MEMORY, SQLITE


class MemoryAgainstTheModel(SessionsAndTokens):
    kinds = (MEMORY,)


class SqliteAgainstTheModel(SessionsAndTokens):
    kinds = (SQLITE,)


TestMemoryAgainstTheModel = MemoryAgainstTheModel.TestCase
TestMemoryAgainstTheModel.settings = effort(150, proving=5000)

TestSqliteAgainstTheModel = SqliteAgainstTheModel.TestCase
TestSqliteAgainstTheModel.settings = effort(30, proving=1000)
