"""The shipped suite over stores that are opened by a URL, and over those in a database of PostgreSQL or MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg
import valkey
from psycopg import sql

from session_tokens.contract.store import BlockingStore, Store
from session_tokens.stores.connect import open_store, open_store_now
from session_tokens.testing.conformance import BlockingStoreConformance
from session_tokens.testing.harness import checks_of
from tests.helpers.effort import PROVING
from tests.helpers.servers.valkey import client_of

S = TypeVar("S")

PEPPER = bytes(range(32))
TABLES = ("sessions", "tokens", "owners", "idempotency", "settings", "service_keys", "events")


def patient(url: str) -> str:
    """Return a server's URL with a time-out that no machine exceeds that is only slow: the suite is not about it."""
    if (
        not url.startswith(("postgresql:", "valkey:", "valkey+", "mysql:", "mariadb:"))
        or "?timeout=" in url
        or "&timeout=" in url
    ):
        return url
    return f"{url}{'&' if '?' in url else '?'}timeout=10"


class ByUrl(BlockingStoreConformance):
    """A store that is opened by its URL, for asyncio and for threads.

    Attributes:
        sealed: whether its values are.
    """

    url: str
    sealed = False

    async def open_store(self) -> Store:
        clock = self.clock if self.clock_is_manual else None
        return await open_store(patient(self.url), pepper=PEPPER, clock=clock, sealed=self.sealed)

    def open_store_now(self) -> BlockingStore:
        clock = self.clock if self.clock_is_manual else None
        return open_store_now(patient(self.url), pepper=PEPPER, clock=clock, sealed=self.sealed)


class OnValkey(ByUrl):
    """A store on a Valkey server, under a prefix of its own."""

    clock_is_manual = False

    def client(self) -> valkey.Valkey:
        """Return a client of the server."""
        return client_of(self.url)

    def _prefix(self) -> str:
        return f"{{{self.url.partition('?namespace=')[2]}:00}}:"

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        with self.client() as client:
            self._damage(client, f"{self._prefix()}{kind[0]}:{id}".encode(), key_id)

    def damage_all(self, kind: str) -> None:
        with self.client() as client:
            for key in client.keys(f"{self._prefix()}{kind[0]}:*"):
                self._damage(client, key, None)

    @staticmethod
    def _damage(client: valkey.Valkey, key: bytes, key_id: str | None) -> None:
        """Another stamp, so that nobody believes what they remember; another MAC, or one under another pepper."""
        value = client.get(key)
        assert isinstance(value, bytes)
        head, mac, row = value.split(b"\n", 2)
        digest = mac.partition(b":")[2]
        damaged = b"?" + mac if key_id is None else key_id.encode() + b":" + digest
        client.set(key, b"%016d%b\n%b\n%b" % (int(head[:16]) - 1, head[16:], damaged, row))


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
        self._do(f"UPDATE session_tokens.{kind}s SET mac = {mac}, stamp = stamp + 1 WHERE id = '{id}'")

    def damage_all(self, kind: str) -> None:
        self._do(f"UPDATE session_tokens.{kind}s SET mac = replace(mac, ':', ':0'), stamp = stamp + 1")

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement.encode())


def only_checks_of(*parts: type) -> Callable[[type[S]], type[S]]:
    """Leave a suite with the checks of some parts; where everything must be shown, with all."""

    def reduced(suite: type[S]) -> type[S]:
        if not PROVING:
            kept = {name for part in parts for name in checks_of(part)}
            for name in set(checks_of(suite)) - kept:
                setattr(suite, name, None)
        return suite

    return reduced


class OnMariaDB(ByUrl):
    """A store in a MariaDB database, which holds nothing at first."""

    clock_is_manual = False

    def empty(self) -> None:
        open_store_now(self.url, pepper=PEPPER, sealed=self.sealed).close_now()
        for table in TABLES:
            self._do(f"DELETE FROM session_tokens_{table}")

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        mac = "CONCAT('?', mac)" if key_id is None else f"CONCAT('{key_id}', SUBSTR(mac, LOCATE(':', mac)))"
        self._do(f"UPDATE session_tokens_{kind}s SET mac = {mac}, stamp = stamp + 1 WHERE id = '{id}'")

    def damage_all(self, kind: str) -> None:
        self._do(f"UPDATE session_tokens_{kind}s SET mac = REPLACE(mac, ':', ':0'), stamp = stamp + 1")

    def _do(self, statement: str) -> None:
        from tests.helpers.servers.mariadb import shared_server

        shared_server().execute(statement, self.url.rpartition("/")[2])
