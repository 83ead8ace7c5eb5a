"""The command that shows live in a terminal what lives on a store and what happens there."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .._sync.api import SessionTokens
from ..errors import InvalidInput, StoreError
from ..settings import PAGE_LIMIT_MAX
from . import exits
from .commands import opened
from .exits import UsageError
from .output import print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 15
"""Happenings on the screen."""
COUNTED_PAGES = 4
BEFORE_PAGES = 20
"""Of events that are looked through at the beginning; where there are more, it begins with what comes."""
MINUTE_MS = 60_000


class Watched:
    """What lives on a store and what happened on it lately, asked anew by each ``look``.

    Attributes:
        figures: what lives → how many; ``500+`` where it is not counted to the end.
        happened: the latest first, as JSON.
        source: where that comes from: ``events``, ``audit`` or nothing, where neither is kept.
        rates: kind → how many in the last minute, as far as is known.
        trouble: why the last look failed; empty if it did not.
    """

    def __init__(self, tokens: SessionTokens) -> None:
        self._tokens = tokens
        self._after: str | None = None
        self.figures: dict[str, str] = {}
        self.happened: list[Mapping[str, Any]] = []
        self.source = ""
        self.rates: Counter[str] = Counter()
        self.trouble = ""

    def look(self) -> None:
        """Ask the store; what it cannot answer leaves what is shown as it is."""
        try:
            self.figures = self._figures()
            self._listen()
            self.trouble = ""
        except StoreError as error:
            self.trouble = str(error)
        now = int(time.time() * 1000)
        self.rates = Counter(str(each["kind"]) for each in self.happened if each.get("at", 0) > now - MINUTE_MS)

    def _figures(self) -> dict[str, str]:
        tokens = self._tokens
        return {
            "sessions": _count(lambda after: tokens.list_sessions(anonymous=True, after=after, limit=PAGE_LIMIT_MAX)),
            "detached": _count(lambda after: tokens.list_sessions(detached=True, after=after, limit=PAGE_LIMIT_MAX)),
            "tokens": _count(lambda after: tokens.list_tokens(after=after, limit=PAGE_LIMIT_MAX)),
            "unassigned": _count(lambda after: tokens.list_tokens(unassigned=True, after=after, limit=PAGE_LIMIT_MAX)),
            "for sale": _count(lambda after: tokens.list_tokens(sellable=True, after=after, limit=PAGE_LIMIT_MAX)),
        }

    def _listen(self) -> None:
        try:
            if self._after is None:
                self._after = self._tokens.last_event_id()
                self.happened = self._happened_before()
            events = self._tokens.events(after=self._after, limit=PAGE_LIMIT_MAX)
        except InvalidInput:  # it keeps none
            self.happened = list(self._tokens.list_audit(limit=PAGE_LIMIT_MAX))
            self.source = "audit" if self.happened else ""
            return
        self.source = "events"
        if events.items:
            self._after = events.items[-1].id
            self.happened = [*(event.to_dict() for event in reversed(events.items)), *self.happened][:PAGE_LIMIT_MAX]

    def _happened_before(self) -> list[Mapping[str, Any]]:
        """Return what happened before the first look: of the audit log, else the last of not too many events."""
        audited: list[Mapping[str, Any]] = list(self._tokens.list_audit(limit=PAGE_LIMIT_MAX))
        if audited:
            return audited
        latest: list[Mapping[str, Any]] = []
        after: str | None = None
        for _ in range(BEFORE_PAGES):
            page = self._tokens.events(after=after, limit=PAGE_LIMIT_MAX)
            latest = [*(event.to_dict() for event in reversed(page.items)), *latest][:PAGE_LIMIT_MAX]
            after = page.after
            if after is None:
                return latest
        return []


def _count(page_of: Any) -> str:
    """Return how many records a listing has, counted up to a few pages."""
    count, after = 0, None
    for _ in range(COUNTED_PAGES):
        page = page_of(after)
        count += len(page)
        after = page.after
        if after is None:
            return str(count)
    return f"{count}+"


def top(options: Namespace) -> int:
    """Show what lives and what happens until interrupted; once with --once, where --json is for programs."""
    if options.json and not options.once:
        raise UsageError("--json goes with --once; events --follow --json has what happens")
    if not options.once and not sys.stdout.isatty():
        raise UsageError("top goes on in a terminal, and this is none; --once prints it once")
    with opened(options) as tokens:
        watched = Watched(tokens)
        watched.look()
        if options.json:
            print_json({"figures": watched.figures, "source": watched.source, "happened": watched.happened[:SHOWN]})
            return exits.OK
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError:
            raise UsageError("top needs the extra: pip install 'session-tokens[rich]'") from None
        if options.once:
            Console().print(screen(watched, ends=True))
            return exits.OK
        with Live(screen(watched), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(options.interval)
                watched.look()
                live.update(screen(watched), refresh=True)


def screen(watched: Watched, *, ends: bool = False) -> RenderableType:
    """Return what is shown, once or until somebody ends it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    figures = Table.grid(padding=(0, 3))
    figures.add_row(*(Text.assemble((value, "bold"), f" {name}") for name, value in watched.figures.items()))
    happened = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    for column in ("at", "what", "who", "why", "by"):
        happened.add_column(column, overflow="fold")
    for each in watched.happened[:SHOWN]:
        happened.add_row(*map(Text, _row(each)))
    parts: list[RenderableType] = [figures, Text(""), Text(_rates(watched.rates)), Text("")]
    if watched.source:
        parts.append(happened)
    else:
        parts.append(Text("What happens is not known: neither events (events --on) nor an audit log are kept.", "dim"))
    if watched.trouble:
        parts.append(Text(f"The store does not answer: {watched.trouble}", "bold red"))
    parts.append(Text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}{'' if ends else ', Ctrl-C ends'}", "dim"))
    return Group(*parts)


def _rates(rates: Mapping[str, int]) -> str:
    if not rates:
        return "nothing in the last minute"
    said = ", ".join(f"{kind} {count}" for kind, count in sorted(rates.items(), key=lambda rate: -rate[1]))
    return f"in the last minute: {said}"


def _row(each: Mapping[str, Any]) -> Sequence[str]:
    at = datetime.fromtimestamp(each.get("at", 0) / 1000, UTC)
    who = each.get("owner") or each.get("previous_owner") or each.get("subject_id") or ""
    return (
        f"{at:%H:%M:%S}",
        str(each.get("kind")),
        str(who),
        str(each.get("reason") or ""),
        str(each.get("actor") or ""),
    )
