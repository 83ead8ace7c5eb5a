"""What a store records of its keys, moved back in time: a key may be promoted a minute after it was added."""

from __future__ import annotations

from pathlib import Path

import psycopg
import valkey

from session_tokens.stores.common.store_url import store_url_of
from tests.helpers.servers.mariadb import shared_server
from tests.helpers.sqlite_files import behind


def added_long_ago(url: str, key_id: str, space: str = "") -> None:
    """Let a name space of a store believe that it has known a key for more than a minute; a file has one record."""
    before, after = (f"_{space}", f".{space}") if space else ("", "")
    if url.startswith("sqlite"):
        behind(
            Path(store_url_of(url).path),
            "UPDATE peppers SET recorded_at = recorded_at - 60001 WHERE key_id = ?",
            key_id,
        )
    elif url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute(
                f"UPDATE session_tokens{before}.peppers SET recorded_at = recorded_at - 61000 WHERE key_id = %s",
                [key_id],
            )
    elif url.startswith("mysql"):
        longer = f"UPDATE session_tokens{before}_peppers SET recorded_at = recorded_at - 60001"
        shared_server().execute(f"{longer} WHERE key_id = '{key_id}'", url.rpartition("/")[2])
    else:
        address, _, name = url.partition("?")
        key = f"{{{name.partition('=')[2]}{after}:00}}:m"
        with valkey.Valkey.from_url(address) as client:
            said = client.hget(key, key_id)
            assert isinstance(said, bytes)
            mark, added, used = said.decode().split()
            client.hset(key, key_id, f"{mark} {int(added) - 60_001} {used}")
