"""Events that a store keeps, for asyncio: a page of them, and following them as they come."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from typing import Self

from .. import validation as inputs
from ..contract.event_log import BEYOND, LATE_MS
from ..contract.queries import Get
from ..errors import InvalidInput
from ..events import NOWHERE, Event, Place, event_id, place_of_event
from ..records import Page
from ..rules import events as rules
from ..settings import PAGE_LIMIT_MAX
from .core import AsyncCore

log = logging.getLogger("session_tokens.events")

TOLD_EVERY_S = 60.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class AsyncEventCommands(AsyncCore):
    """What happened on a store that keeps events: ``Settings(events="durable")``."""

    async def events(self, *, after: str | None = None, owner: str | None = None, limit: int = 100) -> Page[Event]:
        """Return events in the order in which they were committed, a page at a time.

        Args:
            after: the id of the last event that you have, or the ``after`` of the page before; without it the page
                begins with the oldest event that is kept. Where the events next to it are not kept any more, the page
                begins with one of the kind ``gap``.
            owner: only what concerns them, as owner or as the one before.
            limit: 1 to 500. A page may hold less, even nothing, and name a next one.

        Raises:
            InvalidInput: the store keeps no events, or ``after`` is not the id of an event.
        """
        place = None if after is None else place_of_event(after)
        whose = None if owner is None else inputs.owner_of("owner", owner)
        limit = inputs.limit_of(limit)
        await self._insist_on_events()
        events, last, is_full, unreadable = await self._read_log(place, whose, limit)
        return Page(events, event_id(last) if is_full else None, unreadable)

    def follow_events(
        self, *, after: str | None = None, name: str | None = None, owner: str | None = None
    ) -> AsyncFollowedEvents:
        """Return an iterator over events that waits for those to come; it never ends by itself.

        Each event comes at least once, those of one session or token in order. What a store cannot answer is raised
        and hinders nothing: iterating goes on where it stood. Where events are gone, one of the kind ``gap`` comes.

        Args:
            after: the id of the last event that you have. Without it, it begins where the follower of that name had
                come to, else with the oldest event that is kept.
            name: remember in the store how far this follower has come: 1 to 64 letters, digits, ``_``, ``.`` and
                ``-``. An event counts as taken when the next one is asked for. What was taken shortly before a
                program died may come again; ``Event.id`` shows it.
            owner: as for ``events``.

        Raises:
            InvalidInput: on the first step: the store keeps no events.
        """
        place = None if after is None else place_of_event(after)
        whose = None if owner is None else inputs.owner_of("owner", owner)
        return AsyncFollowedEvents(self, place, None if name is None else follower_name_of(name), whose)

    async def _read_log(
        self, after: Place | None, owner: str | None, limit: int
    ) -> tuple[list[Event], Place, bool, tuple[str, ...]]:
        """Return events after a place, the place where they go on, whether more follow, and the ids of those left out.

        Few of many may concern an owner: ``PAGE_LIMIT_MAX`` are read for them.
        """
        many = PAGE_LIMIT_MAX if owner is not None else limit
        stretch = await self.store.read_events(rules.beginning(after), many)
        self._held_back(stretch.held_back_ms)
        events, last = rules.shown(stretch, self.store.clock.now(), after, owner)
        is_full = stretch.is_full or len(events) > limit
        if len(events) > limit:
            events = events[:limit]
            last = place_of_event(events[-1].id)
        return list(events), last, is_full, tuple(stretch.unreadable)

    def _held_back(self, waiting_ms: int) -> None:
        """Note for how long events have been waiting, and log it once a minute where that is long."""
        self.events_held_back_ms = waiting_ms
        now_s = time.monotonic()
        if waiting_ms > LATE_MS and now_s >= self._tell_late_again_s:
            self._tell_late_again_s = now_s + TOLD_EVERY_S
            log.warning(
                "events have been held back for %d s: a transaction that has written is open on the server, maybe in "
                "another database; see pg_stat_activity, backend_xid",
                waiting_ms // 1000,
            )

    async def events_are_late(self) -> bool:
        """Whether events have been held back for more than five seconds; ``events_held_back_ms`` says for how long.

        False where the store keeps none. On PostgreSQL a transaction that has written and is left open anywhere on the
        server holds them back; nothing is lost, and nobody else waits.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        if not self.store.listeners.kept:
            return False
        self._held_back((await self.store.read_events(BEYOND, 1)).held_back_ms)
        return self.events_held_back_ms > LATE_MS

    async def last_event_id(self) -> str:
        """Return where the log stands now: ``follow_events(after=…)`` then begins with what comes.

        Raises:
            InvalidInput: the store keeps no events.
        """
        await self._insist_on_events()
        return event_id((await self.store.read_events(rules.beginning(None), 1)).newest)

    async def forget_follower(self, name: str) -> None:
        """Forget how far a named follower has come; nothing happens if there is none."""
        await self._move_cursor(follower_name_of(name), None)

    async def _insist_on_events(self) -> None:
        if not self.store.listeners.kept:
            await self.refresh_settings()
        if not self.store.listeners.kept:
            raise InvalidInput(
                "the store keeps no events; open it with Settings(events='durable'), or: session-tokens events --on"
            )

    async def _cursor_of(self, name: str) -> str | None:
        _, found = await self.store.read([Get("setting", rules.CURSORS + name)])
        id: str | None = found[0].value
        return id

    async def _move_cursor(self, name: str, id: str | None) -> None:
        await self._run(rules.move_cursor, name, id)


def follower_name_of(name: object) -> str:
    """Return the name of a follower.

    Raises:
        TypeError: it is no ``str``.
        InvalidInput: it is not 1 to 64 letters, digits, ``_``, ``.`` and ``-``.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a follower is a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise InvalidInput("the name of a follower is 1 to 64 letters, digits, '_', '.' and '-'")
    return name


class AsyncFollowedEvents:
    """Events as they come; made by ``follow_events``. One task takes them.

    Leaving it as a context manager, or ``close()``, writes down how far it has come and ends the iteration.
    """

    def __init__(self, tokens: AsyncEventCommands, after: Place | None, name: str | None, owner: str | None) -> None:
        self._tokens = tokens
        self._place = after
        self._name = name
        self._owner = owner
        self._fetched: deque[Event] = deque()
        self._handed = self._taken = self._saved = None if after is None else event_id(after)
        self._begun = self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self._taken = self._handed
        while not self._fetched:
            if self._closed:
                raise StopAsyncIteration
            await self._write_down()
            await self._fetch()
        event = self._fetched.popleft()
        self._handed = event.id
        return event

    async def next_few(self) -> list[Event]:
        """Return the events that are there by now, at most about 100; none after a moment in which none came.

        They count as taken when this is asked again.
        """
        self._taken = self._handed
        if not self._fetched and not self._closed:
            await self._write_down()
            await self._fetch()
        events = list(self._fetched)
        self._fetched.clear()
        if events:
            self._handed = events[-1].id
        return events

    async def _fetch(self) -> None:
        """Read what comes next; where there is nothing, wait a moment."""
        tokens = self._tokens
        await tokens._insist_on_events()
        if not self._begun and self._name is not None:
            self._saved = await tokens._cursor_of(self._name)
            if self._place is None and self._saved is not None:
                self._place = place_of_event(self._saved)
        self._begun = True
        events, last, is_full, _ = await tokens._read_log(self._place, self._owner, 100)
        self._fetched.extend(events)
        if events or is_full or last > (self._place or NOWHERE):
            self._place = last
            if not events:  # all of them concern others
                self._handed = self._taken = event_id(last)
        if not events and not is_full:
            store = tokens.store
            await store.await_events()

    async def _write_down(self) -> None:
        """Remember in the store how far this follower has come."""
        if self._name is not None and self._taken is not None and self._taken != self._saved:
            await self._tokens._move_cursor(self._name, self._taken)
            self._saved = self._taken

    async def close(self) -> None:
        """End the iteration; the event that was handed out last counts as taken. Calling it again does nothing."""
        if not self._closed:
            self._closed, self._taken = True, self._handed
            self._fetched.clear()
            await self._write_down()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # what was handed out last may not be done with
            self._handed = self._taken
        await self.close()
