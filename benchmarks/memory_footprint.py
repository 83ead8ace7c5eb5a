"""How many bytes does a session take in memory, and each further token, beside the npm package?

Every turn is a fresh process on both sides. The key strings and owner names are made first and kept, so they are not
counted. "live" counts bytes that are allocated: tracemalloc on our side, `heapUsed` after a collection on node's.
"rss" is how much the resident memory of the process grew, which includes what the allocators hold back.
The npm package needs a database to work at all; its own tables are counted with one that keeps nothing, in its favour,
and once with one that keeps what it is given.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.harness import Measured, NothingMeasured, Options, Report, Row, Samples, Side, compare
from benchmarks.peers import npm_side, peer_if_any
from benchmarks.sides import token_tables_side

SESSIONS = 50_000
TOKENS_PER_SESSION = 4
STAGES = ("before", "with_sessions", "with_tokens")

# What is measured: kind of the further tokens, method, the npm package's database, and the goal.
CASES: list[tuple[str, str, str, str, float | None]] = [
    ("session, no token", "bare", "live", "forgetful", 0.45),
    ("session with its first token", "bound", "live", "forgetful", None),
    ("further bound token", "bound", "live", "forgetful", 1.0),
    ("further transferable token", "transferable", "live", "forgetful", 0.55),
    ("session, no token, npm with database", "bare", "live", "kept", None),
    ("session, no token, resident", "bare", "rss", "forgetful", None),
    ("further transferable token, resident", "transferable", "rss", "forgetful", None),
]


def run(options: Options) -> Report:
    """Measure every case in fresh processes, in turns."""
    report = Report("memory_footprint", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=2_000)
    report.notes.append(f"{sessions} sessions, {TOKENS_PER_SESSION} further tokens each; key strings are not counted")
    with ExitStack() as stack:
        first_peer = peer_if_any(npm_side, stack, report)
        if first_peer is not None:
            report.versions.update(first_peer.ask("versions"))
    for what, kind, method, database, goal in CASES:
        row = Row(what, Samples("TokenTables"), Samples("npm session_tokens") if first_peer else None, "bytes", goal)
        row.goal_is_limit = True
        request = {"sessions": sessions, "tokens_per_session": 0 if "session" in what else TOKENS_PER_SESSION}
        ours_turn = partial(_ours, {**request, "kind": kind, "method": method})
        peer_turn = partial(_peer, {**request, "kind": kind, "database": database}, method)
        report.rows.append(compare(options, row, ours_turn, peer_turn if first_peer else None))
    return report


def _ours(request: dict[str, object]) -> Measured:
    with token_tables_side() as side:
        answer = _checked(side, side.ask("footprint", **request))
    stages = [int(answer[stage]) for stage in STAGES]
    return Measured(_bytes_each(stages, request), None, int(answer["right"]))


def _peer(request: dict[str, object], method: str) -> Measured:
    with npm_side() as side:
        answer = _checked(side, side.ask("footprint", **request))
    read = "live_bytes" if method == "live" else "rss_bytes"
    stages = [int(answer[stage][read]) for stage in STAGES]
    return Measured(_bytes_each(stages, request), None, int(answer["right"]))


def _bytes_each(stages: list[int], request: dict[str, object]) -> float:
    before, with_sessions, with_tokens = stages
    sessions, each = int(str(request["sessions"])), int(str(request["tokens_per_session"]))
    grown = (with_tokens - with_sessions) / (sessions * each) if each else (with_sessions - before) / sessions
    if grown <= 0:
        raise NothingMeasured(f"memory did not grow ({grown:.0f} bytes each): too few sessions to see anything")
    return grown


def _checked(side: Side, answer: dict[str, Any]) -> dict[str, Any]:
    if answer["right"] != answer["expected"]:
        raise NothingMeasured(f"{side.label}: {answer['right']} of {answer['expected']} sessions and tokens were there")
    return answer
