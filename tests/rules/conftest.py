"""What the tests of rules share: a clock that moves when told, the API over memory, and a choice to sweep or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_tokens import Event, SessionTokens, Settings
from session_tokens.testing import ManualClock


@pytest.fixture
def opening(clock: ManualClock) -> Iterator[Callable[..., SessionTokens]]:
    """Open the API with the settings of one test; no session limit unless the test sets one."""
    opened: list[SessionTokens] = []

    def open_with(**settings: Any) -> SessionTokens:
        settings = {"max_sessions": None} | settings
        opened.append(SessionTokens.open("memory://", settings=Settings(**settings), clock=clock, sweep=False))
        return opened[-1]

    yield open_with
    for tokens in opened:
        tokens.close()


@pytest.fixture
def st(opening: Callable[..., SessionTokens]) -> SessionTokens:
    return opening()


@pytest.fixture
def told(st: SessionTokens) -> list[Event]:
    """The events of `st`, from its opening on."""
    events: list[Event] = []
    st.subscribe(events.append)
    return events


@pytest.fixture(params=["unswept", "swept"])
def settle(request: pytest.FixtureRequest) -> Callable[[SessionTokens], None]:
    """Sweep until nothing is left to sweep, or do nothing: what is asked afterwards must be the same."""

    def sweep_all(tokens: SessionTokens) -> None:
        if request.param == "swept":
            while tokens.sweep():
                pass

    return sweep_all
