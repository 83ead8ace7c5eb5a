"""What the tests of the console stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.testing import ManualClock
from tests.helpers.console_desk import Desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    clock = ManualClock()
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield Desk(tokens, clock)
