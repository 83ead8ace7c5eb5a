"""What does our middleware add to a request of a visitor, beside the same application of Starlette without it?

Both are served by uvicorn with one worker; 8 requests are under way. The visitor sends no cookie, and the page looks at
no session: nothing is asked of a store. By processor time, which is the server's alone, the client is not in it.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_operation_us
from benchmarks.sides import asgi_side

CONNECTIONS = 8
GOAL = 1.15


def run(options: Options) -> Report:
    """Call both in turns."""
    report = Report("asgi_visitors", (__doc__ or "").split("\n", 1)[0])
    count = options.scaled(5_000, quick=20)
    with ExitStack() as stack:
        ours, bare = (stack.enter_context(asgi_side(what)) for what in ("session-tokens", "none"))
        for side in (ours, bare):
            side.ask("prepare", sessions=0)
        report.versions.update(bare.ask("describe"))
        row = Row.between("a visitor's request / without the middleware", ours, bare, "us", GOAL)
        row.goal_is_limit = True
        report.rows.append(compare(options, row, *(partial(_turn, side, count) for side in (ours, bare))))
    return report


def _turn(side: Side, count: int) -> Measured:
    return per_operation_us(side.ask("request", count=count, connections=CONNECTIONS), side.label)
