"""How much more does a log-in cost where the owner holds 10,000 or 100,000 transferable tokens than where they hold 10?

Each log-in replaces the owner's session (`max_sessions=1`), whose tokens are in the new one when it has answered; this
is looked up each time. Nothing is swept meanwhile, so that all of them are still to be written down.
The peer of each row is the same side with 10 tokens.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.new_stores import NEW_STORES
from benchmarks.sides import log_in_side

SIZES, SIZES_FULL, SIZES_QUICK = (10, 10_000, 100_000), (10, 10_000, 100_000, 1_000_000), (3, 40)
GOAL = 1.5


def run(options: Options) -> Report:
    """Measure one store after the other, all sizes of one in turns."""
    report = Report("log_in", (__doc__ or "").split("\n", 1)[0])
    sizes = SIZES_QUICK if options.quick else SIZES_FULL if options.full else SIZES
    report.notes.append(f"the peer of each row is the same side with {sizes[0]} tokens")
    for where, count in (("memory", 1_000), ("sqlite", 100), ("valkey", 100), ("postgres", 50)):
        with NEW_STORES[where]() as new_store, ExitStack() as stack:
            sides = [stack.enter_context(log_in_side(new_store())) for _ in sizes]
            for side, size in zip(sides, sizes, strict=True):
                side.ask("prepare", tokens=size)
            for side, size in zip(sides[1:], sizes[1:], strict=True):
                row = Row(
                    f"{where}: log-in with {size} tokens", Samples(f"{size} tokens"), Samples(f"{sizes[0]} tokens"),
                    "us", GOAL, goal_is_limit=True,
                )  # fmt: skip
                measured = options.scaled(count, quick=3)
                turns = [partial(_turn, each, measured) for each in (side, sides[0])]
                report.rows.append(compare(options, row, turns[0], turns[1]))
    return report


def _turn(side: Side, count: int) -> Measured:
    return per_operation_us(side.ask("log_in", count=count), side.label)
