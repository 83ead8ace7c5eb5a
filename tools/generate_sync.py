"""Writes the synchronous API from the one for asyncio, so that each command is written once.

Usage: ``python tools/generate_sync.py`` writes, ``--check`` only says whether what is there is up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "session_tokens"
TWINS = {
    "async_sweeping.py": "sync_sweeping.py",
    "async_core.py": "sync_core.py",
    "async_sessions.py": "sync_sessions.py",
    "async_tokens.py": "sync_tokens.py",
    "async_api.py": "sync_api.py",
    "async_tables_core.py": "sync_tables_core.py",
    "async_tables_commands.py": "sync_tables_commands.py",
    "async_token_tables.py": "token_tables.py",
    "stores/async_mirror.py": "stores/sync_mirror.py",
}
REPLACEMENTS = (
    (r"(\nfrom \.+store import) Store\n", r"\1 BlockingStore\n"),
    (r"\bStore\b(?!\.)(?=[ ,)=:]| =)", "BlockingStore"),
    (r"await ((?:self\.)?store)\.(read|run|run_within|due|close|insist_on_peppers)\(", r"\1.\2_now("),
    (r"await ((?:self\.)?store)\.(find_session(?:_by_id)?|find_token(?:_by_id)?)\(", r"\1.\2_now("),
    (r"\bself\.store\.run\b(?=[,)])", "self.store.run_now"),
    (r"\bopen_store\b(?!_)", "open_store_now"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\bTaskSweeper\b", "ThreadSweeper"),
    (r"\bAsync(SessionTokens|TokenTables)\b", r"\1"),
    (r"\bAsync(?=[A-Z])(?!Iterator|Sweepable)", "Sync"),
    (r"\basync_token_tables\b", "token_tables"),
    (r"\basync_(core|sessions|tokens|api|sweeping|tables_core|tables_commands|mirror)\b", r"sync_\1"),
    (r"for asyncio", "for threads"),
    (r"any number of tasks and threads", "any number of threads"),
)


STORE_REPLACEMENTS = (
    (r"\basync def (read|run|due|close)\(self", r"def \1_now(self"),
    (r"await self\.run\(", "self.run_now("),
)
"""Before the others, in a store: its coroutines become the plain methods of a ``BlockingStore``."""


def twin_of(source: str, name: str) -> str:
    """Answer the synchronous twin of a module's text."""
    body = re.sub(r"\n*``\w+\.py`` is generated from this file by ``tools/generate_sync\.py``\.\n", "\n", source)
    body = re.sub(r"; ``\w+\.py`` is generated from this file by ``tools/generate_sync\.py``\.", ".", body)
    for pattern, replacement in (*(STORE_REPLACEMENTS if name.startswith("stores/") else ()), *REPLACEMENTS):
        body = re.sub(pattern, replacement, body)
    return f"# Generated from {name} by tools/generate_sync.py; change that file and run it again.\n" + _tidy(body)


def _tidy(body: str) -> str:
    return re.sub(r'^(r?)"""(.*?)\n+"""', r'\1"""\2"""', body, count=1)


def main() -> int:
    """Write the twins, or check them."""
    checking = "--check" in sys.argv[1:]
    stale = []
    for name, twin in TWINS.items():
        text = _formatted(twin_of((PACKAGE / name).read_text(encoding="utf-8"), name))
        path = PACKAGE / twin
        if checking and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(twin)
        elif not checking:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python tools/generate_sync.py", file=sys.stderr)
    return 1 if stale else 0


def _formatted(text: str) -> str:
    import subprocess

    config = Path(__file__).parent.parent / "pyproject.toml"
    sort = ["ruff", "check", "--select", "I", "--fix-only", "--quiet"]
    for command in (sort, ["ruff", "format", "--quiet"]):
        run = subprocess.run(
            [sys.executable, "-m", *command, "--config", str(config), "--stdin-filename", "sync.py", "-"],
            input=text, capture_output=True, text=True, check=True,
        )  # fmt: skip
        text = run.stdout
    return text


if __name__ == "__main__":
    sys.exit(main())
