"""What the tests of stores share: words for failing checks of the suite, and the real servers."""

import pytest

PARTS = "want transaction late care listing session token race thread unreadable"
SUITE = ("bench", *(f"{part}_checks" for part in PARTS.split()))

# Its parts by name: the package itself is loaded by others already, for its clock.
pytest.register_assert_rewrite(*(f"session_tokens.testing.{part}" for part in SUITE))

from tests.servers.postgres import _postgres_url  # noqa: E402
from tests.servers.valkey import _valkey_url  # noqa: E402

__all__ = ["_postgres_url", "_valkey_url"]
