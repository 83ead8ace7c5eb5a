"""Count the steps of the interpreter (bytecodes) that one call on a store takes, function by function.

`python -m benchmarks.steps [--on STORE] [--commit COMMIT] [--functions N] [OPERATION ...]`; the store is on a
Valkey unless another is asked for. A program under valgrind is too slow for a server that answers at once; steps are
counted in a second and come out the same on a busy machine, within a hundredth or two. Where a step is a call into C it
may take long: a change that takes steps away from Python is seen here, one that makes C work more is not. Nothing here
is kept or published.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

AT_ONCE = 50
"""Tasks that call at once, each for a session of its own."""
WARM = 4
"""Turns before the one that is counted: all is loaded, and every way to a record was made."""
TURNS = 3
"""Turns that are counted, of which the least is told: in another a busy machine may have been late."""
PEPPER = bytes(range(32))
Call = Callable[[int], Awaitable[object]]


def steps_of(url: str, operation: str) -> dict[str, float]:
    """Return function → steps in it for one call, on a store that is made for this."""
    counted = Counter[str]()
    asyncio.run(_blocking(url, counted) if operation == "verify_session_blocking" else _tasks(url, operation, counted))
    return {name: steps / AT_ONCE for name, steps in counted.items()}


async def _tasks(url: str, operation: str, counted: Counter[str]) -> None:
    """Let tasks call at once, and count the steps of one such turn."""
    from session_tokens import AsyncSessionTokens

    in_threads: list[Callable[[FrameType, str, Any], Any]] = []  # that of SQLite begins before anything is counted
    threading.settrace(lambda *called: in_threads[0](*called) if in_threads else None)
    async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        sessions = [await tokens.open_session(f"owner/{n}", data={"visits": 0}) for n in range(AT_ONCE)]
        bound = [await tokens.issue_token(session.id, "value") for session in sessions]
        handed = [await tokens.issue_token(session.id, "value", transferable=True) for session in sessions]
        holders, owners = list(range(AT_ONCE)), count()

        async def transfer(n: int) -> object:
            giver, holders[n] = holders[n], (holders[n] + 1) % AT_ONCE
            return await tokens.transfer_token(handed[n].id, giver=f"owner/{giver}", receiver=f"owner/{holders[n]}")

        async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as anew:
            calls: dict[str, Call] = {
                "verify_session": lambda n: tokens.verify_session("".join(sessions[n].secret)),
                "verify_session_unseen": lambda n: anew.verify_session("".join(sessions[n].secret)),
                "verify_token": lambda n: tokens.verify_token("".join(str(bound[n].secret))),
                "open_session": lambda n: tokens.open_session(f"new owner/{next(owners)}"),
                "change_session": lambda n: tokens.change_session(sessions[n].id, label=f"desk {n}"),
                "issue_token": lambda n: tokens.issue_token(sessions[n].id, "value"),
                "transfer_token": transfer,
            }
            call = calls[operation]
            if operation.endswith("_unseen"):
                await anew.verify_session("sts_nonsense")  # its connection is made by a secret that is asked for
                await anew.get_session(sessions[0].id)
            else:
                for _ in range(WARM):
                    await asyncio.gather(*map(call, range(AT_ONCE)))
            gc.disable()
            turns: list[Counter[str]] = []
            for _ in range(1 if operation.endswith("_unseen") else TURNS):
                turns.append(Counter())
                in_threads[:] = [_tracer(turns[-1])]
                sys.settrace(in_threads[0])
                answers = await asyncio.gather(*map(call, range(AT_ONCE)))
                sys.settrace(None)
                in_threads.clear()
                assert None not in answers
            counted.update(min(turns, key=lambda turn: sum(turn.values())))


async def _blocking(url: str, counted: Counter[str]) -> None:
    """Count the steps of calls one after another, without an event loop of theirs."""
    from session_tokens import SessionTokens

    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        secrets = [tokens.open_session(f"owner/{n}").secret for n in range(AT_ONCE)]
        for _ in range(WARM):
            assert all(map(tokens.verify_session, secrets))
        gc.disable()
        sys.settrace(_tracer(counted))
        for secret in secrets:
            tokens.verify_session(secret)
        sys.settrace(None)


def _tracer(counted: Counter[str]) -> Callable[[FrameType, str, Any], Any]:
    """Return what `sys.settrace` takes to count the steps of each function."""

    def enter(frame: FrameType, _: str, __: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        file = frame.f_code.co_filename.rpartition("/session_tokens/")[2].rpartition("/lib/")[2]
        name = f"{file}:{frame.f_code.co_qualname}"

        def step(_: FrameType, event: str, __: Any) -> Any:
            counted[name] += event == "opcode"
            return step

        return step

    return enter


OPERATIONS = (
    "verify_session", "verify_session_unseen", "verify_session_blocking", "verify_token", "open_session",
    "change_session", "issue_token", "transfer_token",
)  # fmt: skip


STORES = ("valkey", "cluster", "postgres", "sqlite", "memory")


@contextmanager
def new_stores(name: str) -> Iterator[Callable[[], str]]:
    """Run a server where one is needed, and hand out what makes the URL of an empty store."""
    if name == "memory":
        yield lambda: "memory://"
        return
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            numbers = count()
            yield lambda: f"sqlite:///{folder}/{next(numbers)}.db"
        return
    if name == "postgres":
        from tests.helpers.servers.postgres import running_server

        with running_server() as postgres:
            yield lambda: f"{postgres.new_database()}?timeout=30"
        return
    from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster
    from tests.helpers.servers.valkey import ValkeyServer

    def on_another() -> str:  # the function library of one tree would be met by the other
        server = Cluster(3, (), CALM_TIMEOUT_MS) if name == "cluster" else ValkeyServer()
        stack.callback(server.remove)
        server.start()
        return f"{server.url}?timeout=30"

    with ExitStack() as stack:
        yield on_another


def counted_in(sources: Path, operation: str, url: str) -> dict[str, float]:
    """Count the steps of an operation with the package in a folder of sources, on an empty store."""
    counting = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--of", operation, "--url", url],
        env={**os.environ, "PYTHONPATH": str(sources), "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    counted: dict[str, float] = json.loads(counting.stdout)
    return counted


def main() -> None:
    """Print the steps of each operation, in this tree and if wanted at an earlier commit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=f"of: {', '.join(OPERATIONS)}")
    parser.add_argument("--on", choices=STORES, default="valkey", help="the store; valkey by default")
    parser.add_argument("--commit", help="also those of an earlier commit")
    parser.add_argument("--functions", type=int, default=0, help="show so many functions with the most steps")
    parser.add_argument("--of", choices=OPERATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.of:
        print(json.dumps(steps_of(wanted.url, wanted.of)))
        return
    from benchmarks.baseline import tree_at
    from benchmarks.harness import ROOT

    with tempfile.TemporaryDirectory() as then, new_stores(wanted.on) as new_url:
        trees = {"now": ROOT / "src"}
        if wanted.commit is not None:
            tree_at(wanted.commit, Path(then))
            trees["then"] = Path(then) / "src"
        for operation in wanted.operations or OPERATIONS:
            counts = {label: counted_in(sources, operation, new_url()) for label, sources in trees.items()}
            sums = {label: sum(steps.values()) for label, steps in counts.items()}
            ratio = f"  {sums['then'] / sums['now']:.2f}x" if "then" in sums else ""
            print(f"{operation:28}", *(f"{label} {steps:8,.0f}" for label, steps in sums.items()), ratio, flush=True)
            for label, steps in counts.items():
                for name in sorted(steps, key=lambda each: -steps[each])[: wanted.functions]:
                    print(f"  {label} {steps[name]:8.1f}  {name}")


if __name__ == "__main__":
    main()
