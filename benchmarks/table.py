"""Put the kept results into docs/explanation/performance.md, so that the page never says other numbers than the files.

A run whose results are kept does it by itself; `python -m benchmarks.table` does it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import QUESTIONS
from benchmarks.harness import RESULTS, ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- results: begin (written by benchmarks/table.py) -->", "<!-- results: end -->"


def render(results: Path = RESULTS) -> str:
    """Make the Markdown of every kept result, one table a question.

    Only ratios and medians are shown; the files hold every sample.
    """
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in _kept(results)]
    return "\n\n".join(map(_question, kept)) or "No results are kept yet."


def put_into(page: str, tables: str) -> str:
    """Replace what stands between the two marks of the page.

    Raises:
        ValueError: if a mark is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} needs the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _kept(results: Path) -> list[Path]:
    return [path for name in QUESTIONS if (path := results / f"{name}.json").exists()]


def _question(result: dict[str, Any]) -> str:
    lines = [
        f"### {result['question']}",
        "",
        result["asks"],
        "",
        "| | ours | peer | unit | ratio | by processor time | goal |",
        "|---|---:|---:|---|---:|---:|---|",
        *(_row(row) for row in result["rows"]),
        "",
        *(f"- {note}" for note in result["notes"]),
        _how(result),
    ]
    return "\n".join(lines)


def _how(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"- `{result['command']}`, {result['repeats']} turns a side, medians, {result['date']}, {machine['processor']}"
        f" with {machine['cores']} cores, {machine['system']}, load {machine['load']}; {versions}"
    )


def _row(row: dict[str, Any]) -> str:
    peer = "" if row["peer"] is None else _number(row["peer"]["median"])
    ratio, by_cpu = _ratio(row["ratio"]), _ratio(row["ratio_of_processor_time"])
    verdict = {True: "met", False: "missed", None: ""}[row["goal_is_met"]]
    goal = "" if row["goal"] is None else f"{'≤' if row['goal_is_limit'] else '≥'} {row['goal']:g}x: {verdict}"
    return (
        f"| {row['what']} | {_number(row['ours']['median'])} | {peer} | {row['unit']} | {ratio} | {by_cpu} | {goal} |"
    )


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:,.2f}x" if ratio < 100 else f"{ratio:,.0f}x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write() -> None:
    """Bring the page up to date with the kept results."""
    PAGE.write_text(put_into(PAGE.read_text(encoding="utf-8"), render()), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} holds the results of {len(_kept(RESULTS))} questions\n")
