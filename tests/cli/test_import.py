"""`session-tokens import`: what is stored at another library's server, and the end of moving in."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest

from session_tokens import SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.cli import exits
from session_tokens.cli.main import main
from tests.helpers.servers.valkey import ValkeyServer, client_of


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'st.db'}"
    SessionTokens.open(url).close()
    return url


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["import", *words, "--json"]) == exits.OK
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_what_is_stored_is_moved_once_and_counted(
    store: str, valkey_server: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    import valkey

    with valkey.Valkey.from_url(valkey_server.url) as server:
        for number in range(30):
            fields = {"_user_id": f"user{number}"} if number < 25 else {"_permanent": True}
            server.set(f"import-test:{number:043}", msgspec.msgpack.encode(fields), ex=600)
        server.set("import-test:" + "x" * 43, b"\x80\x04cos\nsystem\n.", ex=600)
        words = (
            "--store", store, "--from", "flask-session", "--server", valkey_server.url, "--prefix", "import-test:",
        )  # fmt: skip
        first, second = told(capsys, *words), told(capsys, *words)
    with SessionTokens.open(store) as st:
        owners = {session.owner for session in st.list_sessions()}
        many = len(st.list_sessions(limit=100))

    assert {"moved": 25, "visitors_among_them": 0, "empty_or_unreadable": 6, "refused": 0} == first == second
    assert {f"user{number}" for number in range(25)} == owners
    assert 25 == many


def test_what_beaker_and_aiohttp_session_stored_is_moved(
    store: str, tmp_path: Path, valkey_server: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    import valkey

    path = tmp_path / "beaker" / "a" / "aa" / f"{'a' * 32}.cache"
    path.parent.mkdir(parents=True)
    fields = {"user": "ann", "_accessed_time": 1.0}
    path.write_bytes(pickle.dumps({"session": b64encode(pickle.dumps(fields, 2)).decode()}))
    with valkey.Valkey.from_url(valkey_server.url) as server:
        server.set("AIOHTTP_SESSION_" + uuid.uuid4().hex, json.dumps({"created": time.time(), "session": {"u": 7}}))
    beaker = ("--store", store, "--from", "beaker", "--server", str(tmp_path / "beaker"), "--owner", "user")
    aiohttp = ("--store", store, "--from", "aiohttp", "--server", valkey_server.url, "--owner", "u")

    assert 0 == told(capsys, *beaker, "--lifetime", "30d")["moved"]
    assert 1 == told(capsys, *beaker, "--lifetime", "never")["moved"]
    assert 1 <= told(capsys, *aiohttp, "--lifetime", "30d")["moved"]  # type: ignore[operator]
    with SessionTokens.open(store) as st:
        assert {"ann", "7"} <= {session.owner for session in st.list_sessions()}


def test_an_audit_log_that_the_store_has_is_gone_on_with(
    tmp_path: Path, valkey_server: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    import valkey

    url = f"sqlite:///{tmp_path / 'audited.db'}"
    with SessionTokens.open(url, audit=Audit()) as st:
        st.open_session("bob")
    with valkey.Valkey.from_url(valkey_server.url) as server:
        server.set("audited-import:" + "y" * 43, msgspec.msgpack.encode({"_user_id": "ann"}), ex=600)
    told(
        capsys, "--store", url, "--from", "flask-session", "--server", valkey_server.url, "--prefix", "audited-import:"
    )
    with SessionTokens.open(url) as st:
        kept = [(entry["kind"], entry["owner"]) for entry in st.list_audit()]

    assert ("session_opened", "ann") in kept


@pytest.mark.parametrize("kind", [("flask-session",), ("beaker", "--owner", "user", "--lifetime", "30d")])
def test_a_server_that_is_not_there_is_told_so(
    store: str, kind: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", "--from", *kind, "--server", "redis://127.0.0.1:1/0", "--store", store]

    assert main(words) == exits.UNAVAILABLE
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["redis://:wrong@127.0.0.1:{}/0", "redis://127.0.0.1:{}/99"])
def test_an_address_that_the_server_refuses_is_told_as_that(
    store: str, valkey_server: ValkeyServer, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another try mends neither a wrong password nor a database that is not there."""
    words = ["import", "--from", "flask-session", "--server", where.format(valkey_server.port), "--store", store]

    assert main(words) == exits.UNAVAILABLE
    assert "user, password and database of its address" in capsys.readouterr().err


def test_it_is_finished_once(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"finished": True, "new": True} == told(capsys, "--finish", "--store", store)
    assert {"finished": True, "new": False} == told(capsys, "--finish", "--store", store)
    with SessionTokens.open(store) as st:
        assert st.move_in("cookie", "ann") is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--from", "express"],
        ["--from", "starsessions", "--server", "redis://127.0.0.1"],
        ["--from", "beaker", "--server", "/nowhere", "--owner", "user"],
        ["--from", "beaker", "--server", "/nowhere", "--owner", "user", "--lifetime", "30d"],
        ["--from", "beaker", "--server", "/nowhere", "--lifetime", "30d"],
        ["--from", "aiohttp", "--server", "redis://127.0.0.1"],
        ["--from", "aiohttp", "--server", "redis://127.0.0.1", "--lifetime", "1h", "--prefix", "x"],
        ["--from", "express", "--server", "postgresql://127.0.0.1/app"],
        ["--from", "express", "--server", "postgresql://127.0.0.1/app", "--time-zone", "Mars/Olympus"],
        ["--finish", "--from", "express", "--server", "redis://127.0.0.1"],
        ["--from", "express", "--server", "http://127.0.0.1"],
        ["--from", "flask-session", "--server", "redis://127.0.0.1:1", "--lifetime", "30d"],
        ["--from", "flask-session", "--server", "redis://127.0.0.1:1", "--time-zone", "UTC"],
        ["--from", "express", "--server", "redis://127.0.0.1:1", "--time-zone", "UTC"],
        ["--from", "express", "--server", "postgresql://127.0.0.1:1/x", "--time-zone", "UTC", "--lifetime", "1h"],
        ["--finish", "--server", "redis://127.0.0.1"],
        ["--finish", "--owner", "user"],
    ],
)
def test_what_means_nothing_is_bad_input(store: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", *words, "--store", store]) == exits.BAD_INPUT
    assert "session-tokens:" in capsys.readouterr().err


@pytest.fixture
def prefix(valkey_server: ValkeyServer) -> str:
    """Three sessions of Flask-Session under a prefix of their own, of which one is a visitor's."""
    name = f"i{uuid.uuid4().hex[:8]}:"
    with client_of(valkey_server.url) as server:
        for number, fields in enumerate(({"cart": 1}, {"_user_id": "ann"}, {"_user_id": "bob"})):
            server.set(f"{name}{number:043}", msgspec.msgpack.encode(fields), ex=600)
    return name


def test_after_the_end_nothing_is_said_to_be_moved(
    store: str, valkey_server: ValkeyServer, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "--finish", "--store", store)
    words = ["--from", "flask-session", "--server", valkey_server.url, "--prefix", prefix, "--store", store]

    assert main(["import", *words]) == exits.CONFLICT
    said = capsys.readouterr()
    assert (said.out, "is finished on this store" in said.err) == ("", True)


def test_a_field_that_names_nobody_moves_nobody(
    store: str, valkey_server: ValkeyServer, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everybody would be a visitor for good, for a cookie is moved once: the right field comes too late then."""
    words = ["--from", "flask-session", "--server", valkey_server.url, "--prefix", prefix, "--store", store]

    assert main(["import", *words, "--owner", "user_id"]) == exits.BAD_INPUT
    said = capsys.readouterr()
    assert (said.out, "--owner" in said.err) == ("", True)
    with SessionTokens.open(store) as st:
        assert not st.list_sessions().items
    assert {"moved": 3, "visitors_among_them": 1, "empty_or_unreadable": 0, "refused": 0} == told(capsys, *words)
    with SessionTokens.open(store) as st:
        assert {"ann", "bob"} == {session.owner for session in st.list_sessions()}


@pytest.mark.parametrize("more", [[], ["--json"], ["--owner", "_user_id"]])
def test_visitors_are_told_of(
    store: str, valkey_server: ValkeyServer, prefix: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be users, whose field another release of the application named otherwise."""
    words = ["--from", "flask-session", "--server", valkey_server.url, "--prefix", prefix, "--store", store]

    for _ in range(2):
        assert main(["import", *words, *more]) == exits.OK
        assert "1 of the 3 sessions that were moved is a visitor's" in capsys.readouterr().err
