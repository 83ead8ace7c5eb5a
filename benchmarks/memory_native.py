"""How fast is the native API in memory, and how far from the npm package's nearest call?

The two do not do the same work: the native API mints 256-bit secrets with the operating system's randomness and checks
the form of those it is shown, re-issues a transferred token's secret, and keeps audit fields; the npm package is handed
its strings. So the ratios are for orientation, and there is no goal.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import Measured, Options, Report, Row, Samples, Side, compare, per_operation_us
from benchmarks.peers import npm_side, peer_if_any
from benchmarks.sides import compiled_side, native_side

# What is asked of our side, the nearest call of the peer (None: it has none), and how often in a turn.
OPERATIONS: list[tuple[str, str | None, int]] = [
    ("verify_session", "active_session", 50_000),
    ("refuse_session", None, 10_000),
    ("verify_token", "transition_token_is_active", 50_000),
    ("open_session", "add_session", 10_000),
    ("issue_token", None, 10_000),
    ("transfer_token", "transfer_token", 10_000),
    ("destroy_session", "destroy_session", 1_000),
]
SESSIONS = 10_000


def run(options: Options) -> Report:
    """Measure every operation on both sides, each with the same population."""
    report = Report("memory_native", (__doc__ or "").split("\n", 1)[0])
    sessions = options.scaled(SESSIONS, quick=50)
    report.notes.append(f"{sessions} live sessions with a token each; destroy_session ends 10 tokens too")
    report.notes.append("for orientation: the npm package neither mints nor re-issues secrets in these calls")
    with ExitStack() as stack:
        ours = stack.enter_context(native_side("memory://"))
        peer = peer_if_any(npm_side, stack, report)
        ours.ask("prepare", sessions=sessions)
        compiled = (
            peer_if_any(partial(compiled_side, "native", "memory://", "none", "no-sweep"), stack, report)
            if options.compiled
            else None
        )
        if compiled is not None:
            compiled.ask("prepare", sessions=sessions)
        if peer is not None:
            peer.ask("prepare", sessions=sessions)
            report.versions.update(peer.ask("versions"))
        for operation, peer_operation, count in OPERATIONS:
            measured = options.scaled(count, quick=50)
            against = peer if peer_operation else None
            what = operation if peer_operation in (None, operation) else f"{operation} (npm: {peer_operation})"
            row = Row.between(what, ours, against, "us")
            ours_turn = partial(_time, ours, operation, measured)
            peer_turn = partial(_time, against, str(peer_operation), measured) if against else None
            if compiled is None:
                report.rows.append(compare(options, row, ours_turn, peer_turn))
                continue
            quick = Row(f"{what}, compiled", Samples(compiled.label), row.peer, "us")
            compiled_turn = partial(_time, compiled, operation, measured)
            report.rows += [compare(options, row, ours_turn, peer_turn, (quick.ours, compiled_turn)), quick]
    return report


def _time(side: Side, operation: str, count: int) -> Measured:
    return per_operation_us(side.ask("time_operation", operation=operation, count=count), side.label)
