"""The file of anchors on a disk that is full, and after a crash in the midst of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_tokens import InvalidInput, SessionTokens
from session_tokens.audit.log import Audit, read_anchors
from session_tokens.audit.reader import read_now, verifying
from session_tokens.cli.main import main
from tests.helpers.full_disk import full_at


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "anchor.jsonl"


def numbers_in(anchor: Path) -> list[int]:
    return [one.heads[0].number for one in read_anchors(anchor)]


def test_an_anchor_that_a_full_disk_cut_leaves_nothing_behind(anchor: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A half of a line would be no anchor, and neither would the next one that is written behind it."""
    with SessionTokens.open("memory://", sweep=False, audit=Audit(anchor, every=1)) as st:
        st.open_session("alice")
        whole = anchor.read_bytes()
        with full_at(len(whole) + 40):
            st.open_session("bob")
        assert anchor.read_bytes() == whole
        assert "cannot be written" in caplog.text
        st.open_session("carol")
        verdict = read_now(st.store, verifying(st.store.keyring, read_anchors(anchor), lambda number: None))

    assert numbers_in(anchor) == [1, 3]
    assert verdict == (3, 2, [])


@pytest.mark.parametrize("kept", [1, 5, 6, 40, 100])
def test_an_anchor_that_a_crash_cut_is_passed_over_and_told(
    url: str, anchor: Path, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=1)) as st:
        st.open_session("alice")
        st.open_session("bob")
    first, second, _ = anchor.read_bytes().split(b"\n")
    anchor.write_bytes(first + b"\n" + second[:kept])
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=1)) as st:
        st.open_session("carol")
    capsys.readouterr()
    code = main(["audit", "verify", "--anchor", str(anchor), "--store", url])
    said = capsys.readouterr()

    assert numbers_in(anchor) == [1, 3]
    assert (code, said.out) == (0, "whole: 3 entries, 2 anchors\n")
    assert "line 2" in said.err and "broken off" in said.err


def test_an_anchor_that_was_written_behind_half_of_another_is_passed_over(url: str, anchor: Path) -> None:
    """So a full disk left them before halves were taken back."""
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=1)) as st:
        for owner in ("alice", "bob", "carol"):
            st.open_session(owner)
    first, second, third, _ = anchor.read_bytes().split(b"\n")
    anchor.write_bytes(b"\n".join((first, second[:40] + second, third, b"")))

    assert numbers_in(anchor) == [1, 3]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"mac":' * 100_000, "9" * 100_000, "{}", "[]"])
def test_a_line_that_is_no_anchor_is_told_by_its_number(anchor: Path, line: str) -> None:
    anchor.write_text(f"{line}\n")

    with pytest.raises(InvalidInput, match=r"line 1 of the anchor file .* is no anchor"):
        read_anchors(anchor)
