"""Writes what threads use from what is written for asyncio, so that each command and each store is written once.

Usage: ``python tools/generate_sync.py`` writes, ``--check`` only says whether what is there is up to date.
Every file of `_async/` has its twin of the same name in `_sync/`, which holds nothing else; the stores on servers, and
what they stand on, have theirs beside them (``STORES``). A replacement that no file needs is an error: it would wait
here to change a line that is written one day.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "session_tokens"
SOURCE = PACKAGE / "_async"
TWIN = SOURCE.with_name("_sync")

REPLACEMENTS = (
    (r"(\nfrom \.+contract\.store import) Store\n", r"\1 BlockingStore\n"),
    (r"\bStore\b(?!\.)(?=[ ,)=:]| =)", "BlockingStore"),
    (
        r"await ((?:self\.)?store)\.(read|run\w*|due\w*|dump|close|insist_on_peppers|owner_entries|\w+_events)\(",
        r"\1.\2_now(",
    ),
    (r"await ((?:self\.)?store)\.(find_session|find_token)\(", r"\1.\2_now("),
    (r"\bself\.store\.(run|read)\b(?=[,)])", r"self.store.\1_now"),
    (r"\bdrive\b(?=\(|\n)", "drive_now"),
    (r"\bopen_store\b(?!_)", "open_store_now"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"__aiter__", "__iter__"),
    (r"__anext__", "__next__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"One task takes", "One thread takes"),
    (r"\bTaskSweeper\b", "ThreadSweeper"),
    (r"\bAsync(SessionTokens|TokenTables|RemoteTokens)\b", r"\1"),
    (r"\bclient\.async_client\b", "client.blocking_client"),
    (r"\bAsync(?=[A-Z])(?!Iterator|Sweepable)", "Sync"),
    (r"for asyncio", "for threads"),
    (r"any number of tasks and threads", "any number of threads"),
)
STORE = "mirror.py"
STORE_REPLACEMENTS = ((r"\basync def (read|run|due|close)\(self", r"def \1_now(self"),)
"""Before the others, in the one store among the sources: its coroutines become a ``BlockingStore``'s plain methods."""

STORES = {
    "contract/coalescing.py": "contract/direct.py",
    "stores/common/async_server_store.py": "stores/common/server_store.py",
    "stores/postgres/async_store.py": "stores/postgres/blocking_store.py",
    "stores/valkey/async_cluster.py": "stores/valkey/blocking_cluster.py",
    "stores/valkey/async_connections.py": "stores/valkey/blocking_connections.py",
    "stores/valkey/async_nodes.py": "stores/valkey/blocking_nodes.py",
    "stores/valkey/async_store.py": "stores/valkey/blocking_store.py",
}
"""Sources of stores → their twins for threads, in the package."""
SHELL_REPLACEMENTS = (
    # Methods of a store that a ``BlockingStore`` has under a name of its own.
    (
        r"\basync def (_attempted|read|look|run|due\w*|close|check|dump|count|clear|find_\w+|\w+_events)\(self",
        r"def \1_now(self",
    ),
    (r"\basync def misgiving\(self", "def misgiving_now(self"),
    (r"\b(async )?def commit\(self, commit:", "def commit_now(self, commit:"),
    (
        r"await (self|super\(\))\.(_attempted|_take|_written|read|look|run|close|insist_on_peppers|find_\w+)\(",
        r"\1.\2_now(",
    ),
    # What travels together there goes alone here.
    (r"from (\.+)(contract\.)?coalesce import .*", r"from \1\2batch import Direct"),
    (r"\bCoalescer\b", "Direct"),
    (r"\bLanes\b", "DirectLanes"),
    (r", share_from=SHARE_FROM", ""),
    (r", home=(self\._)?home\b", ""),
    (r"\n +(self\._home|home) = (Home\(\)|self\._home)(?=\n)", ""),
    (r"contract\.coalescing\b", "contract.direct"),
    (r"\bCoalescingStore\b", "DirectStore"),
    (r"\bOptimisticStore\b", "BlockingOptimisticStore"),
    (r"whose concurrent calls travel together", "whose calls have a connection each"),
    (r", together with what others ask in this turn|(?<= round trip) with the other commits of this turn", ""),
    # What drives, waits and connects.
    (r"\bdrive\b(?! import)", "drive_now"),
    (r"(retrying)\.ask\(", r"\1.ask_now("),
    (r"Awaitable\[(list\[\w+\]|\w+)\]", r"\1"),
    (r"Awaitable, ", ""),
    (r"await in_thread\((.*?)\)", r"\1()"),
    (r"from \.\.\.contract\.threads import in_thread\n", ""),
    (r"await asyncio\.sleep\(", "time.sleep("),
    (r"with self\._deadlines\.within\(timeout_s\):", "if True:  # the socket has a time-out"),
    (r"import asyncio\n", ""),
    (r"from asyncio import wrap_future\n", ""),
    (r"await wrap_future\((\w+)\)", r"\1.result()"),
    (r"\.socket_timeout = None .*", ".socket_timeout = timeout_s"),
    (r"return connection, run  # all of the.*", "return self.limited(connection, timeout_s), run"),
    (
        r"return connection, run  # the exchange has.*",
        "return self.limited(connection, now_s + timeout_s - time.monotonic()), run",
    ),
    (r"connection, run = sent  # the exchange has.*", "connection, run = self.limited(sent[0], timeout_s), sent[1]"),
    (r"\.can_read_destructive\(\)", ".can_read(timeout=0)"),
    (r"\bcan_read_destructive\(self\)", "can_read(self, timeout: float = 0)"),
    (r"nowait=True|, nowait: bool = False", ""),
    (r"\basync_(behind|connections|nodes|store)\b", r"blocking_\1"),
    (r"(\b|_)Async(?=(Behind|Connections?|Nodes?)\b)", r"\1Blocking"),
    (r"\bAsyncPool\b", "Pool"),
    (r"\basync_server_store\b", "server_store"),
    (r"\bAsyncServerStore\b", "ServerStore"),
    (r"from asyncio import Lock", "from threading import Lock"),
    (r"\b(Valkey|Cluster|Postgres)Store\b", r"Blocking\1Store"),
    (r"``open_(valkey|postgres)``", r"``open_\1_blocking``"),
    (r"for the tasks of one event loop; what they ask at once travels together", "for any number of threads"),
    (r"one event loop, any number of tasks", "each call has a connection to itself"),
    (r"for asyncio", "for threads"),
    (r"\basync (def|with)\b", r"\1"),
    (r"\bawait ", ""),
)

CLIENTS = {
    "client/async_client.py": "client/blocking_client.py",
    "client/async_following.py": "client/blocking_following.py",
}
CLIENT_REPLACEMENTS = (
    (r"await asyncio\.sleep\(", "time.sleep("),
    (r"import asyncio\n", "import time\n"),
    (r"import Callable, Coroutine\n", "import Callable\n"),
    (r"Coroutine\[Any, Any, T\]", "T"),
    (r"\._async\b", "._sync"),
    (r"\bAsync(BaseTransport)\b", r"\1"),
    (r"\bAsyncClient\b", "Client"),
    (r"\baclose\(\)", "close()"),
    (r"\baread\(\)", "read()"),
    (r"\baiter_bytes\(\)", "iter_bytes()"),
    (r"\banext\(", "next("),
    (r"\btried\b", "tried_now"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\basync_following\b", "blocking_following"),
    (r"\bAsyncRemoteEvents\b", "RemoteEvents"),
    (r"tasks", "threads"),
    *REPLACEMENTS,
)
"""The client of the service, over the same HTTP library's other half."""

Replacements = tuple[tuple[str, str], ...]
Used = dict[str, int]
"""How many places each replacement has changed, over all files."""


class Twin(NamedTuple):
    """A file that is generated."""

    source: Path
    path: Path
    replacements: Replacements


def all_twins() -> Iterator[Twin]:
    """Yield what is generated from what, and how."""
    for source in sorted(SOURCE.glob("*.py")):
        if source.name != "__init__.py":
            special = STORE_REPLACEMENTS if source.name == STORE else ()
            yield Twin(source, TWIN / source.name, (*special, *REPLACEMENTS))
    for name, twin in STORES.items():
        yield Twin(PACKAGE / name, PACKAGE / twin, SHELL_REPLACEMENTS)
    for name, twin in CLIENTS.items():
        yield Twin(PACKAGE / name, PACKAGE / twin, CLIENT_REPLACEMENTS)


def twin_of(source: str, name: str, replacements: Replacements, used: Used) -> str:
    """Return the blocking twin of a module's text, and count in ``used`` what was replaced."""
    body = source
    for pattern, replacement in replacements:
        body, count = re.subn(pattern, replacement, body)
        used[pattern] = used.get(pattern, 0) + count
    first_line = f"# Generated from {name} by tools/generate_sync.py; change that file and run it again."
    return f"{first_line}\n{_tidy(body)}"


def _tidy(body: str) -> str:
    return re.sub(r'^(r?)"""(.*?)\n+"""', r'\1"""\2"""', body, count=1)


def twins(formatted: Callable[[str], str]) -> Iterator[tuple[Path, str]]:
    """Yield each twin's path and text.

    Raises:
        SystemExit: a replacement changed nothing in any file.
    """
    used: Used = {}
    for source, path, replacements in all_twins():
        name = source.relative_to(PACKAGE).as_posix()
        yield path, formatted(twin_of(source.read_text(encoding="utf-8"), name, replacements, used))
    if unused := [pattern for pattern, count in used.items() if count == 0]:
        raise SystemExit(f"tools/generate_sync.py: these replacements change nothing, take them out: {unused}")


def _formatted(text: str) -> str:
    settings = ["--quiet", "--config", str(ROOT / "pyproject.toml"), "--stdin-filename", "sync.py", "-"]
    for command in (["check", "--select", "I", "--fix-only"], ["format"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings], input=text, capture_output=True, text=True, check=True
        )
        text = run.stdout
    return text


def main() -> int:
    """Write the twins, or check them."""
    checking = "--check" in sys.argv[1:]
    stale, made = [], {"__init__.py"}
    for path, text in twins(_formatted):
        if path.parent == TWIN:
            made.add(path.name)
        if not checking:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(PACKAGE).as_posix())
    if stale:
        print(f"out of date: {', '.join(stale)}; run python tools/generate_sync.py", file=sys.stderr)
    strays = sorted(path.name for path in TWIN.glob("*.py") if path.name not in made)
    if strays:
        print(f"in _sync/ without a source in _async/: {', '.join(strays)}; delete them", file=sys.stderr)
    return 1 if stale or strays else 0


if __name__ == "__main__":
    sys.exit(main())
