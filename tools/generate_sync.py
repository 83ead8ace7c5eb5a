"""Writes the blocking API (`_sync/`) from the one for asyncio (`_async/`), so that each command is written once.

Usage: ``python tools/generate_sync.py`` writes, ``--check`` only says whether what is there is up to date.
Every file of `_async/` has its twin of the same name, and `_sync/` holds nothing else. A replacement that no file
needs is an error: it would wait here to change a line that is written one day.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "session_tokens" / "_async"
TWIN = SOURCE.with_name("_sync")

REPLACEMENTS = (
    (r"(\nfrom \.+contract\.store import) Store\n", r"\1 BlockingStore\n"),
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
    (r"for asyncio", "for threads"),
    (r"any number of tasks and threads", "any number of threads"),
)
STORE = "mirror.py"
STORE_REPLACEMENTS = (
    (r"\basync def (read|run|due|close)\(self", r"def \1_now(self"),
    (r"await self\.run\(", "self.run_now("),
)
"""Before the others, in the one store among the sources: its coroutines become a ``BlockingStore``'s plain methods."""

Used = dict[str, int]
"""How many places each replacement has changed, over all files."""


def twin_of(source: str, name: str, used: Used) -> str:
    """Return the blocking twin of a module's text, and count in ``used`` what was replaced."""
    body = source
    for pattern, replacement in (*(STORE_REPLACEMENTS if name == STORE else ()), *REPLACEMENTS):
        body, count = re.subn(pattern, replacement, body)
        used[pattern] = used.get(pattern, 0) + count
    first_line = f"# Generated from _async/{name} by tools/generate_sync.py; change that file and run it again."
    return f"{first_line}\n{_tidy(body)}"


def _tidy(body: str) -> str:
    return re.sub(r'^(r?)"""(.*?)\n+"""', r'\1"""\2"""', body, count=1)


def twins(formatted: Callable[[str], str]) -> Iterator[tuple[Path, str]]:
    """Yield each twin's path and text.

    Raises:
        SystemExit: a replacement changed nothing in any file.
    """
    used: Used = {}
    for source in sorted(SOURCE.glob("*.py")):
        if source.name != "__init__.py":
            yield TWIN / source.name, formatted(twin_of(source.read_text(encoding="utf-8"), source.name, used))
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
        made.add(path.name)
        if not checking:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"out of date in _sync/: {', '.join(stale)}; run python tools/generate_sync.py", file=sys.stderr)
    strays = sorted(path.name for path in TWIN.glob("*.py") if path.name not in made)
    if strays:
        print(f"in _sync/ without a source in _async/: {', '.join(strays)}; delete them", file=sys.stderr)
    return 1 if stale or strays else 0


if __name__ == "__main__":
    sys.exit(main())
