"""Every store passes the suite that is shipped for authors of stores, the one of the manual too."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import valkey
from psycopg import sql

from session_tokens.contract.store import BlockingStore, Store
from session_tokens.stores.connect import open_store, open_store_now
from session_tokens.testing.conformance import BlockingStoreConformance
from session_tokens.testing.harness import checks_of
from tests.servers.postgres import shared_server

from .sqlites import behind
from .tiny_store import tiny_store_class

PEPPER = bytes(range(32))
TABLES = ("sessions", "tokens", "owners", "idempotency", "settings", "service_keys")


class ByUrl(BlockingStoreConformance):
    """A store that is opened by its URL, for asyncio and for threads."""

    url: str

    async def open_store(self) -> Store:
        return await open_store(self.url, pepper=PEPPER, clock=self.clock if self.clock_is_manual else None)

    def open_store_now(self) -> BlockingStore:
        return open_store_now(self.url, pepper=PEPPER, clock=self.clock if self.clock_is_manual else None)


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


class TestValkey(ByUrl):
    clock_is_manual = False

    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, valkey_url: str) -> None:
        self.url = valkey_url

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        address, _, prefix = self.url.partition("?namespace=")
        with valkey.Valkey.from_url(address) as client:
            self._damage(client, f"{{{prefix}:00}}:{kind[0]}:{id}".encode(), key_id)

    def damage_all(self, kind: str) -> None:
        address, _, prefix = self.url.partition("?namespace=")
        with valkey.Valkey.from_url(address) as client:
            for key in client.keys(f"{{{prefix}:00}}:{kind[0]}:*"):
                self._damage(client, key, None)

    @staticmethod
    def _damage(client: valkey.Valkey, key: bytes, key_id: str | None) -> None:
        """Another stamp, so that nobody believes what they remember; another MAC, or one under another pepper."""
        head, mac, row = _value_of(client, key).split(b"\n", 2)
        digest = mac.partition(b":")[2]
        damaged = b"?" + mac if key_id is None else key_id.encode() + b":" + digest
        client.set(key, b"%016d%b\n%b\n%b" % (int(head[:16]) - 1, head[16:], damaged, row))


def _value_of(client: valkey.Valkey, key: bytes) -> bytes:
    value = client.get(key)
    assert isinstance(value, bytes)
    return value


@pytest.fixture(scope="class")
def one_database() -> Iterator[str]:
    """The URL of a database for many tests: making one for each takes longer than the test."""
    server = shared_server()
    url = server.new_database()
    yield url
    server.drop_database(url)


class OnPostgres(ByUrl):
    """A store in a PostgreSQL database, which holds nothing at first.

    Attributes:
        database: its URL, to the server itself.
    """

    clock_is_manual = False
    database: str

    def empty(self) -> None:
        with psycopg.connect(self.database) as connection:
            query = "SELECT schemaname, tablename FROM pg_tables WHERE tablename = ANY(%s)"
            for schema, table in connection.execute(query, (list(TABLES),)).fetchall():
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(schema, table)))

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        mac = "'?' || mac" if key_id is None else f"'{key_id}' || substr(mac, strpos(mac, ':'))"
        self._do(f"UPDATE session_tokens.{kind}s SET mac = {mac} WHERE id = '{id}'")

    def damage_all(self, kind: str) -> None:
        self._do(f"UPDATE session_tokens.{kind}s SET mac = replace(mac, ':', ':0')")

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement.encode())


class TestPostgres(OnPostgres):
    @pytest.fixture(autouse=True)
    def _on_a_real_server(self, one_database: str) -> None:
        self.url = self.database = one_database
        self.empty()


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
