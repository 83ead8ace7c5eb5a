"""A store of its own for each test of the Django project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test.utils import override_settings

from session_tokens.web.django.opened import BlockingSessions, opened
from tests.helpers import django_project as _  # noqa: F401  # it makes the settings


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'sessions.db'}?synchronous=OFF"


@pytest.fixture
def tokens(store_url: str) -> Iterator[BlockingSessions]:
    with override_settings(SESSION_TOKENS_STORE=store_url):
        opened.close()  # a store in memory has the same address as the one before
        yield opened.blocking()
        opened.close()
