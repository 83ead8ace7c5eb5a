"""What the command line prints: tables for people (in colour where rich is installed), JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Protocol

from ..records import ServiceKey

CELL_WIDTH_MAX = 60


def key_json(key: ServiceKey, last_used_at: int | None = None) -> dict[str, Any]:
    """Return a service key as JSON; no secret."""
    from ..service_keys.networks import networks_of

    return {
        "id": key.id,
        "role": key.role,
        "label": key.label,
        "networks": list(map(str, networks_of(key))),
        "owner_prefix": key.owner_prefix,
        "namespace": key.namespace,
        "audience": key.audience,
        "max_age": None if key.max_age_ms is None else key.max_age_ms / 1000,
        "rate": key.rate,
        "owner_creations": key.owner_creations,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": last_used_at,
    }


def print_json(answer: Any) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(answer, ensure_ascii=True, separators=(",", ":")))


def print_record(record: dict[str, Any]) -> None:
    """Print one record for people: a field a line, empty ones left out."""
    shown = {name: cell for name, value in record.items() if (cell := _cell(name, value))}
    width = max(map(len, shown), default=0)
    for name, cell in shown.items():
        print(f"{name:<{width}}  {cell}")


def print_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print records for people, a row each."""
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for column in columns:
                table.add_column(column, overflow="fold")
            for row in cells:
                table.add_row(*(Text(cell) for cell in row))
            Console().print(table)
            return
    widths = [max(len(column), *(len(row[at]) for row in cells), 0) for at, column in enumerate(columns)]
    for row in [list(columns), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_row(columns: Sequence[str], row: dict[str, Any]) -> None:
    """Print one record of many that come by and by: its cells with two blanks between, a dash for an empty one."""
    print("  ".join(_cell(column, row.get(column)) or "-" for column in columns), flush=True)


def _cell(name: str, value: Any) -> str:
    if value is None or value == {}:
        return ""
    if value is False:
        return "no"
    if name.endswith("_at") or name in ("at", "held_since"):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if value is True:
        return "yes"
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=True)
    return text if name in ("secret", "id") or len(text) <= CELL_WIDTH_MAX else text[: CELL_WIDTH_MAX - 1] + "…"


class Shown(Protocol):
    """Shows how far long work has come."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show that so many of so many are done; ``None`` where nobody knows how many there are."""
        ...


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Shown]:
    """Show on standard error how far long work has come: a bar on a terminal, elsewhere a line now and then.

    Args:
        what: was done, such as ``copied``.
        quiet: whether to say nothing, because a program reads along.
    """
    if quiet:
        yield lambda done, total=None: None
    elif not sys.stderr.isatty():
        lines = _Lines(what)
        yield lines
        lines.end()
    elif find_spec("rich") is not None:
        with _bar(what) as bar:
            yield bar
    else:
        line = _OneLine(what)
        try:
            yield line
        finally:
            line.end()


class _Lines:
    """Whole lines for a log: one every few seconds, none of quick work."""

    every_s = 10.0

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_at_s = time.monotonic()
        self._last = self._said = ""

    def __call__(self, done: int, total: int | None = None) -> None:
        self._last = (
            f"{self._what}: {done}" if not total else f"{self._what}: {done} of {total} ({done * 100 // total} %)"
        )
        now_s = time.monotonic()
        if now_s - self._said_at_s >= self.every_s:
            self._said_at_s = now_s
            self._say(self._last)

    def _say(self, line: str) -> None:
        self._said = line
        print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Say how it ended, if anything was said before."""
        if self._said and self._said != self._last:
            self._say(self._last)


class _OneLine(_Lines):
    """A line on a terminal that is written over."""

    every_s = 0.1

    def _say(self, line: str) -> None:
        self._said = line
        print(f"\r{line}", end="\x1b[K", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line as it is at last, and begin another."""
        if self._last:
            self._say(self._last)
            print(file=sys.stderr)


@contextmanager
def _bar(what: str) -> Iterator[Shown]:
    """Show a bar, drawn by rich; nothing before the work begins."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield show
