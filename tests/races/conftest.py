"""What the races run on: each store, opened once for each player where it has several handles."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.helpers.races.field import Field, field_of

SHARED_BY_URL = ["sqlite", "valkey", "postgres"]


@pytest.fixture(autouse=True)
def _threads_that_change_often() -> Iterator[None]:
    """Let the interpreter change threads a hundred times as often as it does, so that more orders are seen."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 100)
    yield
    sys.setswitchinterval(usual_s)


@pytest.fixture(params=["memory", "optimistic", *SHARED_BY_URL])
def racing(request: pytest.FixtureRequest) -> Iterator[Field]:
    """Every store."""
    field = field_of(request.param, request)
    yield field
    field.close()


@pytest.fixture(params=SHARED_BY_URL)
def shared(request: pytest.FixtureRequest) -> Iterator[Field]:
    """Every store that several processes share."""
    field = field_of(request.param, request)
    yield field
    field.close()
