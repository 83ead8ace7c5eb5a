"""Is anything slower than it was at an earlier commit?

Both sides are this project, each with the code and the sides of its own tree, on the same Python, the same servers and
with the same population; they take turns. `--commit` names the earlier one. A ratio of 1 is as fast as then; the goal
leaves room for the noise of a machine that is not alone.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import ROOT, Measured, Options, Report, Row, Side, compare, per_operation_us, per_second
from benchmarks.sides import http_side, native_side, postgres_side, token_tables_side, valkey_side
from tests.servers.postgres import running_server
from tests.servers.valkey import ValkeyServer

GOAL = 0.93
EMBEDDED = (
    ("verify_session", 50_000), ("verify_token", 50_000), ("open_session", 5_000), ("issue_token", 5_000),
    ("transfer_token", 5_000), ("destroy_session", 500),
)  # fmt: skip
TABLES = (
    ("active_session", 100_000), ("transition_token_is_active", 100_000), ("from_token", 100_000),
    ("add_session", 20_000), ("transfer_token", 20_000), ("destroy_session", 2_000),
)  # fmt: skip
ON_SERVERS = (
    ("verify_session", 8_000), ("verify_session, unseen", 2_000), ("verify_token", 8_000), ("change_session", 3_000),
    ("issue_token", 3_000), ("transfer_token", 3_000),
)  # fmt: skip
Pair = tuple[Side, Side]
Cases = Iterator[tuple[str, Callable[[Side], Measured]]]


def run(options: Options) -> Report:
    """Ask both trees the same, one store after another."""
    report = Report("baseline", (__doc__ or "").split("\n", 1)[0])
    commit = tree_at(options.commit, None)
    report.notes.append(f"the peer is commit {commit}")
    with tempfile.TemporaryDirectory() as name:
        then = Path(name) / "then"
        tree_at(options.commit, then)
        for rows in (_tables, _memory, _sqlite, _http, _valkey, _postgres):
            with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
                report.rows += rows(options, stack, then, Path(folder))
    return report


def tree_at(commit: str, folder: Path | None) -> str:
    """Unpack the files of a commit, and return its hash.

    Args:
        folder: where to; `None` only looks the commit up.
    """
    named = ["git", "rev-parse", "--verify", f"{commit}^{{commit}}"]
    found = subprocess.run(named, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    if folder is not None:
        packed = subprocess.run(["git", "archive", found], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
    return found


def _pair(
    stack: ExitStack, then: Path, start: Callable[..., Side], sessions: int, *arguments: Callable[[str], str]
) -> Pair:
    """Start a side from this tree and from the earlier one; what tells them apart goes into their arguments."""
    now_side = stack.enter_context(start(*[argument("now") for argument in arguments]))
    then_side = stack.enter_context(start(*[argument("then") for argument in arguments], root=then))
    then_side.label = "then"
    for side in (now_side, then_side):
        side.ask("prepare", sessions=sessions)
    return now_side, then_side


def _rows(options: Options, what: str, pair: Pair, cases: Cases, unit: str) -> list[Row]:
    rows = []
    for name, turn in cases:
        row = Row.between(f"{what}: {name}", *pair, unit, GOAL)
        rows.append(compare(options, row, partial(turn, pair[0]), partial(turn, pair[1])))
    return rows


def _each(options: Options, operations: tuple[tuple[str, int], ...], tasks: int | None = None) -> Cases:
    for operation, count in operations:
        measured = options.scaled(count, quick=50)
        if tasks is None:
            yield operation, partial(_time, operation, measured)
        else:
            yield operation, partial(_rate, operation, measured, tasks)


def _time(operation: str, count: int, side: Side) -> Measured:
    return per_operation_us(side.ask("time_operation", operation=operation, count=count), side.label)


def _rate(operation: str, count: int, tasks: int, side: Side) -> Measured:
    return per_second(side.ask("time_operation", operation=operation, count=count, tasks=tasks), side.label)


def _introspect(count: int, connections: int, side: Side) -> Measured:
    return per_second(side.ask("introspect", count=count, connections=connections), side.label)


def _tables(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    pair = _pair(stack, then, token_tables_side, options.scaled(10_000, quick=100))
    return _rows(options, "TokenTables", pair, _each(options, TABLES), "us")


def _memory(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    pair = _pair(stack, then, native_side, options.scaled(10_000, quick=50), lambda _: "memory://")
    return _rows(options, "memory", pair, _each(options, EMBEDDED), "us")


def _sqlite(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    pair = _pair(
        stack, then, native_side, options.scaled(5_000, quick=50), lambda name: f"sqlite:///{folder}/{name}.db"
    )
    fewer = tuple((operation, count // 10) for operation, count in EMBEDDED if operation != "destroy_session")
    return _rows(options, "SQLite", pair, _each(options, fewer), "us")


def _http(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    def own_folder(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    return _http_rows(options, "HTTP", stack, then, own_folder)


def _http_rows(
    options: Options, what: str, stack: ExitStack, then: Path, where: Callable[[str], Path | str]
) -> list[Row]:
    """Introspect over HTTP, both trees served each on its own store and loaded by the same program."""
    now_side = stack.enter_context(http_side("session-tokens", where("now")))
    then_side = stack.enter_context(http_side("session-tokens", where("then"), sources=then))
    then_side.label = "then"
    for side in (now_side, then_side):
        side.ask("prepare", sessions=options.scaled(5_000, quick=50))
    count = options.scaled(5_000, quick=50)
    cases = ((f"introspect, {number} under way", partial(_introspect, count, number)) for number in (1, 32))
    return _rows(options, what, (now_side, then_side), iter(cases), "1/s")


def _valkey(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    servers: list[ValkeyServer] = []
    for _ in range(2):  # one each: keys and function library of one would be met by the other
        server = ValkeyServer()
        stack.callback(server.remove)
        server.start()
        servers.append(server)
    addresses = {"now": servers[0].url, "then": servers[1].url}
    rows = _http_rows(options, "HTTP on Valkey", stack, then, addresses.__getitem__)
    pair = _pair(stack, then, partial(valkey_side, "native"), options.scaled(2_000, quick=60), addresses.__getitem__)
    for tasks, operations in ((50, ON_SERVERS), (1, (("verify_session", 2_000), ("verify_session_blocking", 2_000)))):
        rows += _rows(options, f"Valkey, {tasks} tasks", pair, _each(options, operations, tasks), "1/s")
    return rows


def _postgres(options: Options, stack: ExitStack, then: Path, folder: Path) -> list[Row]:
    server = stack.enter_context(running_server())
    addresses = {"now": server.new_database(), "then": server.new_database()}
    served = {"now": server.new_database(), "then": server.new_database()}
    rows = _http_rows(options, "HTTP on PostgreSQL", stack, then, served.__getitem__)
    pair = _pair(stack, then, partial(postgres_side, "native"), options.scaled(2_000, quick=60), addresses.__getitem__)
    fewer = tuple((operation, count // 2) for operation, count in ON_SERVERS)
    for tasks, operations in ((20, fewer), (1, (("verify_session", 1_000), ("verify_session_blocking", 1_000)))):
        rows += _rows(options, f"PostgreSQL, {tasks} tasks", pair, _each(options, operations, tasks), "1/s")
    return rows
