"""The API over memory and over SQLite, with the calls to the store counted: fixtures for conftests to import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.contract.store import BlockingStore
from session_tokens.stores.connect import open_store_now
from session_tokens.testing import ManualClock
from tests.helpers.counting_store import CountingStore

PEPPER = bytes(range(32))


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'sessions.db'}?synchronous=OFF"


@pytest.fixture
def store(url: str, clock: ManualClock) -> Iterator[CountingStore]:
    within: BlockingStore = open_store_now(url, pepper=PEPPER, clock=clock)
    counting = CountingStore(within)
    yield counting
    counting.close_now()


@pytest.fixture
def st(store: CountingStore) -> SessionTokens:
    return SessionTokens(store, Settings(max_sessions=None))
