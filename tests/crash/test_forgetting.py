"""kill -9 while an owner is forgotten: they stay disabled, the store is whole, and the same once more does the rest."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from session_tokens import OwnerDisabled, SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import read_now, verifying
from session_tokens.stores.sqlite.store import SqliteStore
from tests.helpers.effort import times

pytestmark = pytest.mark.process

FORGETTING = """
import sys
from session_tokens import SessionTokens
from session_tokens._sync import names
from session_tokens.audit.log import Audit

names.REWRITTEN_AT_ONCE = 5
with SessionTokens.open(sys.argv[1], sweep=False, audit=Audit()) as st:
    run = st.store.run_now
    def told(*args):
        answer = run(*args)
        print("done", flush=True)
        return answer
    st.store.run_now = told
    st.forget_owner("maja-secret")
"""
MANY = 60


@pytest.mark.parametrize("commits", [2, 20, 45][: times(2, proving=3)])
def test_who_is_being_forgotten_when_the_process_is_killed(commits: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with SessionTokens.open(url, sweep=False, audit=Audit(tmp_path / "anchors")) as st:
        st.open_session("bob")
        for _ in range(MANY):
            opened = st.open_session("maja-secret", label="maja-secret")
            st.issue_token(opened.id, "held", transferable=True)
    process = subprocess.Popen(
        [sys.executable, "-c", FORGETTING, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    for _ in range(commits):
        assert process.stdout.readline(), "it ended by itself"
    process.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == process.wait(60)
    process.stdout.close()

    with SessionTokens.open(url, sweep=False, audit=Audit(tmp_path / "anchors")) as st:
        assert read_now(st.store, verifying(st.store.keyring, [], lambda number: None)).findings == []
        with pytest.raises(OwnerDisabled):
            st.open_session("maja-secret")
        st.forget_owner("maja-secret")
        assert isinstance(st.store, SqliteStore) and [] == list(st.store.check())
        assert read_now(st.store, verifying(st.store.keyring, [], lambda number: None)).findings == []
        assert 1 == len(st.list_sessions()) and MANY == len(st.list_tokens(unassigned=True, limit=500))
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not [file for file in tmp_path.glob("a.db*") if b"maja-secret" in file.read_bytes()]
