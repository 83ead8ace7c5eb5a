"""What does a store in 64 partitions of a cluster of three primaries cost, beside the same on one server?

Both sides are session-tokens. A verification and a command of one owner go to one node; a transfer to an owner of
another partition is decided in one and finished in the other; a page of everything is put together from all of them.
Every server is on the same machine, so that no more of them work at once than it has processors.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us, per_second
from benchmarks.sides import valkey_side
from benchmarks.sides.valkey_native import PEPPER
from session_tokens import SessionTokens
from session_tokens.contract.partitioning import partition_of_owner
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster
from tests.helpers.servers.valkey import ValkeyServer

SESSIONS, TASKS, PAGE = 2_000, 50, 100
WALL_GOAL, TRANSFER_LIMIT, PAGE_LIMIT = 0.6, 3.0, 15.0
"""The first two rows are to reach 0.8 by the processor time of the client."""


def run(options: Options) -> Report:
    """Ask both sides, on servers started for this."""
    report = Report("partitions", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=60)
    report.notes.append(f"{sessions} sessions, {TASKS} tasks, three primaries with a replica each beside one server")
    with ExitStack() as stack:
        server, cluster = ValkeyServer(), Cluster(3, (0, 1, 2), CALM_TIMEOUT_MS)
        for servers in (server, cluster):
            stack.callback(servers.remove)
            servers.start()
        urls = {"cluster": cluster.url, "one server": server.url}
        sides = {name: stack.enter_context(valkey_side("native", url)) for name, url in urls.items()}
        for name, side in sides.items():
            side.label = name
            side.ask("prepare", sessions=sessions)
        ours, peer = sides.values()
        for operation in ("verify_session", "verify_token", "change_session", "issue_token"):
            count = options.scaled(10_000, quick=100)
            row = Row.between(f"{operation}, 50 tasks", ours, peer, "1/s", WALL_GOAL)
            report.rows.append(
                compare(options, row, *(partial(_turn, side, operation, count) for side in (ours, peer)))
            )
        apis = {}
        for name, url in urls.items():
            store = f"{url}?timeout=10&namespace=lists"
            apis[name] = stack.enter_context(SessionTokens.open(store, pepper=PEPPER, sweep=False))
            for number in range(options.scaled(1_000, quick=PAGE)):
                apis[name].open_session(f"owner {number}")
        report.rows += _of_several(options, apis)
    return report


def _turn(side: Side, operation: str, count: int) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=TASKS), side.label)


def _limited(what: str, ours: str, peer: str, limit: float) -> Row:
    return Row(what, Samples(ours), Samples(peer), "us", limit, goal_is_limit=True)


def _of_several(options: Options, apis: dict[str, SessionTokens]) -> list[Row]:
    """Compare what goes over several partitions with what lies in one."""
    cluster = apis["cluster"]
    names = [f"owner {number}" for number in range(1_000)]
    giver = names[0]
    within = next(name for name in names[1:] if partition_of_owner(name) == partition_of_owner(giver))
    over = next(name for name in names if partition_of_owner(name) != partition_of_owner(giver))
    for name in (giver, within, over):
        cluster.open_session(name)
    count = options.scaled(400, quick=10)
    row = Row(
        "transfer_token over two partitions / within one", Samples("over"), Samples("within"), "us", TRANSFER_LIMIT
    )
    row.goal_is_limit = True
    turns = [partial(_transfers, cluster, giver, receiver, count) for receiver in (over, within)]
    rows = [compare(options, row, *turns)]
    row = Row(
        "a page of 100 of all sessions, cluster / one server", Samples("cluster"), Samples("one"), "us", PAGE_LIMIT
    )
    row.goal_is_limit = True
    pages = options.scaled(40, quick=2)
    return [*rows, compare(options, row, *(partial(_pages, api, pages) for api in apis.values()))]


def _transfers(tokens: SessionTokens, giver: str, receiver: str, count: int) -> Measured:
    """Hand one token to and fro, each time after the last was finished."""
    session = tokens.list_sessions(giver).items[0]
    id, hands = tokens.issue_token(session.id, "v", transferable=True).id, [giver, receiver]
    seconds, cpu_s, right = 0.0, time.process_time(), 0
    for _ in range(count):
        began_s = time.perf_counter()
        issued = tokens.transfer_token(id, giver=hands[0], receiver=hands[1])
        seconds += time.perf_counter() - began_s
        hands.reverse()
        right += tokens.verify_token(str(issued.secret)) is not None
    taken = {"operations": count, "right": right, "seconds": seconds, "cpu_seconds": time.process_time() - cpu_s}
    return per_operation_us(taken, receiver)


def _pages(tokens: SessionTokens, count: int) -> Measured:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    right = sum(len(tokens.list_sessions(limit=PAGE).items) == PAGE for _ in range(count))
    taken = {"operations": count, "right": right, "seconds": time.perf_counter() - began_s}
    return per_operation_us({**taken, "cpu_seconds": time.process_time() - cpu_s}, "page")
