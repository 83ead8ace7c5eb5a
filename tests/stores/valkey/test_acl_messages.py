"""What a user of a Valkey or Redis server lacks is named when the store opens, before anything is written by half."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkey

from session_tokens import SessionTokens, StoreError
from session_tokens.stores.valkey.library import library_text
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.valkey import ValkeyServer

README = Path(__file__).parents[3] / "deploy" / "valkey" / "README.md"
PEPPER = bytes(range(32))
OPTIONS = {"COUNT", "KEEPTTL", "LIMIT", "MAXLEN", "MINID", "PXAT", "WITHSCORES"}
BY_CALL = {word.lower() for word in set(re.findall(r"'([A-Z]{3,})'", library_text().decode())) - OPTIONS}
"""Every command that stands in the library, called by its name or by a variable."""
BY_CLIENT = ["fcall", "fcall_ro", "info", "mget", "persist", "scan", "time"]
NEEDED = sorted({*BY_CALL, *BY_CLIENT})


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.needs_redis)])
def port(request: pytest.FixtureRequest, private_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> Iterator[int]:
    """Where the server of the other tests listens, and Debian's Redis, which is as old as is taken."""
    if request.param == "valkey":
        yield private_valkey().port
        return
    program, port = shutil.which("redis-server"), free_port()
    assert program is not None
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until_s = time.monotonic() + 30
    while True:
        try:
            with valkey.Valkey(port=port) as client:
                assert client.ping()
            break
        except valkey.exceptions.ConnectionError:
            assert server.poll() is None and time.monotonic() < until_s, "the server did not start"
            time.sleep(0.01)
    yield port
    server.kill()
    server.wait()


def allow(port: int, *rules: str) -> str:
    """Make a user with rights; answer the store's URL."""
    with valkey.Valkey(port=port) as admin:
        if not admin.function_list():
            admin.function_load(library_text().decode())
        admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">secret", *rules)
    return f"valkey://app:secret@127.0.0.1:{port}/0"


def test_each_command_that_is_missing_is_named_and_how_to_grant_it(port: int) -> None:
    for command in NEEDED:
        url = allow(port, "~{st*", "+@all", f"-{command}")
        with pytest.raises(StoreError, match=rf"forbids this user the command {command};.*\+{command}\)") as refused:
            open_valkey_blocking(url, pepper=PEPPER)
        assert "secret" not in str(refused.value)
    with valkey.Valkey(port=port) as admin:
        assert admin.dbsize() == 0
    open_valkey_blocking(allow(port, "~{st*", "+@all"), pepper=PEPPER).close_now()


def test_a_right_that_is_taken_away_later_is_named_too(port: int) -> None:
    with SessionTokens(open_valkey_blocking(allow(port, "~{st*", "+@all"), pepper=PEPPER)) as tokens:
        issued = tokens.open_session("alice")
        allow(port, "~{st*", "+@all", "-time")
        with pytest.raises(StoreError, match=r"forbids this user the command time;.*\+time\)"):
            tokens.rotate_session(issued.id)
        with pytest.raises(StoreError, match="the command time;"):
            tokens.verify_session(issued.secret)
        with pytest.raises(StoreError, match="the command time;"):
            tokens.list_sessions()


@pytest.mark.parametrize("pattern", ["~other*", "~{st:00}:n"])
def test_a_pattern_of_keys_that_is_missing_is_named(port: int, pattern: str) -> None:
    url = allow(port, pattern, "+@all")
    with pytest.raises(StoreError, match=r"forbids this user the keys of the store;.*~\{st\*\)"):
        open_valkey_blocking(url, pepper=PEPPER)
    with pytest.raises(StoreError, match=r"~\{app1\*\)"):
        open_valkey_blocking(f"{url}?namespace=app1", pepper=PEPPER)


def test_the_rights_by_category_that_we_deploy_are_enough(port: int) -> None:
    (rule,) = re.findall(r"^ACL SETUSER session-tokens on (.*)$", README.read_text(), re.MULTILINE)
    rights = [word for word in rule.split() if not word.startswith((">", "#"))]
    assert {"+@read", "+@write", "+@scripting", "+@connection", "+info", "+time", "~{st*"} <= set(rights)
    url = allow(port, *rights)
    with valkey.Valkey(port=port) as admin:
        admin.function_flush()
    store = open_valkey_blocking(url, pepper=PEPPER)  # it loads the library by itself
    with SessionTokens(store) as tokens:
        session = tokens.open_session("alice")
        token = tokens.issue_token(session.id, "v", transferable=True)
        tokens.transfer_token(token.id, giver="alice", receiver="bob")
        assert tokens.verify_session(session.secret) == tokens.verify_session(session.secret) == session.session
        tokens.destroy_session(session.id)
        tokens.sweep()
        assert store.check_now(fix=True) == []
    with valkey.Valkey(port=port, username="app", password="secret") as client:
        for words in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("SHUTDOWN",), ("GET", "another's")):
            with pytest.raises(valkey.exceptions.NoPermissionError):
                client.execute_command(*words)
