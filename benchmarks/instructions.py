"""Count the machine instructions of one call, which no neighbour on the machine disturbs.

`python -m benchmarks.instructions [--compiled] [--commit COMMIT] [--control] [OPERATION ...]`. Each operation runs
under valgrind. While the calls are counted the store's clock is held still, because a program under valgrind is too
slow for milliseconds. With `--control` each side is counted in two processes, and how far these are apart is the noise.
It compares two versions of our own code with each other, the core as written with a compiled one or this tree with an
earlier commit: how long an instruction takes is another question, so nothing here is kept or published.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.counting import counted_between_marks, mark
from benchmarks.harness import ROOT
from session_tokens import SessionTokens, TokenTables

TABLES = {
    "transition_token_is_active": 1000, "from_token": 1000, "active_session": 1000, "add_session": 1000,
    "transfer_token": 1000, "destroy_session": 200,
}  # fmt: skip
NATIVE = {"verify_session": 500, "verify_token": 500, "open_session": 300, "issue_token": 300, "transfer_token": 300}
CALLS = {f"tables:{name}": calls for name, calls in TABLES.items()}
CALLS |= {f"{store}:{name}": calls for store in ("memory", "sqlite") for name, calls in NATIVE.items()}
CALLS["sqlite:introspect"] = 500
SESSIONS = 300
WARM = 50
Asked = tuple[Callable[..., object], list[tuple[Any, ...]]]


def calls_of(operation: str, calls: int, folder: Path) -> Asked:
    """Say what to call, and the arguments of each call, as strings that nobody has seen before."""
    where, _, name = operation.partition(":")
    if name == "introspect":
        return _introspections(calls, folder)
    if where == "tables":
        return _calls_of_tables(name, calls)
    return _calls_of_sessions("memory://" if where == "memory" else f"sqlite:///{folder}/tokens.db", name, calls)


def _calls_of_sessions(url: str, name: str, calls: int) -> Asked:
    st = SessionTokens.open(url, sweep=False)
    numbers = [number % SESSIONS for number in range(calls)]
    if name == "open_session":
        hold_still(st.store.clock)
        return st.open_session, [(f"new owner/{number}",) for number in range(calls)]
    opened = [st.open_session(f"owner/{number}") for number in range(SESSIONS)]
    made = []
    if name in ("verify_token", "transfer_token"):
        made = [st.issue_token(one.record.id, "value", transferable=name == "transfer_token") for one in opened]
    hold_still(st.store.clock)
    if name == "verify_session":
        return st.verify_session, [(anew(opened[n].secret),) for n in numbers]
    if name == "verify_token":
        return st.verify_token, [(anew(made[n].secret),) for n in numbers]
    if name == "issue_token":
        return st.issue_token, [(opened[n].record.id, "value") for n in numbers]

    def transfer(token: int, giver: int, receiver: int) -> object:
        return st.transfer_token(made[token].record.id, giver=f"owner/{giver}", receiver=f"owner/{receiver}")

    return transfer, [
        (n % SESSIONS, (n + 79 * (n // SESSIONS)) % SESSIONS, (n + 79 * (n // SESSIONS + 1)) % SESSIONS)
        for n in range(calls)
    ]


def _introspections(calls: int, folder: Path) -> Asked:
    """Ask the protocol of the service over a pair of sockets, on a loop that is driven by hand."""
    import asyncio
    import socket

    from benchmarks.sides.http_load import fill_store, request_of

    url, authorization, secrets = asyncio.run(fill_store(str(folder), SESSIONS))
    loop = asyncio.new_event_loop()
    client, server = socket.socketpair()
    client.setblocking(False)

    async def begin() -> None:
        from uvicorn.config import Config
        from uvicorn.server import ServerState

        from session_tokens import AsyncSessionTokens
        from session_tokens.service.app import Service
        from session_tokens.service.protocol import StrictHTTP

        tokens = await AsyncSessionTokens.open(url, sweep=False)
        config = Config(Service(tokens), log_config=None, proxy_headers=False)
        config.load()
        await loop.connect_accepted_socket(lambda: StrictHTTP(config, ServerState(), {}), server)

    loop.run_until_complete(begin())

    async def ask(request: bytes) -> None:
        client.send(request)
        answer = await loop.sock_recv(client, 65_536)
        assert answer.startswith(b"HTTP/1.1 200") and b'"sub"' in answer, answer

    def introspect(request: bytes) -> None:
        loop.run_until_complete(ask(request))

    return introspect, [(request_of(authorization, secrets[n % SESSIONS]),) for n in range(calls)]


def _calls_of_tables(name: str, calls: int) -> Asked:
    tables = TokenTables(sweep=False)
    tables.set_general_session_timeout(86_400_000)
    for number in range(SESSIONS):
        tables.add_session(f"session/{number}", f"owner/{number}", f"token/{number}")
        tables.add_transferable_token(f"transferable/{number}", "value", f"owner/{number}")
    hold_still(tables.store.clock)
    numbers = [number % SESSIONS for number in range(calls)]
    if name == "active_session":
        return tables.active_session, [(anew(f"session/{n}"), anew(f"owner/{n}")) for n in numbers]
    if name == "add_session":
        return tables.add_session, [(f"new/{n}", f"new owner/{n}", f"new token/{n}") for n in range(calls)]
    if name == "transfer_token":
        owners = [(n, n // SESSIONS) for n in range(calls)]
        moved = [(n % SESSIONS, (n + 79 * turn) % SESSIONS, (n + 79 * (turn + 1)) % SESSIONS) for n, turn in owners]
        return tables.transfer_token, [(f"transferable/{t}", f"owner/{a}", f"owner/{b}") for t, a, b in moved]
    if name == "destroy_session":
        for number in range(calls):
            tables.add_session(f"new/{number}", f"new owner/{number}", f"new token/{number}/0")
            for k in range(1, 10):
                tables.add_session_bounded_token(f"new token/{number}/{k}", "value", f"new owner/{number}")
        return tables.destroy_session, [(f"new token/{number}/0",) for number in range(calls)]
    return getattr(tables, name), [(anew(f"token/{n}"),) for n in numbers]


def anew(text: str) -> str:
    """Make an equal string whose hash is not known yet."""
    return "".join([text[:1], text[1:]])


def hold_still(clock: Any) -> None:
    """Have a steady clock answer the millisecond that it knows."""
    clock.now()
    if hasattr(clock, "_until_s"):
        clock._until_s = float("inf")
    else:  # an earlier commit's
        clock._until_ns = 2**62


def run_counted(operation: str) -> NoReturn:
    """Make the calls that are counted between two marks, after all that they need and a few to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        call, asked = calls_of(operation, WARM + CALLS[operation], Path(folder))
        gc.disable()
        for arguments in asked[:WARM]:
            assert call(*arguments) is not False
        mark()
        for arguments in asked[WARM:]:
            call(*arguments)
        mark()
    os._exit(0)  # while everything is still held


def instructions(python: str, operation: str, sources: Path = ROOT) -> int:
    """Count the instructions of one call with a Python.

    Args:
        sources: the tree whose package is called; what calls it is always this tree's.
    """
    environment = {} if sources == ROOT else {"PYTHONPATH": str(sources / "src")}
    command = [python, "-m", "benchmarks.instructions", "--of", operation]
    return counted_between_marks(command, environment) // CALLS[operation]


def main() -> None:
    """Print what is asked for, as written and, if wanted, compiled or at an earlier commit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=f"of: {', '.join(CALLS)} (default: all)")
    parser.add_argument("--compiled", action="store_true", help="also with a compiled core (built if need be)")
    parser.add_argument("--commit", help="also those of an earlier commit")
    parser.add_argument("--control", action="store_true", help="count each side twice, and tell the noise")
    parser.add_argument("--of", choices=CALLS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.of:
        run_counted(wanted.of)
    with tempfile.TemporaryDirectory() as then:
        if wanted.commit is not None:
            from benchmarks.baseline import tree_at  # needs more than the calls that are counted

            tree_at(wanted.commit, Path(then))
        sides = {"": (sys.executable, ROOT)}
        if wanted.compiled:
            from tools.compiled_environment import compiled_python

            sides["compiled"] = (str(compiled_python()), ROOT)
        if wanted.commit is not None:
            sides["then"] = (sys.executable, Path(then))
        for operation in wanted.operations or CALLS:
            line, plain = f"{operation:34}", 0
            for label, (python, sources) in sides.items():
                counts = [instructions(python, operation, sources) for _ in range(2 if wanted.control else 1)]
                count = sum(counts) // len(counts)
                noise = f" (noise {max(counts) / min(counts) - 1:.1%})" if wanted.control else ""
                plain = plain or count
                ratio = {"compiled": plain / count, "then": count / plain}.get(label)
                line += f"  {label} {count:9,}{noise}" + ("" if ratio is None else f"  {ratio:.2f}x")
            print(line, flush=True)


if __name__ == "__main__":
    main()
