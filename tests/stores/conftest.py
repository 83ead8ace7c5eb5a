"""What the tests of stores share: words for failing checks of the suite, and the real servers."""

import pytest

pytest.register_assert_rewrite("session_tokens.testing")

from tests.servers.postgres import _postgres_url  # noqa: E402
from tests.servers.valkey import _valkey_url  # noqa: E402

__all__ = ["_postgres_url", "_valkey_url"]
