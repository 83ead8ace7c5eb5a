"""What happened lately in this process: counts by minute for the charts, and a timeline for each subject."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import NamedTuple

from ..._async.api import AsyncSessionTokens
from ...events import SESSION_ENDED, Event

MINUTES = 60
SUBJECTS_MAX = 5_000
EVENTS_OF_SUBJECT_MAX = 50
RECENT_MAX = 100


class Minute(NamedTuple):
    """Counts of one minute: since when (seconds since the epoch), and how often each kind of event came."""

    at_s: int
    kinds: Counter[str]


class Activity:
    """Listens to the events committed by this process; bounded, and gone with it."""

    def __init__(self, tokens: AsyncSessionTokens) -> None:
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._subjects: OrderedDict[str, deque[Event]] = OrderedDict()
        self.recent: deque[Event] = deque(maxlen=RECENT_MAX)
        self.ended_by_reason: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.stop = tokens.subscribe(self._note)

    def _note(self, event: Event) -> None:
        minute_s = event.at // 60_000 * 60
        if not self._minutes or self._minutes[-1].at_s < minute_s:
            self._minutes.append(Minute(minute_s, Counter()))
        self._minutes[-1].kinds[event.kind] += 1
        self.kinds[event.kind] += 1
        self.recent.append(event)
        if event.kind == SESSION_ENDED:
            self.ended_by_reason[event.reason or "?"] += 1
        timeline = self._subjects.setdefault(event.subject_id, deque(maxlen=EVENTS_OF_SUBJECT_MAX))
        timeline.append(event)
        self._subjects.move_to_end(event.subject_id)
        while len(self._subjects) > SUBJECTS_MAX:
            self._subjects.popitem(last=False)

    def timeline(self, subject_id: str) -> list[Event]:
        """Return what this process saw happen to a session, token or owner, the oldest first."""
        return list(self._subjects.get(subject_id, ()))

    def per_minute(self, now_s: int, *kinds: str) -> tuple[list[int], list[list[int]]]:
        """Return the last hour by minutes: their beginnings, and for each kind its counts."""
        counted = {minute.at_s: minute.kinds for minute in list(self._minutes)}
        last = now_s // 60 * 60
        beginnings = [last - 60 * back for back in range(MINUTES - 1, -1, -1)]
        return beginnings, [[counted.get(at_s, Counter())[kind] for at_s in beginnings] for kind in kinds]
