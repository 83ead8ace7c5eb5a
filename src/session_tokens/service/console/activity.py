"""What happened lately: what this process saw, and what the audit log remembers of before, where one is kept.

Theory of operation. Charts count by minutes. They begin with what the audit log says of the last hour (at most its last
``BEGUN_WITH`` entries), read once, and go on with the events of this process. Timelines and the latest happenings are
read from the audit log when they are shown, a bounded stretch of it; without one they are what this process saw, and
say so. What the console's own sessions do is no part of either.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._async.api import AsyncSessionTokens
from ...audit.reader import AuditFilter, read, searched
from ...events import OWNER_FORGOTTEN, SESSION_ENDED, SESSION_OPENED, Event
from ..reserved import is_console_owner
from .forgotten import ForgottenNames

MINUTES = 60
SUBJECTS_MAX = 5_000
EVENTS_OF_SUBJECT_MAX = 50
RECENT_MAX = 100
BEGUN_WITH = 1_000
"""Entries of the audit log that the charts begin with."""
LOOKED_AT = 1_000
"""Entries of the audit log that one timeline looks at."""
SHOWN = 12
"""Happenings on a page."""
OF_OPERATORS = ("session_", "token_", "owner_")
"""How kinds begin that everybody is shown who may see sessions; the others are for those who may read the log."""

WORDS = {
    "session_opened": "opened", "session_rotated": "new secret", "session_detached": "detached",
    "session_attached": "attached", "session_changed": "changed", "session_ended": "ended",
    "owner_disabled": "disabled", "owner_enabled": "enabled",
    "owner_renamed": "renamed", "owner_forgotten": "forgotten", "token_issued": "issued", "token_changed": "changed",
    "token_transferred": "transferred", "token_claimed": "claimed", "token_reissued": "new secret",
    "token_offered": "offered", "token_withdrawn": "withdrawn", "token_ended": "ended", "key_created": "key made",
    "key_rotated": "key rotated", "key_revoked": "key revoked", "webhook_added": "webhook added",
    "webhook_changed": "webhook changed", "webhook_rotated": "webhook key rotated",
    "webhook_replayed": "webhook replayed", "webhook_removed": "webhook removed",
    "setting_changed": "setting changed", "service_started": "service started", "token_consumed": "used",
    "token_released": "put back", "token_lent": "lent", "token_recalled": "loans ended",
}  # fmt: skip


def said_of(kind: str) -> str:
    """Return what happened, with what it happened to: ``session opened``."""
    what, _, _ = kind.partition("_")
    word = WORDS.get(kind, kind)
    return f"{what} {word}" if what in ("session", "token", "owner") else word


class Happening(NamedTuple):
    """Something that happened, as an event or an entry of the audit log tells it."""

    kind: str
    at: int
    subject_id: str
    owner: str | None
    reason: str | None
    previous_owner: str | None

    @property
    def is_ours(self) -> bool:
        """Whether it is about a session of the console."""
        return any(owner is not None and is_console_owner(owner) for owner in (self.owner, self.previous_owner))


def of_event(event: Event) -> Happening:
    """Return what an event tells."""
    return Happening(event.kind, event.at, event.subject_id, event.owner, event.reason, event.previous_owner)


def of_entry(entry: dict[str, Any]) -> Happening:
    """Return what an entry of the audit log tells; one that cannot be read is of no instant."""
    return Happening(
        str(entry.get("kind")), entry.get("at", 0), str(entry.get("subject_id") or ""), entry.get("owner"),
        entry.get("reason"), entry.get("previous_owner"),
    )  # fmt: skip


class Seen(NamedTuple):
    """What happened, the newest first.

    Attributes:
        happened: at most as much as is shown.
        is_kept: whether it comes from an audit log.
        is_whole: whether the log was read to its beginning, or to its end what is asked for.
    """

    happened: Sequence[Happening]
    is_kept: bool
    is_whole: bool


Timelines = OrderedDict[str, deque[Happening]]


def _remember(timelines: Timelines, subject: str | None, happening: Happening) -> None:
    """Add what happened to a timeline; those that were added to longest ago make room."""
    if subject is None:
        return
    timelines.setdefault(subject, deque(maxlen=EVENTS_OF_SUBJECT_MAX)).append(happening)
    timelines.move_to_end(subject)
    while len(timelines) > SUBJECTS_MAX:
        timelines.popitem(last=False)


class Activity:
    """Listens to the events committed by this process; bounded, and gone with it."""

    def __init__(self, tokens: AsyncSessionTokens) -> None:
        self._tokens = tokens
        self._names = ForgottenNames(tokens.store.keyring)
        self._minutes: dict[int, Counter[str]] = {}
        self._subjects: Timelines = OrderedDict()
        self._owners: Timelines = OrderedDict()
        self.recent: deque[Happening] = deque(maxlen=RECENT_MAX)
        self.ended_by_reason: Counter[str] = Counter()
        self.began_ms = tokens.store.clock.now()
        self.counts_since_ms = self.began_ms
        self.is_begun = False
        self.is_kept = False
        self.stop = tokens.subscribe(self._note)

    async def begin(self) -> None:
        """Count what the audit log, where one is kept, says of the last hour before this process began."""
        if self.is_begun:
            return
        self.is_begun = True
        since = self.began_ms - MINUTES * 60_000
        try:
            wanted = AuditFilter(since=since, until=self.began_ms)
            page = await read(self._tokens.store, searched(BEGUN_WITH, None, wanted, BEGUN_WITH))
        except BaseException:
            self.is_begun = False
            raise
        self.is_kept = page.is_kept
        if page.is_kept:
            last = page.entries[-1].get("at", since) if page.next is not None and page.entries else since
            self.counts_since_ms = last
        for entry in page.entries:
            self._count(of_entry(entry))

    def _note(self, event: Event) -> None:
        if event.kind == OWNER_FORGOTTEN:
            self._names.note(event)
            self._forget()
        elif event.kind == SESSION_OPENED:
            self._names.begins_anew(event.owner)
        happening = self._shown(of_event(event))
        self._count(happening)
        if not happening.is_ours:
            self.recent.append(happening)
        _remember(self._subjects, event.subject_id, happening)
        for owner in {happening.owner, happening.previous_owner}:
            _remember(self._owners, owner, happening)

    def _shown(self, happening: Happening) -> Happening:
        """Return a happening that names nobody who was forgotten."""
        owner, previous = self._names.shown(happening.owner), self._names.shown(happening.previous_owner)
        if (owner, previous) == (happening.owner, happening.previous_owner):
            return happening
        named = {happening.owner: owner, happening.previous_owner: previous}
        subject = named.get(happening.subject_id) or happening.subject_id
        return happening._replace(subject_id=subject, owner=owner, previous_owner=previous)

    def _forget(self) -> None:
        """Put the pseudonym of who was forgotten in the place of their name in all that this process saw."""
        kept = (self.recent, *self._subjects.values(), *self._owners.values())
        named = {name for each in kept for happening in each for name in (happening.owner, happening.previous_owner)}
        gone = {name for name in named if name is not None and self._names.shown(name) != name}
        for each in kept:
            if any(happening.owner in gone or happening.previous_owner in gone for happening in each):
                shown = [self._shown(happening) for happening in each]
                each.clear()
                each.extend(shown)
        for name in gone & self._owners.keys():
            self._owners[self._names.shown(name) or ""] = self._owners.pop(name)
            self._subjects.pop(name, None)

    def _count(self, happening: Happening) -> None:
        if happening.is_ours:
            return
        minute_s = happening.at // 60_000 * 60
        if minute_s not in self._minutes:
            self._minutes[minute_s] = Counter()
            for old in sorted(self._minutes)[: -2 * MINUTES]:
                del self._minutes[old]
        self._minutes[minute_s][happening.kind] += 1
        if happening.kind == SESSION_ENDED:
            self.ended_by_reason[happening.reason or "?"] += 1

    def timeline(self, subject: str, *, is_owner: bool = False) -> list[Happening]:
        """Return what this process saw happen to a session or token, or to what is an owner's, the newest first."""
        return list((self._owners if is_owner else self._subjects).get(subject, ()))[::-1]

    def per_minute(self, now_s: int, *kinds: str) -> tuple[list[int], list[list[int]]]:
        """Return the last hour by minutes: their beginnings, and for each kind its counts."""
        last = now_s // 60 * 60
        beginnings = [last - 60 * back for back in range(MINUTES - 1, -1, -1)]
        return beginnings, [[self._minutes.get(at_s, Counter())[kind] for at_s in beginnings] for kind in kinds]
