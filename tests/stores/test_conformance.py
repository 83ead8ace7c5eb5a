"""Every store passes the suite that is shipped for authors of stores, the one of the manual too."""

from __future__ import annotations

import unittest
from pathlib import Path

import pytest

from session_tokens.contract.store import BlockingStore
from session_tokens.testing.checks.events import EventChecks
from session_tokens.testing.checks.passing import PassingChecks
from session_tokens.testing.checks.queries import OtherQueryChecks
from session_tokens.testing.checks.races import RaceChecks
from session_tokens.testing.checks.sessions import SessionChecks
from session_tokens.testing.checks.tokens import TokenChecks
from session_tokens.testing.checks.transactions import IsolationChecks
from session_tokens.testing.conformance import BlockingStoreConformance
from session_tokens.testing.harness import checks_of
from tests.helpers.conformance import ByUrl, OnMariaDB, OnPostgres, OnValkey, only_checks_of
from tests.helpers.sqlite_files import behind
from tests.helpers.tiny_store import tiny_store_class

PEPPER = bytes(range(32))


class TestMemory(ByUrl):
    opens_again = False
    url = "memory://"


class TestSqlite(ByUrl):
    @pytest.fixture(autouse=True)
    def _in_a_fresh_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sessions.db"
        self.url = f"sqlite:///{self.path}"

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        mac = "'?' || mac" if key_id is None else f"'{key_id}' || substr(mac, instr(mac, ':'))"
        behind(self.path, f"UPDATE {kind}s SET mac = {mac} WHERE id = ?", id)

    def damage_all(self, kind: str) -> None:
        behind(self.path, f"UPDATE {kind}s SET mac = replace(mac, ':', ':0')")


class TestValkey(OnValkey):
    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, valkey_url: str) -> None:
        self.url = valkey_url


class TestPostgres(OnPostgres):
    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, postgres_database: str) -> None:
        self.url = self.database = postgres_database
        self.empty()


# Questions and transactions are this store's own; what the rules make of them is asked in full by `make prove`.
@only_checks_of(OtherQueryChecks, IsolationChecks, RaceChecks, PassingChecks, EventChecks)
@pytest.mark.needs_mariadb
class TestMariaDB(OnMariaDB):
    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, mariadb_database: str) -> None:
        self.url = mariadb_database
        self.empty()


@only_checks_of(SessionChecks, TokenChecks, IsolationChecks)
class TestSealedSqlite(TestSqlite):
    sealed = True


@only_checks_of(IsolationChecks)
class TestSealedValkey(TestValkey):
    sealed = True


@only_checks_of(IsolationChecks)
class TestSealedPostgres(TestPostgres):
    sealed = True


@only_checks_of(IsolationChecks)
@pytest.mark.needs_mariadb
class TestSealedMariaDB(TestMariaDB):
    sealed = True


class TestStoreOfTheManual(BlockingStoreConformance):
    opens_again = False

    def open_store_now(self) -> BlockingStore:
        store: BlockingStore = tiny_store_class()(self.clock)
        return store


def test_unittest_runs_the_suite_too() -> None:
    class WithUnittest(TestStoreOfTheManual, unittest.TestCase):
        pass

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(WithUnittest).run(result)

    assert len(checks_of(BlockingStoreConformance)) == result.testsRun
    assert [] == result.failures + result.errors
