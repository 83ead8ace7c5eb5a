"""How much more does a list of which nothing matches cost over 100,000 tokens than over 1,000?

All tokens are session-bound, under ten sessions of one owner; asked for are transferable, offered and unassigned ones.
One page is asked for: it looks at about 1,000 tokens at the most, and names the next one.
The peer of each row is the same side with the fewest tokens.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.new_stores import NEW_STORES
from benchmarks.sides import empty_lists_side
from benchmarks.sides.log_in import OWNER

SIZES, SIZES_FULL, SIZES_QUICK = (1_000, 100_000), (1_000, 100_000, 1_000_000), (20, 60)
GOAL = 2.0
FILTERS: dict[str, dict[str, Any]] = {
    "transferable": {"transferable": True},
    "sellable": {"sellable": True},
    "unassigned": {"unassigned": True},
    "transferable, of the owner": {"owner": OWNER, "transferable": True},
}


def run(options: Options) -> Report:
    """Measure one store after the other, all sizes of one in turns."""
    report = Report("empty_lists", (__doc__ or "").split("\n", 1)[0])
    sizes = SIZES_QUICK if options.quick else SIZES_FULL if options.full else SIZES
    report.notes.append(f"the peer of each row is the same side with {sizes[0]} tokens")
    for where in NEW_STORES:
        with NEW_STORES[where]() as new_store, ExitStack() as stack:
            sides = [stack.enter_context(empty_lists_side(new_store())) for _ in sizes]
            for side, size in zip(sides, sizes, strict=True):
                side.ask("prepare", tokens=size)
            for side, size in zip(sides[1:], sizes[1:], strict=True):
                for what, filters in FILTERS.items():
                    row = Row(
                        f"{where}, {size} tokens: {what}", Samples(f"{size} tokens"), Samples(f"{sizes[0]} tokens"),
                        "us", GOAL, goal_is_limit=True,
                    )  # fmt: skip
                    measured = options.scaled(20, quick=2)
                    turns = [partial(_turn, each, measured, filters) for each in (side, sides[0])]
                    report.rows.append(compare(options, row, turns[0], turns[1]))
    return report


def _turn(side: Side, count: int, filters: dict[str, Any]) -> Measured:
    return per_operation_us(side.ask("list_nothing", count=count, filters=filters), side.label)
