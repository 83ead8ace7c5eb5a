"""What do durable events cost on a server, where many commands go on side by side?

Both sides are session-tokens with as many tasks on the same server, one on a store that keeps events, one on a store
that keeps none. The server's own processor time is counted turn by turn: no two sides are asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_second
from benchmarks.sides import postgres_side, valkey_side
from benchmarks.sides.valkey_native import PEPPER
from session_tokens import SessionTokens, Settings
from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS = 960
TASKS = 96
GOAL = 0.8
SERVER_GOAL = 1.25
"""How much more processor time of the server a commit may take with its events."""
Pids = Callable[[], Sequence[int]]


def run(options: Options) -> Report:
    """Ask both sides on one server of each kind, started for this."""
    report = Report("durable_events", (__doc__ or "").split("\n", 1)[0])
    report.notes.append(f"{TASKS} tasks on sessions of their own; the peer of each row is the same without events")
    with ExitStack() as stack:
        valkey = ValkeyServer()
        stack.callback(valkey.remove)
        valkey.start()
        kept = valkey.url.removesuffix("/0") + "/1"
        _keep(f"{kept}?namespace=ours")
        kept_side = stack.enter_context(valkey_side("native", kept))
        plain_side = stack.enter_context(valkey_side("native", valkey.url))
        _rows(options, report, "Valkey", 10_000, kept_side, plain_side, valkey.pids)
    with ExitStack() as stack:
        postgres = stack.enter_context(running_server())
        kept = postgres.new_database()
        _keep(kept)
        kept_side = stack.enter_context(postgres_side("native", kept))
        plain_side = stack.enter_context(postgres_side("native", postgres.new_database()))
        _rows(options, report, "PostgreSQL", 3_000, kept_side, plain_side, postgres.pids)
    return report


def _keep(url: str) -> None:
    """Have a store keep events: it is recorded with it, so that the side that opens it does."""
    SessionTokens.open(url, pepper=PEPPER, settings=Settings(events="durable"), sweep=False).close()


def _rows(options: Options, report: Report, server: str, count: int, kept: Side, plain: Side, pids: Pids) -> None:
    sessions = options.scaled(SESSIONS, quick=TASKS)
    for side in (kept, plain):
        side.ask("prepare", sessions=sessions)
    for operation in ("change_session", "issue_token", "transfer_token"):
        calls = options.scaled(count, quick=TASKS)
        row = Row.between(f"{operation} on {server}, with events / without", kept, plain, "1/s", GOAL)
        what = f"{operation} on {server}, the server's processor time"
        of_server = Row.between(what, kept, plain, "us", SERVER_GOAL)
        of_server.goal_is_limit = True
        assert row.peer is not None and of_server.peer is not None
        spent: list[float] = []
        turns = [partial(_turn, side, operation, calls, pids, spent) for side in (kept, plain)]
        further: list[tuple[Samples, Callable[[], Measured]]] = [
            (of_server.ours, partial(_spent, spent, calls)),
            (row.peer, turns[1]),
            (of_server.peer, partial(_spent, spent, calls)),
        ]
        report.rows.append(compare(options, row, turns[0], None, *further))
        report.rows.append(of_server)


def _turn(side: Side, operation: str, count: int, pids: Pids, spent: list[float]) -> Measured:
    before = _processor_s(pids())
    answer = side.ask("time_operation", operation=operation, count=count, tasks=TASKS)
    spent[:] = [_processor_s(pids()) - before]
    return per_second(answer, side.label)


def _spent(spent: list[float], count: int) -> Measured:
    """Return what the server spent on a commit in the turn before, in microseconds."""
    return Measured(spent[0] / count * 1e6, None, count)


def _processor_s(pids: Sequence[int]) -> float:
    """Return the processor time of processes, all their threads together."""
    spent_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                spent_ns += int(thread.read_text().split()[0])
    return spent_ns / 1e9
