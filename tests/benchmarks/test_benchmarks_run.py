"""Run every benchmark once, tiny: both sides must have done the work they report on; times are never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import KNOWN, main
from benchmarks.harness import NothingMeasured, check_work
from benchmarks.table import PAGE, put_into, render
from tests.helpers.effort import PROVING

pytestmark = pytest.mark.process
TRIED = [question for question in KNOWN if PROVING or question != "http_workers"]
"""All, but for the one that starts nine processes where not everything is proven."""


@pytest.mark.share(5)
@pytest.mark.parametrize("question", TRIED)
def test_a_smoke_run_measures_work_that_was_done_on_every_side(question: str, tmp_path: Path) -> None:
    """A missing peer (no node, no network) is written into the result by name; our side is measured all the same."""
    parts = ["--parts", "tables"] if question == "baseline" and not PROVING else []
    exit_code = main([question, "--quick", *parts, "--results", str(tmp_path)])

    result = json.loads((tmp_path / f"{question}.json").read_text(encoding="utf-8"))
    assert exit_code == 0
    assert result["rows"], "a benchmark without rows measures nothing"
    peer_is_missing = any(note.startswith("peer not measured: ") for note in result["notes"])
    for row in result["rows"]:
        assert row["ours"]["work_done"] > 0, row["what"]
        if row["peer"] is None:
            assert peer_is_missing or "npm" not in row["what"], row["what"]
        else:
            assert row["peer"]["work_done"] > 0, row["what"]
    assert {"processor", "cores", "memory_gib", "load", "system"} == set(result["machine"])
    assert {"python", "sqlite", "session-tokens"} <= set(result["versions"])
    assert result["command"].startswith(f"python -m benchmarks {question}")


def test_a_side_that_did_only_part_of_its_work_is_refused() -> None:
    with pytest.raises(NothingMeasured, match="only 9 of 10"):
        check_work({"operations": 10, "right": 9, "seconds": 1.0}, "a lazy side")


def test_a_side_that_checked_nothing_is_refused() -> None:
    with pytest.raises(NothingMeasured):
        check_work({"operations": 10, "right": 0, "checked": 0, "seconds": 1.0}, "a blind side")


def test_an_unknown_benchmark_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["no_such_question"])

    assert ended.value.code == 2
    assert "no_such_question" in capsys.readouterr().err


def test_the_page_of_results_holds_what_the_kept_results_say() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == put_into(page, render())
