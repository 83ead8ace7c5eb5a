"""How much more does a log-in cost where the owner holds 10,000 or 100,000 transferable tokens than where they hold 10?

Each log-in replaces the owner's session (`max_sessions=1`), whose tokens are in the new one when it has answered; this
is looked up each time. Nothing is swept meanwhile, so that all of them are still to be written down.
The peer of each row is the same side with 10 tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.sides import log_in_side
from tests.servers.postgres import running_server
from tests.servers.valkey import ValkeyServer

SIZES, SIZES_FULL, SIZES_QUICK = (10, 10_000, 100_000), (10, 10_000, 100_000, 1_000_000), (3, 40)
GOAL = 1.5

NewStore = Callable[[], str]
"""Answers the URL of another empty store."""


def run(options: Options) -> Report:
    """Measure one store after the other, all sizes of one in turns."""
    report = Report("log_in", (__doc__ or "").split("\n", 1)[0])
    sizes = SIZES_QUICK if options.quick else SIZES_FULL if options.full else SIZES
    report.notes.append(f"the peer of each row is the same side with {sizes[0]} tokens")
    for where, count, new_stores in (
        ("memory", 1_000, _memory),
        ("sqlite", 100, _sqlite),
        ("valkey", 100, _valkey),
        ("postgres", 50, _postgres),
    ):
        with new_stores() as new_store, ExitStack() as stack:
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


@contextmanager
def _memory() -> Iterator[NewStore]:
    yield lambda: "memory://"


@contextmanager
def _sqlite() -> Iterator[NewStore]:
    with tempfile.TemporaryDirectory() as folder:
        names = iter(range(100))
        yield lambda: f"sqlite:///{Path(folder) / f'{next(names)}.db'}"


@contextmanager
def _valkey() -> Iterator[NewStore]:
    server = ValkeyServer()
    try:
        server.start()
        numbers = iter(range(16))
        yield lambda: f"{server.url.rstrip('/0')}/{next(numbers)}?timeout=30"
    finally:
        server.remove()


@contextmanager
def _postgres() -> Iterator[NewStore]:
    with running_server() as server:
        yield lambda: f"{server.new_database()}?timeout=30"


def _turn(side: Side, count: int) -> Measured:
    return per_operation_us(side.ask("log_in", count=count), side.label)
