"""Count the machine instructions of one call, which no neighbour on the machine disturbs.

`python -m benchmarks.instructions [--compiled]`. Each operation runs under valgrind twice, with and without the calls
that are counted; the difference is theirs. The store's clock is held still, because a program under valgrind is too
slow for milliseconds. It compares two versions of our own code with each other: how long an instruction takes is
another question, so nothing here is kept or published.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from benchmarks.harness import ROOT
from session_tokens import SessionTokens, TokenTables
from tools.compiled_environment import compiled_python

CALLS = {
    "transition_token_is_active": 1000, "from_token": 1000, "active_session": 1000, "add_session": 1000,
    "transfer_token": 1000, "destroy_session": 200, "verify_session": 1000,
}  # fmt: skip
SESSIONS = 300
WARM = 50


def calls_of(operation: str, calls: int) -> tuple[Callable[..., object], list[tuple[Any, ...]]]:
    """Answer what to call, and the arguments of each call, as strings that nobody has seen before."""
    if operation == "verify_session":
        st = SessionTokens.open("memory://", sweep=False)
        hold_still(st.store.clock)
        secrets = [st.open_session(f"owner/{number}").secret for number in range(SESSIONS)]
        return st.verify_session, [(anew(secrets[number % SESSIONS]),) for number in range(calls)]
    tables = TokenTables(sweep=False)
    tables.set_general_session_timeout(86_400_000)
    for number in range(SESSIONS):
        tables.add_session(f"session/{number}", f"owner/{number}", f"token/{number}")
        tables.add_transferable_token(f"transferable/{number}", "value", f"owner/{number}")
    hold_still(tables.store.clock)
    numbers = [number % SESSIONS for number in range(calls)]
    if operation == "active_session":
        return tables.active_session, [(anew(f"session/{n}"), anew(f"owner/{n}")) for n in numbers]
    if operation == "add_session":
        return tables.add_session, [(f"new/{n}", f"new owner/{n}", f"new token/{n}") for n in range(calls)]
    if operation == "transfer_token":
        owners = [(n, n // SESSIONS) for n in range(calls)]
        moved = [(n % SESSIONS, (n + 79 * turn) % SESSIONS, (n + 79 * (turn + 1)) % SESSIONS) for n, turn in owners]
        return tables.transfer_token, [(f"transferable/{t}", f"owner/{a}", f"owner/{b}") for t, a, b in moved]
    if operation == "destroy_session":
        for number in range(calls):
            tables.add_session(f"new/{number}", f"new owner/{number}", f"new token/{number}/0")
            for k in range(1, 10):
                tables.add_session_bounded_token(f"new token/{number}/{k}", "value", f"new owner/{number}")
        return tables.destroy_session, [(f"new token/{number}/0",) for number in range(calls)]
    return getattr(tables, operation), [(anew(f"token/{n}"),) for n in numbers]


def anew(text: str) -> str:
    """Make an equal string whose hash is not known yet."""
    return "".join([text[:1], text[1:]])


def hold_still(clock: Any) -> None:
    """Have a steady clock answer the millisecond that it knows."""
    clock.now()
    clock._until_ns = 2**62


def run_counted(operation: str, counted: int) -> NoReturn:
    """Make the calls: always the same preparation and warm-up, then as many as are counted."""
    call, asked = calls_of(operation, WARM + CALLS[operation])
    gc.disable()
    for arguments in asked[:WARM]:
        assert call(*arguments) is not False
    for arguments in asked[WARM : WARM + counted]:
        call(*arguments)
    os._exit(0)  # while everything is still held: what it takes to let go of it is not counted


def instructions(python: str, operation: str) -> int:
    """Count the instructions of one call with a Python."""
    counts = []
    for counted in (0, CALLS[operation]):
        command = [python, "-m", "benchmarks.instructions", "--of", operation, "--counted", str(counted)]
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = re.search(r"Collected\s*:\s*(\d+)", result.stderr)
        assert found is not None, result.stderr
        counts.append(int(found[1]))
    return (counts[1] - counts[0]) // CALLS[operation]


def main() -> None:
    """Print what is asked for, as written and, if wanted, compiled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=f"of: {', '.join(CALLS)} (default: all)")
    parser.add_argument("--compiled", action="store_true", help="also with a compiled core (built if need be)")
    parser.add_argument("--of", choices=CALLS, help=argparse.SUPPRESS)
    parser.add_argument("--counted", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.of:
        run_counted(wanted.of, wanted.counted)
    compiled = str(compiled_python()) if wanted.compiled else None
    for operation in wanted.operations or CALLS:
        plain = instructions(sys.executable, operation)
        line = f"{operation:28} {plain:7,}"
        if compiled is not None:
            less = instructions(compiled, operation)
            line += f"  compiled {less:7,}  {plain / less:.2f}x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
