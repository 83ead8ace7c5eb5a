"""Run two or more sides in turns, reduce the samples to ratios, print them, and keep them as JSON.

Theory of operation: a `Side` is a child process that answers requests (`sides/serving.py`, `peers/npm_tokens.cjs`).
A question starts its sides, asks them to prepare, and then calls `take_turns`, which measures A B A B ... . The samples
become a `Row`; rows become a `Report`. A side that did not do the work it was timed for is an error, not a number.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ON_REQUEST, machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
REPEATS = 5


class NothingMeasured(RuntimeError):
    """A side answered wrongly or failed, so its time means nothing."""


@dataclass(frozen=True)
class Options:
    """Say how much to measure.

    Attributes:
        repeats: turns for each side.
        quick: a smoke run with tiny counts; its numbers mean nothing, its results are not kept.
        full: also the sizes that take minutes.
        plain: not our side with a compiled core, where a question knows of it.
        results: the folder for the JSON.
        commit: what `baseline` measures beside this tree.
        control: whether `baseline` also measures that commit against itself.
        parts: of `baseline` that are measured; all if empty.
    """

    repeats: int = REPEATS
    quick: bool = False
    full: bool = False
    plain: bool = False
    results: Path = RESULTS
    commit: str = "HEAD"
    control: bool = False
    parts: tuple[str, ...] = ()

    @property
    def compiled(self) -> bool:
        """Whether our side is measured with a compiled core too."""
        return not (self.plain or self.quick)

    def scaled(self, count: int, quick: int) -> int:
        """Choose the count of a real run or of a smoke run."""
        return quick if self.quick else count


class Side:
    """One measured program in a process of its own; use it as a context manager.

    Args:
        root: the tree whose program it is.
    """

    def __init__(
        self, label: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, root: Path = ROOT
    ) -> None:
        self.label = label
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
        )

    def ask(self, command: str, **request: object) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            NothingMeasured: if the side failed or ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise NothingMeasured(f"{self.label} ended while asked for {command!r} (exit code {self._process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise NothingMeasured(f"{self.label} failed at {command!r}:\n{answer['error']}")
        result: dict[str, Any] = answer["answer"]
        return result

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._process.stdout.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Samples:
    """What one side measured for one row, one number a turn.

    Attributes:
        values: by the clock on the wall.
        cpu_values: the same by processor time, where that means something.
        work_done: how many operations were checked and right.
    """

    label: str
    values: list[float] = field(default_factory=list)
    cpu_values: list[float] = field(default_factory=list)
    work_done: int = 0

    def as_json(self) -> dict[str, Any]:
        """Give the numbers with their minimum, median and maximum."""
        return {
            "label": self.label,
            "min": min(self.values),
            "median": statistics.median(self.values),
            "max": max(self.values),
            "values": self.values,
            "median_of_processor_time": statistics.median(self.cpu_values) if self.cpu_values else None,
            "values_of_processor_time": self.cpu_values,
            "work_done": self.work_done,
        }


@dataclass
class Row:
    """One line of a report: the same thing measured on both sides.

    Attributes:
        ours, peer: the samples; `peer` is None where the peer could not be had or there is none.
        unit: of the samples, for example "us" or "bytes".
        goal: how many times better than the peer we want to be, or None where no goal was set.
        more_is_better: True for rates, False for times and sizes.
        goal_is_limit: the ratio is ours to peer and must stay below the goal (growth, memory).
    """

    what: str
    ours: Samples
    peer: Samples | None
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    goal_is_limit: bool = False

    @classmethod
    def between(cls, what: str, ours: Side, peer: Side | None, unit: str, goal: float | None = None) -> Row:
        """Begin a row for two sides."""
        return cls(what, Samples(ours.label), Samples(peer.label) if peer else None, unit, goal, unit == "1/s")

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer (or, with `goal_is_limit`, ours divided by the peer's)."""
        return None if self.peer is None else self._ratio_of(self.ours.values, self.peer.values)

    @property
    def cpu_ratio(self) -> float | None:
        """The same by processor time, which turns of other programs on the machine disturb less."""
        if self.peer is None or not self.ours.cpu_values or not self.peer.cpu_values:
            return None
        return self._ratio_of(self.ours.cpu_values, self.peer.cpu_values)

    def reduced(self, values: Sequence[float]) -> float:
        """Reduce the turns of one side to the number that is compared."""
        return statistics.median(values)

    def _ratio_of(self, ours_values: Sequence[float], peer_values: Sequence[float]) -> float:
        ours, peer = self.reduced(ours_values), self.reduced(peer_values)
        upper, lower = (ours, peer) if self.more_is_better or self.goal_is_limit else (peer, ours)
        return upper / lower if lower else math.inf

    @property
    def goal_is_met(self) -> bool | None:
        """Whether the ratio reaches the goal; None where there is nothing to compare."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio <= self.goal if self.goal_is_limit else self.ratio >= self.goal

    @property
    def verdict(self) -> str:
        """The goal and whether it is met, in words; nothing where none was set."""
        if self.goal is None:
            return ""
        return f"{'<=' if self.goal_is_limit else '>='} {self.goal:g}x {_VERDICT[self.goal_is_met]}"

    def as_json(self) -> dict[str, Any]:
        """Give the row with everything a reader needs to judge it."""
        ratio, cpu_ratio = self.ratio, self.cpu_ratio
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours.as_json(),
            "peer": self.peer.as_json() if self.peer else None,
            "ratio": None if ratio is None or math.isinf(ratio) else round(ratio, 4),
            "ratio_of_processor_time": None if cpu_ratio is None else round(cpu_ratio, 4),
            "ratio_is": "ours / peer" if self.more_is_better or self.goal_is_limit else "peer / ours",
            "goal": self.goal,
            "goal_is_limit": self.goal_is_limit,
            "goal_is_met": self.goal_is_met,
        }


@dataclass
class Report:
    """What one question found out."""

    question: str
    asks: str
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def show(self) -> None:
        """Print both sides of every row and the ratio."""
        print(f"\n{self.question}: {self.asks}")
        header = f"  {'':46} {'ours':>24} {'peer':>24} {'unit':>6} {'ratio':>9} {'by cpu':>9}  goal"
        print(header)
        for row in self.rows:
            ratio = "-" if row.ratio is None else "inf" if math.isinf(row.ratio) else f"{row.ratio:.2f}x"
            by_cpu = "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}x"
            peer = "" if row.peer is None else _spread(row.peer.values)
            ours = _spread(row.ours.values)
            print(f"  {row.what:46} {ours:>24} {peer:>24} {row.unit:>6} {ratio:>9} {by_cpu:>9}  {row.verdict}")
        for note in self.notes:
            print(f"  note: {note}")

    def keep(self, options: Options) -> Path:
        """Write the report as JSON, with machine, versions, date and command."""
        flags = "".join(f" --{name}" for name in ("quick", "full", "plain") if getattr(options, name))
        if not options.quick and options.repeats != REPEATS:
            flags += f" --repeats {options.repeats}"
        if self.question in ON_REQUEST:
            flags += f" --commit {options.commit}" + (" --control" if options.control else "")
            flags += f" --parts {' '.join(options.parts)}" if options.parts else ""
        content = {
            "question": self.question,
            "asks": self.asks,
            "command": f"python -m benchmarks {self.question}{flags}",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "repeats": options.repeats,
            "machine": machine.describe(),
            "versions": {**machine.versions(), **self.versions},
            "notes": self.notes,
            "rows": [row.as_json() for row in self.rows],
        }
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / f"{self.question}.json"
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return path


_VERDICT = {True: "met", False: "MISSED", None: ""}


class Measured(NamedTuple):
    """What one turn of one side came to: by the wall, by processor time (or None), and the work that was right."""

    value: float
    cpu_value: float | None
    work_done: int


Turn = Callable[[], Measured]


def take_turns(repeats: int, measures: Sequence[tuple[Samples, Turn]]) -> None:
    """Measure A B A B ...: each measure answers its numbers and how much work was checked to be right."""
    for _ in range(repeats):
        for samples, measure in measures:
            measured = measure()
            samples.values.append(measured.value)
            if measured.cpu_value is not None:
                samples.cpu_values.append(measured.cpu_value)
            samples.work_done += measured.work_done


def compare(options: Options, row: Row, ours: Turn, peer: Turn | None, *further: tuple[Samples, Turn]) -> Row:
    """Fill a row by taking turns, after one turn of each side that is not kept (compilers and caches warm up in it).

    Args:
        further: what else is measured in the same turns.
    """
    measures = [(row.ours, ours), *further]
    if row.peer is not None and peer is not None:
        measures.append((row.peer, peer))
    if not options.quick:
        take_turns(1, [(Samples("warm-up"), measure) for _, measure in measures])
    take_turns(1 if options.quick else options.repeats, measures)
    return row


def per_operation_us(answer: Mapping[str, Any], label: str) -> Measured:
    """Turn a side's answer into microseconds for one operation, after checking that its work was done.

    Raises:
        NothingMeasured: if any answer the side checked was wrong.
    """
    check_work(answer, label)
    each = 1e6 / answer["operations"]
    return Measured(answer["seconds"] * each, answer["cpu_seconds"] * each, int(answer["right"]))


def per_second(answer: Mapping[str, Any], label: str) -> Measured:
    """Turn a side's answer into operations a second, after checking that its work was done."""
    check_work(answer, label)
    operations, cpu_seconds = answer["operations"], answer["cpu_seconds"]
    by_cpu = operations / cpu_seconds if cpu_seconds else None
    return Measured(operations / answer["seconds"], by_cpu, int(answer["right"]))


def check_work(answer: Mapping[str, Any], label: str) -> None:
    """Refuse an answer whose checked operations were not all right."""
    checked = answer.get("checked", answer["operations"])
    if answer["right"] != checked or not checked:
        raise NothingMeasured(f"{label}: only {answer['right']} of {checked} checked operations did their work")


def _spread(values: Sequence[float]) -> str:
    return " / ".join(_short(value) for value in (min(values), statistics.median(values), max(values)))


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
