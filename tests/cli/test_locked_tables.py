"""What goes through a whole store ends soon where somebody holds a table of it, and says what to look for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from session_tokens import SessionTokens
from tests.helpers.servers.mariadb import MariaDBServer

pytestmark = pytest.mark.server

PEPPER = "11" * 32
PATIENCE_S = 60
"""Far more than the ten seconds that a step waits, far less than the ten minutes that it may take."""
UNAVAILABLE = 3
COMMANDS = ("check", "store check", "store check --fix", "store backup FILE", "store copy URL COPY", "store migrate")
SEEN_IN = {"postgresql": "pg_locks", "mysql": "PROCESSLIST"}


@pytest.fixture(params=("postgresql", "mysql"))
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER)
    url: str = request.getfixturevalue("postgres_url" if request.param == "postgresql" else "mariadb_url")
    return url


@contextmanager
def held(url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold the table of the sessions, as somebody does who forgot a transaction, or as a dump does."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE session_tokens.sessions IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        server: MariaDBServer = request.getfixturevalue("mariadb_server")
        with server.connect(url.rpartition("/")[2]) as mariadb, mariadb.cursor() as cursor:
            cursor.execute("SHOW TABLES LIKE '%sessions'")
            cursor.execute(f"LOCK TABLES `{cursor.fetchall()[0][0]}` WRITE")
            yield


def test_a_command_on_a_whole_store_waits_for_a_table_so_long_and_no_longer(
    url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with SessionTokens.open(url, sweep=False) as st:
        st.open_session("alice")
    words = {"FILE": str(tmp_path / "backup"), "URL": url, "COPY": f"sqlite:///{tmp_path / 'copy.db'}"}
    with held(url, request):
        began_s = time.monotonic()
        running = {
            command: subprocess.Popen(
                [sys.executable, "-m", "session_tokens", *(words.get(word, word) for word in command.split())],
                env={**os.environ, "SESSION_TOKENS_STORE": url},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in COMMANDS
        }
        try:
            ended = {
                command: (process.communicate(timeout=began_s + PATIENCE_S - time.monotonic())[1], process.returncode)
                for command, process in running.items()
            }
        finally:
            for process in running.values():
                process.kill()
                process.communicate()

    told = {command: said for command, (said, code) in ended.items() if code}
    assert {code for _, code in ended.values()} <= {0, UNAVAILABLE}
    assert {*COMMANDS[:5]} <= {*told}
    assert [] == [said for said in told.values() if SEEN_IN[url.partition(":")[0]] not in said]
