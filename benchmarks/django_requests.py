"""What does a session that is loaded, changed and saved add to a request to Django, beside Django's `db` sessions?

50 browsers send requests at once: by WSGI from threads, by ASGI from tasks of one event loop. By WSGI both sides have
Django's middleware and differ in the engine alone, and what is compared is a request less a bare one, of the same side
in the same turn. By ASGI ours has our middleware, and whole requests are compared. Commits wait for the disk.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Measured, Options, Report, Row, Side, compare, per_operation_us
from benchmarks.sides import django_requests_side
from tests.helpers.servers.postgres import running_server

BROWSERS = 50
ENGINE_GOAL, WHOLE_GOAL = 3.0, 1.5


def run(options: Options) -> Report:
    """Measure one store after the other, by both ways."""
    report = Report("django_requests", (__doc__ or "").split("\n", 1)[0])
    browsers, each = options.scaled(BROWSERS, quick=4), options.scaled(20, quick=3)
    report.notes.append(
        f"{browsers} browsers at once, {each} requests of each in a turn; the server's time is not in by cpu"
    )
    for store in ("SQLite", "PostgreSQL"):
        for way in ("wsgi", "asgi"):
            with ExitStack() as stack:
                urls = _urls(store, stack)
                ours, peer = (
                    stack.enter_context(django_requests_side(kind, way, url))
                    for kind, url in zip(("session-tokens", "db"), urls, strict=True)
                )
                for side in (ours, peer):
                    side.ask("prepare", sessions=browsers)
                report.versions.update(peer.ask("describe"))
                is_whole = way == "asgi"
                what = f"{store}, {'ASGI, whole request' if is_whole else 'WSGI, request less a bare one'}"
                row = Row.between(what, ours, peer, "us", WHOLE_GOAL if is_whole else ENGINE_GOAL)
                turns = [partial(_turn, side, each, is_whole=is_whole) for side in (ours, peer)]
                report.rows.append(compare(options, row, *turns))
    return report


def _urls(store: str, stack: ExitStack) -> list[str]:
    if store == "SQLite":
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        return [f"sqlite:///{folder / 'sessions.db'}" for folder in folders]
    server = stack.enter_context(running_server())
    return [server.new_database() for _ in range(2)]


def _turn(side: Side, each: int, *, is_whole: bool) -> Measured:
    changed = per_operation_us(side.ask("request", what="change", each=each), side.label)
    if is_whole:
        return changed
    bare = per_operation_us(side.ask("request", what="bare", each=each), side.label)
    cpu = None if changed.cpu_value is None or bare.cpu_value is None else changed.cpu_value - bare.cpu_value
    return Measured(changed.value - bare.value, cpu, changed.work_done)
