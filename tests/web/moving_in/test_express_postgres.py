"""Rows as connect-pg-simple writes them, on a real PostgreSQL; ``tests/interop`` has it write them itself."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from session_tokens import InvalidInput, StoreUnavailable
from session_tokens.cli import exits
from session_tokens.cli.main import main
from session_tokens.web.moving_in.peers import ExpressPostgres
from tests.helpers.servers.ports import free_port

TABLE = 'CREATE TABLE "session" (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL)'
ID = "b" * 32
FIELDS = {"cookie": {"originalMaxAge": 600000}, "passport": {"user": 7}, "cart": [1, {"n": None}]}

pytestmark = pytest.mark.server


@pytest.fixture
def rows(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def put(rows: Any, zone: str, seconds: float, fields: object = FIELDS, id: str = ID) -> None:
    """Write a row as the store does from a connection of that time zone."""
    rows.execute("SELECT set_config('TimeZone', %s, false)", (zone,))
    rows.execute(
        'INSERT INTO "session" (sess, expire, sid) SELECT %s, to_timestamp(extract(epoch FROM now()) + %s), %s'
        " ON CONFLICT (sid) DO UPDATE SET sess = excluded.sess, expire = excluded.expire",
        (json.dumps(fields), seconds, id),
    )


def cookie_of(id: str = ID, secret: str = "old") -> str:
    return f"s:{id}." + b64encode(hmac.digest(secret.encode(), id.encode(), sha256)).rstrip(b"=").decode()


def peer_of(url: str, **options: Any) -> ExpressPostgres:
    return ExpressPostgres(url, **{"secret": ["new", "old"], "time_zone": "UTC", **options})


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_zone_of_the_application_decides_when_a_session_ends(rows: Any, postgres_url: str, zone: str) -> None:
    peer = peer_of(postgres_url, time_zone=zone)
    put(rows, zone, 600)
    former = peer.read(quote(cookie_of(), safe=""))

    assert former is not None
    assert ("7", {"passport": {"user": 7}, "cart": [1, {"n": None}]}) == (former.owner, dict(former.fields))
    assert former.time_left_s is None
    assert 500 < former.kept_s <= 601
    put(rows, zone, -1)
    assert peer.read(cookie_of()) is None
    assert [ID] == peer.ids()


def test_the_command_line_moves_what_is_there(
    rows: Any, postgres_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put(rows, "Asia/Tokyo", 600)
    put(rows, "Asia/Tokyo", -1, id="o" * 32)
    store = f"sqlite:///{tmp_path / 'st.db'}"
    words = ["import", "--from", "express", "--server", postgres_url, "--store", store, "--json"]

    assert exits.BAD_INPUT == main(words)
    assert "--time-zone" in capsys.readouterr().err
    assert exits.OK == main([*words, "--time-zone", "Asia/Tokyo"])
    assert {"moved": 1, "visitors_among_them": 0, "empty_or_unreadable": 1, "refused": 0} == json.loads(
        capsys.readouterr().out
    )


def test_what_is_not_there_forged_or_empty_is_nobodys(rows: Any, postgres_url: str) -> None:
    put(rows, "UTC", 600, {"cookie": {}}, "e" * 32)
    put(rows, "UTC", 600, ["user"], "l" * 32)
    put(rows, "UTC", 600)
    peer = peer_of(postgres_url)
    values = [cookie_of("n" * 32), cookie_of("e" * 32), cookie_of("l" * 32), cookie_of(secret="another"), ID, ""]

    assert peer.read(cookie_of()) is not None
    assert [None] * 6 == [peer.read(value) for value in values]


def test_a_table_of_another_name_is_found(rows: Any, postgres_url: str) -> None:
    rows.execute('CREATE SCHEMA "of shop"')
    rows.execute('ALTER TABLE "session" RENAME TO "user""s"')
    rows.execute('ALTER TABLE "user""s" SET SCHEMA "of shop"')
    rows.execute(
        'INSERT INTO "of shop"."user""s" VALUES (%s, %s, now() + interval \'1 day\')', (ID, json.dumps(FIELDS))
    )

    assert peer_of(postgres_url, table='user"s', schema="of shop", owner=lambda _: "ann").read(cookie_of()) is not None


def test_a_server_that_cannot_be_asked_is_no_log_out(rows: Any, postgres_url: str) -> None:
    away = peer_of(f"postgresql://127.0.0.1:{free_port()}/app")
    with pytest.raises(StoreUnavailable):
        away.read(cookie_of())
    with pytest.raises(StoreUnavailable):
        peer_of(postgres_url, table="mistyped").read(cookie_of())

    assert away.read(cookie_of(secret="another")) is None  # which asks nobody


@pytest.mark.parametrize(
    "options", [{"time_zone": ""}, {"time_zone": "Mars/Olympus"}, {"secret": []}, {"server": "redis://localhost"}]
)
def test_what_can_never_be_right_is_refused(options: dict[str, Any]) -> None:
    given = {"server": "postgresql://localhost/app", "secret": "s", "time_zone": "UTC", **options}
    with pytest.raises(InvalidInput):
        ExpressPostgres(given.pop("server"), **given)
