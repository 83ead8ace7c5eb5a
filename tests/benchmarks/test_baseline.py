"""Judge turns that are made up here: the verdict must see what is slower, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.baseline import Compared
from benchmarks.harness import Samples

TURNS = 20


def test_a_busy_machine_makes_nothing_slower() -> None:
    """Half of the turns of one side take twice as long, because something else ran; the others tell what it takes."""
    row = _row(now=[10.0, 20.0] * 10, then=[10.0] * TURNS, control=[10.0] * TURNS)

    assert row.cpu_ratio == 1.0
    assert row.goal_is_met is True


def test_what_is_slower_than_the_noise_is_called_slower() -> None:
    row = _row(now=_around(10.5), then=_around(10.0), control=_around(10.0))

    assert row.noise is not None and row.noise < 0.02
    assert row.goal_is_met is False
    assert row.verdict.startswith("SLOWER (noise ")


def test_what_is_within_the_noise_is_not_called_slower() -> None:
    row = _row(now=_around(10.5), then=_around(10.0), control=_around(10.8))

    assert row.noise is not None and row.noise > 0.06
    assert row.goal_is_met is True


def test_rates_are_judged_by_their_best_turns_too() -> None:
    slower = _row(now=_around(90.0), then=_around(100.0), control=_around(100.0), more_is_better=True)
    disturbed = _row(now=[100.0, 50.0] * 10, then=[100.0] * TURNS, control=[100.0] * TURNS, more_is_better=True)

    assert slower.goal_is_met is False
    assert disturbed.goal_is_met is True


def test_without_a_control_the_goal_leaves_room() -> None:
    slightly, much = (_row(now=_around(took), then=_around(10.0)) for took in (10.5, 11.5))

    assert slightly.noise is None and slightly.verdict == "not slower"
    assert much.verdict == "SLOWER"


@pytest.mark.process
def test_a_control_is_measured_and_kept(tmp_path: Path) -> None:
    wanted = ["baseline", "--quick", "--control", "--parts", "memory", "--results", str(tmp_path)]
    assert main(wanted) == 0

    result = json.loads((tmp_path / "baseline.json").read_text(encoding="utf-8"))
    assert result["command"].endswith("--commit HEAD --control --parts memory")
    assert {row["what"].partition(":")[0] for row in result["rows"]} == {"memory"}
    for row in result["rows"]:
        assert row["control"]["work_done"] > 0, row["what"]
        assert row["noise"] >= 0
        said = float(row["verdict"].rpartition("(noise ")[2].removesuffix("%)")) / 100
        assert said == pytest.approx(row["noise"], abs=0.001)


def _row(
    *, now: Sequence[float], then: Sequence[float], control: Sequence[float] | None = None, more_is_better: bool = False
) -> Compared:
    ours, peer = (Samples("any", list(values), list(values)) for values in (now, then))
    row = Compared("what", ours, peer, "1/s" if more_is_better else "us", 0.93, more_is_better=more_is_better)
    if control is not None:
        row.control = Samples("control", list(control), list(control))
    return row


def _around(middle: float) -> list[float]:
    drawn = random.Random(middle)
    return [middle * drawn.uniform(0.995, 1.005) for _ in range(TURNS)]
