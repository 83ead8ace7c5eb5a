"""How much more does one command cost when the population grows from 10,000 sessions to 100,000 and a million?

The peer of each row is the same side with 10,000 sessions, in the same run. Reads are measured in two orders: all
sessions alike, which shows caches running out (the processor's, for which a plain dict is measured beside it, and those
of a store), and a hot set of 1,000, which is how sessions are used and shows what the data structures themselves cost.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.sides import native_side, token_tables_side

SIZES, SIZES_FULL, SIZES_QUICK = (10_000, 100_000), (10_000, 100_000, 1_000_000), (20, 60)
HOT = 1_000
GOAL_MEMORY, GOAL_SQLITE = 1.3, 2.0

# Operation and how often in a turn; those that read are measured with a hot set too.
MEMORY_READS = [("active_session", 50_000), ("transition_token_is_active", 50_000), ("from_token", 50_000)]
MEMORY_WRITES = [("add_session", 5_000), ("transfer_token", 10_000), ("destroy_session", 500)]
MEMORY_NATIVE = [("verify_session", 20_000), ("open_session", 2_000), ("list_sessions", 5)]
SQLITE = [
    ("verify_session", 5_000),
    ("open_session", 300),
    ("transfer_token", 300),
    ("destroy_session", 50),
    ("list_sessions", 20),
]


def run(options: Options) -> Report:
    """Measure the same side at every size, the sizes in turns."""
    report = Report("growth", (__doc__ or "").split("\n", 1)[0])
    sizes = SIZES_QUICK if options.quick else SIZES_FULL if options.full else SIZES
    report.notes.append("the peer of each row is the same side with the smallest population")
    _in_memory(options, report, sizes)
    with ExitStack() as stack:
        sides = [stack.enter_context(native_side("memory://")) for _ in sizes]
        _native(options, report, "memory, native", sides, sizes, MEMORY_NATIVE, GOAL_MEMORY)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sides = [stack.enter_context(native_side(f"sqlite:///{Path(folder) / f'{size}.db'}")) for size in sizes]
        _native(options, report, "sqlite", sides, sizes, SQLITE, GOAL_SQLITE)
    return report


def _in_memory(options: Options, report: Report, sizes: tuple[int, ...]) -> None:
    with ExitStack() as stack:
        sides = [stack.enter_context(token_tables_side()) for _ in sizes]
        for side, size in zip(sides, sizes, strict=True):
            side.ask("prepare", sessions=size)
            side.ask("prepare_raw", sessions=size)
        for side, size in zip(sides[1:], sizes[1:], strict=True):
            pair = (side, sides[0])
            for operation, count in MEMORY_READS:
                measured = options.scaled(count, quick=20)
                for how, hot in (("hot set", options.scaled(HOT, quick=10)), ("all alike", None)):
                    goal = GOAL_MEMORY if hot else None
                    turns = [partial(_time, each, operation=operation, count=measured, hot=hot) for each in pair]
                    _row(options, report, f"memory {size}: {operation}, {how}", goal, turns)
            for operation, count in MEMORY_WRITES:
                measured = options.scaled(count, quick=20)
                turns = [partial(_time, each, operation=operation, count=measured) for each in pair]
                _row(options, report, f"memory {size}: {operation}", GOAL_MEMORY, turns)
            raw_turns = [partial(_raw, each, options.scaled(50_000, quick=20)) for each in pair]
            _row(options, report, f"memory {size}: a plain dict, all alike", None, raw_turns)


def _native(
    options: Options,
    report: Report,
    where: str,
    sides: list[Side],
    sizes: tuple[int, ...],
    operations: list[tuple[str, int]],
    goal: float,
) -> None:
    for side, size in zip(sides, sizes, strict=True):
        side.ask("prepare", sessions=size, tokens=False)
    for side, size in zip(sides[1:], sizes[1:], strict=True):
        for operation, count in operations:
            measured = options.scaled(count, quick=min(count, 10))
            orders: list[tuple[str, dict[str, int]]] = [("", {})]
            if operation == "verify_session":
                orders = [(", hot set", {"hot": options.scaled(HOT, quick=10)}), (", all alike", {})]
            for how, more in orders:
                turns = [partial(_time, each, operation=operation, count=measured, **more) for each in (side, sides[0])]
                _row(options, report, f"{where} {size}: {operation}{how}", goal, turns)


def _row(options: Options, report: Report, what: str, goal: float | None, turns: list[partial[Measured]]) -> None:
    row = Row(what, Samples("this size"), Samples("smallest size"), "us", goal, goal_is_limit=True)
    report.rows.append(compare(options, row, turns[0], turns[1]))


def _time(side: Side, **request: object) -> Measured:
    return per_operation_us(side.ask("time_operation", **request), side.label)


def _raw(side: Side, count: int) -> Measured:
    return per_operation_us(side.ask("look_up_raw", count=count), "a plain dict")
