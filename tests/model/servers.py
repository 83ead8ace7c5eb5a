"""Real servers on the clock of a test: what the machine needs to stand them beside the model.

A server's clock is not ours to set. So the one function by which each tells the time is replaced on the server by one
that answers what was set last, and it is set before anything is asked. All else is the server's and the store's own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

import psycopg

from session_tokens import SessionTokens, Settings
from session_tokens.clock import ManualClock
from session_tokens.stores.mysql.address import address_of as mysql_address_of
from session_tokens.stores.postgres.address import address_of
from session_tokens.stores.postgres.store import migrate_postgres
from session_tokens.stores.valkey.schema import Address as ValkeyAddress
from tests.helpers.servers.mariadb import shared_server as shared_mariadb
from tests.helpers.servers.on_our_clock import (
    ClusterOnOurClock,
    PostgresOnOurClock,
    ValkeyOnOurClock,
    cluster_on_our_clock,
    mysql_on_our_clock,
    valkey_on_our_clock,
)
from tests.helpers.servers.postgres import shared_server
from tests.model.worlds import StoreKind


class PostgresKind(StoreKind):
    def open(self, folder: Path, settings: Settings, clock: ManualClock) -> SessionTokens:
        """Open the store; the first time in a folder with new tables and our clock."""
        url = f"{shared_server().url()}?timeout=20&namespace={_word_of(folder)}"
        address = address_of(url, "")
        if not (folder / "made").exists():
            migrate_postgres(url)
            with psycopg.connect(cast("Any", shared_server().url()), autocommit=True) as connection:
                connection.execute(
                    f"""
                    CREATE TABLE {address.schema}.our_clock (ms bigint);
                    INSERT INTO {address.schema}.our_clock VALUES (0);
                    CREATE OR REPLACE FUNCTION {address.schema}.now_v1() RETURNS bigint LANGUAGE sql VOLATILE AS
                        'SELECT ms FROM {address.schema}.our_clock'
                    """.encode()
                )
            (folder / "made").touch()
        store = PostgresOnOurClock(address, clock)
        store.open()
        return SessionTokens(store, settings)


class ValkeyKind(StoreKind):
    def open(self, folder: Path, settings: Settings, clock: ManualClock) -> SessionTokens:
        """Open the store under a prefix of this folder's own."""
        address = ValkeyAddress(f"{valkey_on_our_clock().url}?timeout=20&namespace={_word_of(folder)}")
        return SessionTokens(ValkeyOnOurClock(address, clock), settings)


class ClusterKind(StoreKind):
    def open(self, folder: Path, settings: Settings, clock: ManualClock) -> SessionTokens:
        """Open the store in 64 partitions, under a name space of this folder's own."""
        address = ValkeyAddress(f"{cluster_on_our_clock().url}?timeout=20&namespace={_word_of(folder)}")
        return SessionTokens(ClusterOnOurClock(address, clock), settings)


class MariaDBKind(StoreKind):
    def open(self, folder: Path, settings: Settings, clock: ManualClock) -> SessionTokens:
        """Open the store in a database that is this class's, under a name space of this folder's own."""
        url = f"{mariadb_for_models()}?timeout=20&namespace={_word_of(folder)}"
        store = mysql_on_our_clock(mysql_address_of(url, ""), clock)
        store.open()
        return SessionTokens(store, settings)


@functools.cache
def mariadb_for_models() -> str:
    """Return the URL of a database for all of them: making tables takes longer than making a database."""
    return shared_mariadb().new_database()


def _word_of(folder: Path) -> str:
    """Return a name for what belongs to a folder."""
    return "w" + "".join(f"{ord(letter):x}" for letter in folder.name.removeprefix("session-tokens-"))


MARIADB = MariaDBKind("mariadb", str, durable=True)
POSTGRES = PostgresKind("postgres", str, durable=True)
CLUSTER = ClusterKind("cluster", str, durable=True)
VALKEY = ValkeyKind("valkey", str, durable=True)
