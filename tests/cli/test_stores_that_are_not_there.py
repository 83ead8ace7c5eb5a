"""Commands that read or change a store make none; what is wrong has one exit code, whatever the store."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import valkey

from session_tokens import SessionTokens
from session_tokens.cli.exits import BAD_INPUT, INACTIVE, OK
from tests.helpers.command_line import Cli

SESSION, TOKEN, KEY = "ses_00" + "0" * 22, "tok_00" + "0" * 22, "key_00" + "0" * 22
READING = [
    ("verify",), ("sessions",), ("sessions", SESSION), ("tokens",), ("tokens", TOKEN), ("end", SESSION), ("sweep",),
    ("end", "--owner", "alice", "--yes"), ("issue", "--session", SESSION), ("claim", TOKEN, "--session", SESSION),
    ("transfer", TOKEN, "--giver", "a", "--receiver", "b"), ("rotate", SESSION), ("detach", SESSION),
    ("attach", SESSION), ("change", SESSION, "--label", "x"), ("reissue", TOKEN), ("offer", TOKEN),
    ("withdraw", TOKEN), ("owners", "enable", "alice"), ("check",), ("check", "--fix"), ("audit", "verify"),
    ("audit", "list"), ("keys", "list"), ("keys", "revoke", KEY), ("keys", "rotate", KEY), ("store", "check"),
    ("store", "abandon"), ("check", "--fix-clock"), ("accept", TOKEN, "--receiver", "b"), ("explain", SESSION),
    ("lend", TOKEN, "--borrower", "b"), ("recall", TOKEN), ("consume", TOKEN), ("release", TOKEN, "--owner", "a"),
    ("hand-over", "a", "--receiver", "b"), ("claim", "--next", "--session", SESSION), ("owners", "list"),
    ("owners", "rename", "a", "--to", "b"), ("audit", "export"), ("settings", "list"),
    ("settings", "unset", "max_age"), ("events",), ("top", "--once"), ("import", "--finish"), ("webhooks", "list"),
    ("store", "backup", "/nowhere/file"), ("store", "export", "-"),
]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/typo.db"
    made: str = request.getfixturevalue(f"{request.param}_url")
    return made


def what_is_there(url: str) -> list[Any]:
    """Return what of a store's kind is at its place."""
    if url.startswith("sqlite"):
        return [path.name for path in Path(url.removeprefix("sqlite:///")).parent.glob("typo*")]
    if url.startswith("postgres"):
        ours = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'session_tokens%'"
        with psycopg.connect(url) as connection:
            return connection.execute(ours).fetchall()
    address, _, prefix = url.partition("?namespace=")
    with valkey.Valkey.from_url(address) as client:
        return list(client.scan_iter("{" + prefix + "*"))


@pytest.mark.share(3)
def test_a_command_that_reads_or_changes_makes_no_store(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)

    for words in READING:
        said = cli(*words, "--store", url, stdin=b"sts_nothing")

        assert said.code == BAD_INPUT, words
        assert "there is no store" in said.err or "no SQLite store" in said.err or "--fix-clock" in words, words
        assert what_is_there(url) == [], words


def test_what_makes_one_makes_it_and_then_it_is_read(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)

    assert cli("issue", "--value", "free", "--store", url).code == OK
    assert what_is_there(url) != []
    assert cli("tokens", "--store", url).code == OK
    assert cli("sessions", SESSION, "--store", url).code == INACTIVE
    assert cli("check", "--store", url).code == OK
    if url.startswith("postgres"):
        assert what_is_there(url) == [("session_tokens",)], "a check makes no other name space either"


def test_a_missing_or_wrong_pepper_has_one_exit_code(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    assert cli("open", "alice", "--store", url).code == OK

    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "cd" * 32)
    wrong = [cli(*words, "--store", url) for words in (("sessions",), ("open", "bob"), ("keys", "list"), ("check",))]
    monkeypatch.delenv("SESSION_TOKENS_PEPPER")
    missing = [cli(*words, "--store", url) for words in (("sessions",), ("open", "bob"), ("keys", "list"), ("check",))]

    assert [said.code for said in wrong + missing] == [BAD_INPUT] * 8
    assert all("pepper" in said.err for said in wrong + missing)


def test_all_of_an_owner_are_not_ended_where_nobody_can_be_asked(cli: Cli) -> None:
    cli("open", "alice")

    said = cli("end", "--owner", "alice", stdin=b"alice\n")

    assert said.code == BAD_INPUT and "--yes" in said.err
    assert len(cli("sessions", "--owner", "alice", "--json").json["items"]) == 1
    assert cli("end", "--owner", "alice", "--yes", "--json").json == {"ended": 1}


def at_a_terminal(folder: Path, typed: str, *words: str) -> tuple[int, str]:
    """Run a command at a terminal of its own; answer its exit code and all that the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "session_tokens.cli.main", *words])
    shown = b""
    while True:
        if not select.select([terminal], [], [], 30)[0]:
            os.kill(pid, signal.SIGKILL)  # it waits for what nobody told it to say
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            break
        shown += piece
        if typed and shown.rstrip().endswith(b":"):
            os.write(terminal, typed.encode() + b"\n")
            typed = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_verify_at_a_terminal_asks_for_the_secret_and_does_not_show_it(tmp_path: Path) -> None:
    with SessionTokens.open(f"sqlite:///{tmp_path}/store.db", sweep=False) as st:
        secret = st.open_session("alice").secret

    code, shown = at_a_terminal(tmp_path, secret, "verify", "--store", "sqlite:///store.db")
    wrong, _ = at_a_terminal(tmp_path, "sts_guess", "verify", "--store", "sqlite:///store.db")

    assert code == OK and wrong == INACTIVE
    assert shown.startswith("Secret: ") and "alice" in shown
    assert secret not in shown


def test_ending_all_of_an_owner_asks_at_a_terminal(tmp_path: Path) -> None:
    with SessionTokens.open(f"sqlite:///{tmp_path}/store.db", sweep=False) as st:
        st.open_session("alice")
    words = ("end", "--owner", "alice", "--store", "sqlite:///store.db")

    refused, shown = at_a_terminal(tmp_path, "bob", *words)
    ended, told = at_a_terminal(tmp_path, "alice", *words)

    assert (refused, ended) == (BAD_INPUT, OK)
    assert "nothing was changed" in shown and "ended: 1" in told


@pytest.mark.process
def test_a_port_that_is_none_in_a_copy_is_bad_input_and_no_traceback(tmp_path: Path) -> None:
    for words in (
        ("copy", "postgresql://u:horse@h:port/db", "sqlite:///b.db"),
        ("copy", "sqlite:///a.db", "valkey://:horse@a:1,b:2/0"),
        ("copy", "sqlite:///what?.db", "sqlite:///b.db"),
        ("check", "sqlite:///what?.db"), ("abandon", "valkey://:horse@h:99999/0"), ("migrate", "postgresql://h:x/db"),
    ):  # fmt: skip
        run = subprocess.run(
            [sys.executable, "-m", "session_tokens.cli.main", "store", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert run.returncode == BAD_INPUT, words
        assert "Traceback" not in run.stderr and "horse" not in run.stderr
    assert list(tmp_path.iterdir()) == []
