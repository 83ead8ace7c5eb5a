"""Stores on servers, as the environment names them to an example."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["postgres_url", "valkey_url"])
def server_store(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the variables that name a store of a server, and its pepper."""
    return {
        "SESSION_TOKENS_STORE": request.getfixturevalue(request.param),
        "SESSION_TOKENS_PEPPER": bytes(range(32)).hex(),
    }
