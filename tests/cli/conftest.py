"""A store on disk, and the command line called as a program calls it, in this process or in one of its own."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.cli.main import main
from session_tokens.stores.connect import open_store_now
from tests.helpers.command_line import Cli, Said
from tests.helpers.filled_store import FIRST, StoreOf


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call ``main`` with arguments, and bytes on standard input, on a store of this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_TOKENS_STORE", "sqlite:///store.db")
    SessionTokens.open("sqlite:///store.db", sweep=False).close()  # commands that read one make none

    def call(*arguments: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return call


@pytest.fixture
def process(tmp_path: Path) -> Cli:
    """Run ``session-tokens`` in a process of its own."""

    def call(*arguments: str, stdin: bytes = b"", **variables: str) -> Said:
        run = subprocess.run(
            [sys.executable, "-m", "session_tokens.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "SESSION_TOKENS_STORE": "sqlite:///store.db", **variables},
        )
        return Said(run.returncode, run.stdout.decode(), run.stderr.decode())

    return call


@pytest.fixture
def one_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key file of the first store, made with it, is named for each store."""
    monkeypatch.chdir(tmp_path)
    open_store_now(FIRST).close_now()
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(tmp_path / "first.db.key"))


@pytest.fixture
def store_of(request: pytest.FixtureRequest, one_key_file: None) -> StoreOf:
    """Answers the URL of a store of a kind; each is empty and another one."""
    count = 0

    def make(kind: str) -> str:
        nonlocal count
        count += 1
        if kind == "sqlite":
            return f"sqlite:///number_{count}.db"
        url: str = request.getfixturevalue(f"{kind}_url")
        return f"{url}?namespace=number_{count}" if kind in ("postgres", "mariadb") else f"{url}{count}"

    return make
