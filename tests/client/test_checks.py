"""The shipped checks of the API, unchanged, over the client and a service on each store, for asyncio and in threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_tokens.testing.harness import checks_of
from tests.helpers.over_service import SUITES, OverService, without

pytestmark = pytest.mark.share(2)
RARELY = pytest.mark.share(8)

FRAMEWORKS = "frameworks move users in, where the store is"
KINDS = "of what kind secrets are is not told over HTTP"
LEFT_OUT = {
    "test_a_cookie_of_another_library_leads_to_one_session_and_never_to_a_second": FRAMEWORKS,
    "test_one_that_was_moved_before_it_is_presented_waits_for_that": FRAMEWORKS,
    "test_the_session_keeps_the_kind_of_a_secret_that_was_handed_out": KINDS,
    "test_after_its_grace_the_old_secret_ends_the_session": "callbacks are called where the store is",
    "test_an_old_secret_whose_record_is_damaged_stops_nothing_but_itself": "it damages a record in the store",
    "test_a_short_secret_stays_short_for_whoever_renews_it": KINDS,
    "test_what_a_session_holds_is_good_until_its_end_whatever_its_kind": "it asks what introspection asks the library",
    "test_the_general_timeout_is_read_from_the_store": "general settings are changed where the store is",
}
"""Checks of what the client does not offer, each with the reason."""


@without(LEFT_OUT)
class TestMemory(OverService):
    opens_again = False
    url = "memory://"


@without(LEFT_OUT)
class TestMemoryInThreads(TestMemory):
    in_threads = True


@without(LEFT_OUT)
class TestSqlite(OverService):
    @pytest.fixture(autouse=True)
    def _in_a_fresh_file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path / 'sessions.db'}"


@without(LEFT_OUT)
class TestSqliteInThreads(TestSqlite):
    in_threads = True


@without(LEFT_OUT)
class TestValkey(OverService):
    clock_is_manual = False

    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, valkey_url: str) -> None:
        self.url = valkey_url


@without(LEFT_OUT)
class TestValkeyInThreads(TestValkey):
    pytestmark = RARELY
    in_threads = True


@without(LEFT_OUT)
class TestPostgres(OverService):
    clock_is_manual = False

    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, postgres_url: str) -> None:
        self.url = postgres_url


@without(LEFT_OUT)
class TestPostgresInThreads(TestPostgres):
    pytestmark = RARELY
    in_threads = True


@without(LEFT_OUT)
@pytest.mark.needs_mariadb
class TestMariaDB(OverService):
    clock_is_manual = False

    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, mariadb_url: str) -> None:
        self.url = mariadb_url


@without(LEFT_OUT)
class TestMariaDBInThreads(TestMariaDB):
    pytestmark = RARELY
    in_threads = True


def test_most_checks_of_the_api_are_here() -> None:
    names = {name for part in SUITES for name in checks_of(part)}

    assert set(LEFT_OUT) <= names
    assert len(names) - len(LEFT_OUT) > 45
