"""What happened lately: what this service saw, and what the audit log remembers of before, where one is kept.

Theory of operation. Charts count by minutes. They begin with what the audit log says of the last hour (at most its last
``BEGUN_WITH`` entries), read once, and go on with the events of this process, and of the other workers of its service,
which are asked when a page is shown. Timelines and the latest happenings are read from the audit log when they are
shown, a bounded stretch of it; without one they are what the service saw, and say so. What the console's own sessions
do is no part of either.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._async.api import AsyncSessionTokens
from ...audit.reader import AuditFilter, read, searched
from ...events import OWNER_FORGOTTEN, SESSION_ENDED, SESSION_OPENED, Event
from ..crew import ACTIVITY, Alone, Crew
from ..reserved import is_console_owner
from .forgotten import ForgottenNames, pseudonyms_in

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
        since_ms: since when it was seen, where no log is kept.
    """

    happened: Sequence[Happening]
    is_kept: bool
    is_whole: bool
    since_ms: int = 0


Timelines = OrderedDict[str, deque[Happening]]


def _remember(timelines: Timelines, subject: str | None, happening: Happening) -> None:
    """Add what happened to a timeline; those that were added to longest ago make room."""
    if subject is None:
        return
    timelines.setdefault(subject, deque(maxlen=EVENTS_OF_SUBJECT_MAX)).append(happening)
    timelines.move_to_end(subject)
    while len(timelines) > SUBJECTS_MAX:
        timelines.popitem(last=False)


Minutes = dict[int, Counter[str]]
"""How many of each kind, by the second in which a minute begins."""


def _count(minutes: Minutes, ended: Counter[str], happening: Happening) -> None:
    if happening.is_ours:
        return
    minute_s = happening.at // 60_000 * 60
    if minute_s not in minutes:
        minutes[minute_s] = Counter()
        for old in sorted(minutes)[: -2 * MINUTES]:
            del minutes[old]
    minutes[minute_s][happening.kind] += 1
    if happening.kind == SESSION_ENDED:
        ended[happening.reason or "?"] += 1


class Charts(NamedTuple):
    """What is counted of the last hour.

    Attributes:
        minutes: by minutes.
        ended_by_reason: sessions that ended.
        since_ms: since when it is counted.
        is_kept: whether an audit log told of what was before this service began.
    """

    minutes: Minutes
    ended_by_reason: Counter[str]
    since_ms: int
    is_kept: bool

    def per_minute(self, now_s: int, *kinds: str) -> tuple[list[int], list[list[int]]]:
        """Return the last hour by minutes: their beginnings, and for each kind its counts."""
        last = now_s // 60 * 60
        beginnings = [last - 60 * back for back in range(MINUTES - 1, -1, -1)]
        return beginnings, [[self.minutes.get(at_s, Counter())[kind] for at_s in beginnings] for kind in kinds]


class Activity:
    """Listens to the events committed by this process; bounded, and gone with it.

    Args:
        tokens: the library.
        crew: the workers of the service, each of which listens to its own events.
    """

    def __init__(self, tokens: AsyncSessionTokens, crew: Crew | None = None) -> None:
        self._tokens = tokens
        self._crew = crew or Alone()
        self._crew.answer(ACTIVITY, self._told)
        self._names = ForgottenNames(tokens.store.keyring)
        self._minutes: Minutes = {}
        self._ended: Counter[str] = Counter()
        self._subjects: Timelines = OrderedDict()
        self._owners: Timelines = OrderedDict()
        self._recent: deque[Happening] = deque(maxlen=RECENT_MAX)
        self._began_ms = tokens.store.clock.now()
        self._before: tuple[int, Charts] | None = None
        self.stop = tokens.subscribe(self._note)

    async def charts(self) -> Charts:
        """Return what all workers counted, and what the audit log, where one is kept, says of before."""
        told = await self._told_by_all({"charts": True})
        before = await self._charts_before(min(one["began"] for one in told))
        minutes = {at_s: Counter(counts) for at_s, counts in before.minutes.items()}
        ended = Counter(before.ended_by_reason)
        for one in told:
            ended.update(one["ended"])
            for at_s, counts in one["minutes"].items():
                minutes.setdefault(int(at_s), Counter()).update(counts)
        return before._replace(minutes=minutes, ended_by_reason=ended)

    async def recent(self) -> Seen:
        """Return what all workers saw last, the newest first."""
        return _seen(await self._told_by_all({"recent": True}), RECENT_MAX)

    async def timeline(self, subject: str, *, is_owner: bool = False) -> Seen:
        """Return what all workers saw happen to a session or token, or to what is an owner's, the newest first."""
        asked = {"timeline": subject, "is_owner": is_owner}
        return _seen(await self._told_by_all(asked), EVENTS_OF_SUBJECT_MAX)

    async def _told_by_all(self, of: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            others = await self._crew.ask(ACTIVITY, of)
        except TimeoutError:  # what is missing was never promised to be kept
            others = []
        return [self._told(of), *others]

    def _told(self, of: dict[str, Any]) -> dict[str, Any]:
        """Return what this process saw, in plain values; or take note of what another one saw."""
        if "charts" in of:
            minutes = {at_s: dict(counts) for at_s, counts in list(self._minutes.items())}
            return {"began": self._began_ms, "minutes": minutes, "ended": dict(self._ended)}
        if "forgotten" in of or "anew" in of:
            self._take_note(of)
            return {}
        happened = self._recent
        if "timeline" in of:
            happened = (self._owners if of["is_owner"] else self._subjects).get(of["timeline"], deque())
        return {"began": self._began_ms, "happened": list(happened)}

    async def _charts_before(self, began_ms: int) -> Charts:
        """Return what the audit log says of the last hour before an instant; it is read once."""
        if self._before is None or self._before[0] != began_ms:
            since_ms = began_ms - MINUTES * 60_000
            wanted = AuditFilter(since=since_ms, until=began_ms)
            page = await read(self._tokens.store, searched(BEGUN_WITH, None, wanted, BEGUN_WITH))
            minutes: Minutes = {}
            ended: Counter[str] = Counter()
            for entry in page.entries:
                _count(minutes, ended, of_entry(entry))
            if page.next is not None and page.entries:
                since_ms = page.entries[-1].get("at", since_ms)
            self._before = began_ms, Charts(minutes, ended, since_ms if page.is_kept else began_ms, page.is_kept)
        return self._before[1]

    def _note(self, event: Event) -> None:
        if event.kind == OWNER_FORGOTTEN:
            self._take_note({"forgotten": pseudonyms_in(event)})
            self._crew.tell(ACTIVITY, {"forgotten": pseudonyms_in(event)})
        elif event.kind == SESSION_OPENED and (anew := self._names.begins_anew(event.owner)):
            self._crew.tell(ACTIVITY, {"anew": anew})
        happening = self._shown(of_event(event))
        _count(self._minutes, self._ended, happening)
        if not happening.is_ours:
            self._recent.append(happening)
        _remember(self._subjects, event.subject_id, happening)
        for owner in {happening.owner, happening.previous_owner}:
            _remember(self._owners, owner, happening)

    def _take_note(self, of: dict[str, Any]) -> None:
        """Take note of who was forgotten, or has a name again, here or at another worker."""
        if "forgotten" in of:
            self._names.note(of["forgotten"])
            self._forget()
        else:
            self._names.remove(of["anew"])

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
        kept = (self._recent, *self._subjects.values(), *self._owners.values())
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


def _seen(told: Sequence[dict[str, Any]], most: int) -> Seen:
    """Return what several workers saw, the newest first."""
    happened = [Happening(*each) for one in told for each in one["happened"]]
    happened.sort(key=lambda each: each.at)
    return Seen(happened[::-1][:most], False, False, min(one["began"] for one in told))
