"""Is anything slower than it was at an earlier commit?

Both sides are this project, each with the code and the sides of its own tree, on the same Python, the same servers and
with the same population; they take turns. `--commit` names the earlier one. A ratio of 1 is as fast as then.

Other programs on the machine only ever make a turn slower, so the turns are many and short, and what is compared is the
best quarter of them, by processor time where that is known. With `--control` a second process of the earlier commit
takes turns too: how far the two are from each other, which are the same, is the noise of that row, and only what is
slower by more is called slower. Without it, the goal leaves room for a machine that is not alone.
"""

from __future__ import annotations

import io
import random
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import BASELINE_PARTS
from benchmarks.harness import (
    ROOT,
    Measured,
    Options,
    Report,
    Row,
    Samples,
    Side,
    compare,
    per_operation_us,
    per_second,
)
from benchmarks.sides import http_side, native_side, postgres_side, token_tables_side, valkey_side
from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

GOAL = 0.93
SLICES = 4
"""Short turns in place of one long one."""
RESAMPLES = 400
EMBEDDED = (
    ("verify_session", 50_000), ("verify_token", 50_000), ("open_session", 5_000), ("issue_token", 5_000),
    ("transfer_token", 5_000), ("destroy_session", 500),
)  # fmt: skip
TABLES = (
    ("active_session", 100_000), ("transition_token_is_active", 100_000), ("from_token", 100_000),
    ("add_session", 20_000), ("transfer_token", 20_000), ("destroy_session", 2_000),
)  # fmt: skip
ON_SERVERS = (
    ("verify_session", 8_000), ("verify_session, unseen", 2_000), ("verify_token", 8_000), ("change_session", 3_000),
    ("issue_token", 3_000), ("transfer_token", 3_000),
)  # fmt: skip
Cases = Iterator[tuple[str, Callable[[Side], Measured]]]


class Sides(NamedTuple):
    """What takes turns: this tree, the earlier one and, as a control, that one again."""

    now: Side
    then: Side
    control: Side | None


@dataclass
class Compared(Row):
    """One line: this tree beside the earlier one, and how far that one is from itself.

    Attributes:
        control: the samples of the earlier tree in a second process, `None` where it was not asked for.
    """

    control: Samples | None = None

    def reduced(self, values: Sequence[float]) -> float:
        """Return the border of the best quarter of the turns."""
        if len(values) < 2:
            return values[0]
        quartiles = statistics.quantiles(values, n=4, method="inclusive")
        return quartiles[2 if self.more_is_better else 0]

    @property
    def noise(self) -> float | None:
        """How far from 1 a ratio may come by itself: in 95 of 100 drawings from the turns of then and control."""
        if self.control is None or self.peer is None:
            return None
        then, control = (one.cpu_values or one.values for one in (self.peer, self.control))
        drawn = random.Random(0)  # the same turns make the same noise
        turns = range(len(then))
        off = []
        for _ in range(RESAMPLES):
            chosen = drawn.choices(turns, k=len(turns))
            off.append(abs(self._ratio_of([then[n] for n in chosen], [control[n] for n in chosen]) - 1))
        return sorted(off)[round(0.95 * (RESAMPLES - 1))]

    @property
    def goal_is_met(self) -> bool | None:
        """Whether it is no slower than then, by processor time where that is known."""
        ratio = self.ratio if self.cpu_ratio is None else self.cpu_ratio
        if self.goal is None or ratio is None:
            return None
        noise = self.noise
        return ratio >= (self.goal if noise is None else 1 - noise)

    @property
    def verdict(self) -> str:
        """Whether it is slower, and the noise that was told apart from that."""
        words = {True: "not slower", False: "SLOWER", None: ""}[self.goal_is_met]
        return words if self.noise is None else f"{words} (noise {self.noise:.1%})"

    def as_json(self) -> dict[str, Any]:
        """Give the row with its control."""
        control = None if self.control is None else self.control.as_json()
        noise = None if self.noise is None else round(self.noise, 4)
        return {**super().as_json(), "control": control, "noise": noise, "verdict": self.verdict}


def run(options: Options) -> Report:
    """Ask both trees the same, one store after another."""
    report = Report("baseline", (__doc__ or "").split("\n", 1)[0])
    if not options.quick:
        options = replace(options, repeats=options.repeats * SLICES)
    commit = tree_at(options.commit, None)
    report.notes.append(f"the peer is commit {commit}; {options.repeats} short turns a side, the best quarter compared")
    with tempfile.TemporaryDirectory() as name:
        then = Path(name) / "then"
        tree_at(options.commit, then)
        for part in options.parts or BASELINE_PARTS:
            rows = _PARTS[part]
            with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
                report.rows += rows(options, stack, then, Path(folder))
    return report


def tree_at(commit: str, folder: Path | None) -> str:
    """Unpack the files of a commit, and return its hash.

    Args:
        folder: where to; `None` only looks the commit up.
    """
    named = ["git", "rev-parse", "--verify", f"{commit}^{{commit}}"]
    found = subprocess.run(named, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    if folder is not None:
        packed = subprocess.run(["git", "archive", found], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
    return found


def _names(options: Options) -> Sequence[str]:
    return ("now", "then", "control") if options.control else ("now", "then")


def _sides(
    options: Options,
    stack: ExitStack,
    then: Path,
    start: Callable[..., Side],
    sessions: int,
    *arguments: Callable[[str], Any],
    sources: str = "root",
) -> Sides:
    """Start a side from this tree and from the earlier one; what tells them apart goes into their arguments.

    Args:
        sources: how `start` calls the tree.
    """
    started = []
    for name in _names(options):
        tree = {} if name == "now" else {sources: then}
        side = stack.enter_context(start(*[argument(name) for argument in arguments], **tree))
        if name != "now":
            side.label = name
        side.ask("prepare", sessions=sessions)
        started.append(side)
    return Sides(started[0], started[1], started[2] if options.control else None)


def _rows(options: Options, what: str, sides: Sides, cases: Cases, unit: str) -> list[Row]:
    rows: list[Row] = []
    for name, turn in cases:
        row = Compared(
            f"{what}: {name}", Samples(sides.now.label), Samples("then"), unit, GOAL, more_is_better=unit == "1/s"
        )
        further = []
        if sides.control is not None:
            row.control = Samples("control")
            further.append((row.control, partial(turn, sides.control)))
        rows.append(compare(options, row, partial(turn, sides.now), partial(turn, sides.then), *further))
    return rows


def _each(options: Options, operations: tuple[tuple[str, int], ...], tasks: int | None = None) -> Cases:
    for operation, count in operations:
        measured = options.scaled(count // SLICES, quick=50)
        if tasks is None:
            yield operation, partial(_time, operation, measured)
        else:
            yield operation, partial(_rate, operation, measured, tasks)


def _time(operation: str, count: int, side: Side) -> Measured:
    return per_operation_us(side.ask("time_operation", operation=operation, count=count), side.label)


def _rate(operation: str, count: int, tasks: int, side: Side) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=tasks), side.label)


def _introspect(count: int, connections: int, side: Side) -> Measured:
    return per_second(side.ask("introspect", count=count, connections=connections), side.label)


def _tables(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    sides = _sides(options, stack, then, token_tables_side, options.scaled(10_000, quick=100))
    return _rows(options, "TokenTables", sides, _each(options, TABLES), "us")


def _memory(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    sides = _sides(options, stack, then, native_side, options.scaled(10_000, quick=50), lambda _: "memory://")
    return _rows(options, "memory", sides, _each(options, EMBEDDED), "us")


def _sqlite(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    sessions = options.scaled(5_000, quick=50)
    sides = _sides(options, stack, then, native_side, sessions, lambda name: f"sqlite:///{folder}/{name}.db")
    fewer = tuple((operation, count // 10) for operation, count in EMBEDDED if operation != "destroy_session")
    return _rows(options, "SQLite", sides, _each(options, fewer), "us")


def _http(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    def own_folder(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    return _http_rows(options, "HTTP", stack, then, own_folder)


def _http_rows(
    options: Options, what: str, stack: ExitStack, then: Path, where: Callable[[str], Path | str]
) -> list[Row]:
    """Introspect over HTTP, both trees served each on its own store and loaded by the same program."""
    start, sessions = partial(http_side, "session-tokens"), options.scaled(5_000, quick=50)
    sides = _sides(options, stack, then, start, sessions, where, sources="sources")
    count = options.scaled(5_000 // SLICES, quick=50)
    cases = ((f"introspect, {number} under way", partial(_introspect, count, number)) for number in (1, 32))
    return _rows(options, what, sides, iter(cases), "1/s")


def _valkey(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    def own_server(_: str) -> str:  # keys and function library of one would be met by the other
        server = ValkeyServer()
        stack.callback(server.remove)
        server.start()
        return server.url

    servers = {name: own_server(name) for name in _names(options)}
    rows = _http_rows(options, "HTTP on Valkey", stack, then, servers.__getitem__)
    sessions = options.scaled(2_000, quick=60)
    sides = _sides(options, stack, then, partial(valkey_side, "native"), sessions, servers.__getitem__)
    for tasks, operations in ((50, ON_SERVERS), (1, (("verify_session", 2_000), ("verify_session_blocking", 2_000)))):
        rows += _rows(options, f"Valkey, {tasks} tasks", sides, _each(options, operations, tasks), "1/s")
    return rows


def _postgres(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    server = stack.enter_context(running_server())
    rows = _http_rows(options, "HTTP on PostgreSQL", stack, then, lambda _: server.new_database())
    sessions = options.scaled(2_000, quick=60)
    sides = _sides(options, stack, then, partial(postgres_side, "native"), sessions, lambda _: server.new_database())
    fewer = tuple((operation, count // 2) for operation, count in ON_SERVERS)
    for tasks, operations in ((20, fewer), (1, (("verify_session", 1_000), ("verify_session_blocking", 1_000)))):
        rows += _rows(options, f"PostgreSQL, {tasks} tasks", sides, _each(options, operations, tasks), "1/s")
    return rows


_PARTS = dict(zip(BASELINE_PARTS, (_tables, _memory, _sqlite, _http, _valkey, _postgres), strict=True))
