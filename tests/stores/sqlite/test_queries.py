"""What an SQLite file is asked beside its records: whether anybody has committed."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.sqlite_files import add_session, opened, relabel


def test_the_state_is_another_after_each_commit_of_any_connection_and_the_same_otherwise(tmp_path: Path) -> None:
    store, other = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
    store.run_now(add_session, "s1", "ann", store.clock)
    _, state = store.state_now()
    assert store.find_session_now(["lookup of s1"])[1] is not None
    assert store.state_now()[1] is state

    store.run_now(relabel, "s1", "two")
    _, relabelled = store.state_now()
    assert relabelled is not state
    assert store.state_now()[1] is relabelled
    other.run_now(relabel, "s1", "three")
    assert store.state_now()[1] is not relabelled
    store.close_now()
    other.close_now()
