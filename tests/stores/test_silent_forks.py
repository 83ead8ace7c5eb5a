"""Forks that Python is not told of, as those of uWSGI: no process reads what another one asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from tests.helpers.at_once import forked_silently

PEPPER = bytes(range(32))
TIMES = 400

WORKER = """
import ctypes, os, signal, sys
from types import ModuleType

uwsgi = sys.modules["uwsgi"] = ModuleType("uwsgi")
told = []
if sys.argv[2] == "decorators":
    decorators = sys.modules["uwsgidecorators"] = ModuleType("uwsgidecorators")
    decorators.postfork = told.append
elif sys.argv[2] == "a hook of the application's":
    uwsgi.post_fork_hook = lambda: told.append(os.getpid())

from session_tokens.web.process_store import ProcessStore

store = ProcessStore(sys.argv[1])
secret = store.tokens().open_session("ann").secret  # while the application is loaded
child = ctypes.PyDLL(None).fork()
if child == 0:
    code = 1
    signal.alarm(20)
    try:
        if sys.argv[2] == "decorators":
            for call in told:
                call()
        else:
            uwsgi.post_fork_hook()
        assert sys.argv[2] == "alone" or told
        assert store.tokens().verify_session(secret).owner == "ann"
        store.tokens().rotate_session(secret)
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url", "valkey_url"])
def test_processes_never_read_each_others_answers(request: pytest.FixtureRequest, server: str) -> None:
    with SessionTokens.open(request.getfixturevalue(server), pepper=PEPPER, sweep=False) as tokens:
        secrets = {name: tokens.open_session(name).secret for name in ("ann", "bob", "cat")}

        def look(name: str) -> None:
            for _ in range(TIMES):
                found = tokens.verify_session(secrets[name])
                assert found is not None
                assert found.owner == name

        children = [forked_silently(lambda name=name: look(name)) for name in ("bob", "cat")]  # type: ignore[misc]
        look("ann")
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0, 0]
        look("ann")


@pytest.mark.process
@pytest.mark.parametrize("asked", ["alone", "a hook of the application's", "decorators"])
def test_a_worker_of_uwsgi_begins_anew(tmp_path: Path, asked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, f"sqlite:///{tmp_path / 'sessions.db'}", asked],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
