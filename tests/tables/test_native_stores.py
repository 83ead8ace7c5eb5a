"""Tables on a native store: a name space of their own, strings sealed or in clear, and never usable from a copy."""

import sqlite3
from pathlib import Path

import pytest

from session_tokens import FROM_DB, InvalidInput, SessionTokens, TokenTables
from session_tokens.testing import ManualClock


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tables.db'}"


def bytes_of(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(".key"))


def test_tables_and_session_tokens_do_not_see_each_other(url: str) -> None:
    with TokenTables.open(url, sweep=False) as tables, SessionTokens.open(url, sweep=False) as st:
        tables.add_session("s1", "alice", "t1")
        st.open_session("alice")

        assert st.list_tokens().items == []
        assert len(st.list_sessions("alice").items) == 1
        assert tables.active_session("s1", "alice") is True


@pytest.mark.parametrize(("strings", "in_clear"), [("sealed", False), ("clear", True)])
def test_strings_are_kept_as_asked(url: str, tmp_path: Path, strings: str, in_clear: bool) -> None:
    with TokenTables.open(url, token_strings=strings, sweep=False) as tables:  # type: ignore[arg-type]  # one of two
        tables.add_session("canary-session-string", "alice", "canary-token-string")
        tables.add_transferable_token("canary-seat", "12", "alice")

        assert tables.list_tranferable_tokens("canary-session-string") == ["canary-seat"]
        assert (b"canary-session-string" in bytes_of(tmp_path)) is in_clear
        assert (b"canary-token-string" in bytes_of(tmp_path)) is in_clear


def test_sealed_is_the_default_and_is_recorded(url: str) -> None:
    with TokenTables.open(url, sweep=False) as tables:
        tables.add_session("s1", "alice")
    with pytest.raises(InvalidInput, match="sealed"):
        TokenTables.open(url, token_strings="clear", sweep=False)
    with TokenTables.open(url, token_strings="sealed", sweep=False) as tables:
        assert tables.active_session("s1", "alice") is True


def test_an_unknown_way_to_keep_strings_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="token_strings"):
        TokenTables.open(url, token_strings="plain", sweep=False)  # type: ignore[arg-type]  # that is the point


def test_a_sealed_string_copied_over_another_is_refused(url: str, tmp_path: Path) -> None:
    """The row's MAC finds it first; the list does not answer a string that belongs to another record."""
    with TokenTables.open(url, sweep=False) as tables:
        tables.add_session("s1", "alice")
        tables.add_transferable_token("a", "1", "alice")
        tables.add_transferable_token("b", "2", "alice")
    with sqlite3.connect(tmp_path / "tables.db") as raw:
        (table,) = raw.execute("select name from sqlite_master where name like 'tt%tokens'").fetchone()
        raw.execute(f"update {table} set name = (select name from {table} where value = '1')")
    raw.close()

    with TokenTables.open(url, sweep=False) as tables:
        assert tables.list_tranferable_tokens("s1") == ["a"]


def test_the_general_timeout_is_shared_by_the_store(url: str, clock: ManualClock) -> None:
    """Until one is written, the last value stands: an hour."""
    with (
        TokenTables.open(url, clock=clock, sweep=False) as one,
        TokenTables.open(url, clock=clock, sweep=False) as other,
    ):
        for tables in (one, other):
            tables.set_general_session_timeout(FROM_DB)
        one.add_session("s1", "alice")
        one.share_general_session_timeout(7_000)
        other.add_session("s2", "bob")
        one.share_general_session_timeout(None)
        one.add_session("s3", "carol")

        assert one.get_session_timeout("s1") == 3_600_000
        assert other.get_session_timeout("s2") == 7_000
        assert one.get_session_timeout("s3") == float("inf")
