"""Damaged, huge and foreign records, and cookies that nobody should send: nobody's, in time, and no request fails."""

from __future__ import annotations

import json
import pickle
import uuid
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import valkey
from cryptography.fernet import Fernet

from session_tokens import SessionTokens
from session_tokens.cli import exits
from session_tokens.cli.main import main
from session_tokens.web.moving_in import Peer, moving_in, owner_in, time_left_s
from session_tokens.web.moving_in.peers import (
    AiohttpCookie,
    AiohttpRedis,
    BeakerFiles,
    BeakerRedis,
    ExpressRedis,
    FlaskCookie,
    FlaskSessionRedis,
    StarletteCookie,
    StarsessionsRedis,
)
from session_tokens.web.moving_in.plain import BYTES_MAX, Unreadable
from session_tokens.web.session import drive
from tests.helpers.servers.valkey import ValkeyServer

SID, HEX = "k" * 43, "a" * 32
FERNET = Fernet.generate_key().decode()
HUGE = 10**400


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[Any]:
    with valkey.Valkey.from_url(valkey_server.url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"d{uuid.uuid4().hex[:10]}:"


def beaker_file(fields: object) -> str:
    return b64encode(pickle.dumps(fields, 2)).decode()


ON_REDIS: dict[str, tuple[Callable[[Any, str], Any], str, str]] = {
    "flask-session": (lambda client, prefix: FlaskSessionRedis(client, prefix=prefix), SID, ""),
    "starsessions": (lambda client, prefix: StarsessionsRedis(client, prefix=prefix, owner="user"), HEX, ""),
    "express": (lambda client, prefix: ExpressRedis(client, prefix=prefix, secret="x", owner="user"), SID, ""),
    "aiohttp": (
        lambda client, prefix: AiohttpRedis(client, cookie=prefix, lifetime=600, owner="user"), SID, "_",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ON_REDIS)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00", b"\xff" * 50, b"null", b"{}", b"[[]]", b"\x91" * 200_000, b"[" * 200_000, b'{"a":' * 200_000,
        b'{"user": "ann"', b'{"user": "\xff"}', b"\x81\xa4user", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\x80\x04}.",
        b'{"created": %d, "session": {"user": "ann"}}' % HUGE, b'{"created": 1e400, "session": {"user": "ann"}}',
        b'{"created": NaN, "session": {"user": "ann"}}', b'{"created": "now", "session": {"user": "ann"}}',
        b'{"created": true, "session": {"user": "ann"}}', b'{"created": 1, "session": []}',
        b'{"user": "' + b"x" * BYTES_MAX + b'"}',
    ],
    ids=range(22),
)  # fmt: skip
def test_a_damaged_record_on_redis_is_nobodys(client: Any, prefix: str, kind: str, content: bytes) -> None:
    peer_of, id, between = ON_REDIS[kind]
    client.set(f"{prefix}{between}{id}", content, ex=60)
    former = peer_of(client, prefix).stored(id)

    assert former is None or (kind != "aiohttp" and "created" in former.fields)  # for the others a field like any


@pytest.mark.parametrize("kind", ON_REDIS)
def test_a_key_of_another_kind_under_the_prefix_is_nobodys_and_stops_no_import(
    client: Any, prefix: str, kind: str
) -> None:
    peer_of, id, between = ON_REDIS[kind]
    client.rpush(f"{prefix}{between}{id}", "x")
    client.hset(f"{prefix}{between}{HEX}x", "a", "b")
    peer = peer_of(client, prefix)

    assert {id, HEX + "x"} == set(peer.ids())
    assert [None, None] == [peer.stored(each) for each in peer.ids()]


def test_a_huge_value_is_not_fetched_whole(client: Any, prefix: str) -> None:
    client.setrange(f"{prefix}{SID}", 30 * BYTES_MAX, "x")
    before = client.info("stats")["total_net_output_bytes"]

    assert FlaskSessionRedis(client, prefix=prefix).stored(SID) is None
    assert client.info("stats")["total_net_output_bytes"] - before < 3 * BYTES_MAX
    client.delete(f"{prefix}{SID}")


def test_an_import_goes_on_past_what_is_damaged_or_foreign(
    client: Any, prefix: str, valkey_server: ValkeyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set(f"{prefix}{SID}", msgspec.msgpack.encode({"_user_id": "ann"}), ex=60)
    client.set(f"{prefix}deep", b"\x91" * 200_000)
    client.set(f"{prefix}truth", msgspec.msgpack.encode({"_user_id": True}))
    client.set(f"{prefix}bytes", msgspec.msgpack.encode({"_user_id": "bob", "raw": b"\x00"}))
    client.set(f"{prefix}long", msgspec.msgpack.encode({"_user_id": "x" * 5_000}))
    client.rpush(f"{prefix}list", "x")
    url = f"sqlite:///{tmp_path / 'st.db'}"
    SessionTokens.open(url).close()
    words = ["import", "--from", "flask-session", "--server", valkey_server.url, "--prefix", prefix, "--store", url]

    assert main([*words, "--json"]) == exits.OK
    said = capsys.readouterr()
    assert {"moved": 1, "visitors_among_them": 0, "empty_or_unreadable": 3, "refused": 2} == json.loads(said.out)
    assert "owner= may be a function" in said.err


@pytest.mark.parametrize("used_at", [HUGE, float("inf"), float("nan"), -HUGE, True, "now", None])
def test_a_record_of_beaker_without_an_instant_is_nobodys(tmp_path: Path, used_at: object) -> None:
    path = tmp_path / HEX[0] / HEX[:2] / f"{HEX}.cache"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"session": beaker_file({"user": "ann", "_accessed_time": used_at})}))

    assert BeakerFiles(tmp_path, timeout=600, owner="user").stored(HEX) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"x" * BYTES_MAX, pickle.dumps([]), pickle.dumps({}), pickle.dumps({"session": 5}),
     pickle.dumps({"session": "?"}), pickle.dumps({"session": beaker_file([1])}), pickle.dumps({"session": "eA=="})],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_file_of_beaker_is_nobodys(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / HEX[0] / HEX[:2] / f"{HEX}.cache"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    assert BeakerFiles(tmp_path, timeout=600, owner="user").stored(HEX) is None


@pytest.mark.parametrize("owner", [True, 1.5, ["ann"], {"id": 7}, b"ann"])
def test_what_may_be_several_users_is_no_owner_and_the_log_says_what_to_do(
    owner: object, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unreadable):
        owner_in({"user": owner}, "user")
    with pytest.raises(Unreadable):
        owner_in({"user": owner}, lambda fields: fields["user"])

    assert "owner= may be a function of the fields" in caplog.text


def test_a_text_a_number_and_a_uuid_are_owners() -> None:
    id = uuid.UUID(int=7)

    assert ["ann", "0", "7", str(id)] == [owner_in({"user": owner}, "user") for owner in ("ann", 0, 7, id)]
    assert [None] * 3 == [owner_in(fields, "user") for fields in ({}, {"user": None}, {"user": ""})]


@pytest.mark.parametrize("since", [HUGE, float("inf"), float("nan"), 1e12, True, "1", None, [1]])
def test_what_is_no_instant_is_refused(since: object) -> None:
    with pytest.raises(Unreadable):
        time_left_s(since, 600)


NASTY = (
    "", ".", "..", "a.b.c", "\x00" * 40, "ü" * 40, "\udcff" * 40, "s:\udcff.x", "s%3A%ff.x", "s:" + SID + ".\udcff",
    "s:" + "." * 9_000, "=" * 8_192, "A" * 20_000, SID + ".\udcff", HEX + "\udcff", "\udcff" + HEX, "*" * 43,
    HEX + "\n", urlsafe_b64encode(b"\x80" + b"\x00" * 100).decode(), "gAAAA", "." + "A" * 100 + ".x.y", "\x85",
)  # fmt: skip


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_a_cookie_that_nobody_should_send_is_nobodys(tmp_path: Path, value: str) -> None:
    nowhere = "redis://127.0.0.1:1/0"  # asking there would raise
    peers: list[Peer] = [
        FlaskSessionRedis(nowhere, secret_key="x"), ExpressRedis(nowhere, secret="x"),
        BeakerFiles(tmp_path, timeout=600, owner="user"), BeakerFiles(tmp_path, timeout=600, owner="u", secret="x"),
        BeakerRedis(nowhere, timeout=600, owner="user", secret="x"),
        FlaskCookie("x"), StarletteCookie("x", owner="user"), AiohttpCookie(FERNET, lifetime=600),
    ]  # fmt: skip
    with SessionTokens.open() as st:
        assert drive(st, moving_in(peers, lambda name: value)) is None
