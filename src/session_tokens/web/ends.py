"""Notifies whoever waits that a session has ended, in this process or another: for WebSockets and other long responses.

Theory of operation. An end in this process, through the same API object, is heard at once (``subscribe``). Where the
store keeps events, ends in other processes are followed. What is not heard is seen by looking: each session that
somebody waits for is read once a second, or every few seconds beside the events, and at its deadline; all that are due
side by side. Where that would be more than ``LOOKS_PER_S`` reads, they are spread over a longer time. A store that
cannot be asked has ended nothing: whoever waits goes on waiting. Two tasks do all of it, while somebody waits.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Self

from .._async.api import AsyncSessionTokens
from .._sync.api import SessionTokens
from ..errors import InvalidInput, StoreError
from ..events import GAP, OWNER_DISABLED, SESSION_DETACHED, SESSION_ENDED, Event
from ..records import Session

log = logging.getLogger("session_tokens.web")

LOOK_S = 1.0
"""How long an end in another process may go unseen where no events are followed."""
LOOK_BESIDE_S = 5.0
"""The same beside events, which may be held back or be missing."""
FOLLOW_AGAIN_S = 5.0
"""How often to ask whether events are kept again, where none are."""
LOOKS_PER_S = 1_000
"""How many sessions are read in a second at the most; of more, each is read less often."""
AT_ONCE = 100
"""How many are read side by side."""
ENDING = frozenset({SESSION_ENDED, SESSION_DETACHED, OWNER_DISABLED})
DETACHED = "detached"
SOONEST_S = 0.001
"""A session is checked this long after its deadline."""

Tell = Callable[[str | None], None]


class Ends:
    """Who waits for the end of which session; of one event loop.

    Args:
        tokens: the API on the store of the sessions.
        others: other APIs on that store in this process, whose ends are heard too.
    """

    def __init__(self, tokens: AsyncSessionTokens, *others: SessionTokens) -> None:
        self.tokens = tokens
        self._others = others
        self.loop = asyncio.get_running_loop()
        self._waiting: dict[str, list[Tell]] = {}
        self._of_owner: dict[str, set[str]] = {}
        self._owner_of: dict[str, str] = {}
        self._due_s: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._is_following = False

    def wait(self, session: Session, tell: Tell) -> Callable[[], None]:
        """Call ``tell(reason)`` once when a session has ended or was detached; the answer calls that off.

        The reason is ``None`` where it was not heard, but seen. A new secret of the session is no end of it.
        """
        self._waiting.setdefault(session.id, []).append(tell)
        self._owner_of[session.id] = session.owner
        self._of_owner.setdefault(session.owner, set()).add(session.id)
        self._look_soon(session.id)  # it may have ended since it was read
        if self._task is None:
            self._unsubscribe = [self.tokens.subscribe(self._hear)]
            self._unsubscribe += [each.subscribe(self._hear) for each in self._others]
            self._task = self.loop.create_task(self._attend())

        def forget() -> None:
            left = [each for each in self._waiting.get(session.id, ()) if each is not tell]
            if left:
                self._waiting[session.id] = left
            else:
                self._drop(session.id)

        return forget

    async def close(self) -> None:
        """Let nobody wait any more; nobody is notified."""
        for id in list(self._waiting):
            self._drop(id)
        if self._task is not None:
            await asyncio.wait([self._task])

    def _drop(self, id: str) -> list[Tell]:
        self._due_s.pop(id, None)
        owner = self._owner_of.pop(id, None)
        if owner is not None:
            self._of_owner[owner].discard(id)
            if not self._of_owner[owner]:
                del self._of_owner[owner]
        told = self._waiting.pop(id, [])
        if not self._waiting:
            self._wake.set()
        return told

    def _tell(self, id: str, reason: str | None) -> None:
        for tell in self._drop(id):
            tell(reason)

    # --- hearing -----------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        """Take in what was committed through this object; on the thread that did it."""
        if event.kind not in ENDING:
            return
        try:
            self.loop.call_soon_threadsafe(self._take_in, event)
        except RuntimeError:  # the loop is closed: nobody waits there any more
            self._stop_hearing()

    async def _follow(self) -> None:
        """Take in what other processes do, where the store keeps events."""
        while True:
            pause_s = LOOK_S
            try:
                async with self.tokens.follow_events(after=await self.tokens.last_event_id()) as follower:
                    self._is_following = True
                    self._look_at_all()  # what ended before it began to follow
                    async for event in follower:
                        self._take_in(event)
            except InvalidInput:  # no events are kept, or no more; they may be again
                pause_s = FOLLOW_AGAIN_S
            except StoreError as error:
                log.warning("events cannot be followed, sessions are read again and again instead: %s", error)
            if self._is_following:
                self._is_following = False
                self._look_at_all()
            await asyncio.sleep(pause_s)

    def _look_at_all(self) -> None:
        for id in list(self._waiting):
            self._look_soon(id)

    def _take_in(self, event: Event) -> None:
        if event.kind == GAP:
            self._look_at_all()
        if event.kind not in ENDING:
            return
        if event.kind != OWNER_DISABLED and event.subject_id in self._waiting:
            self._tell(event.subject_id, DETACHED if event.kind == SESSION_DETACHED else event.reason)
        if event.kind != SESSION_DETACHED:  # one write may have ended all sessions of an owner
            for id in self._of_owner.get(event.owner or "", ()):
                self._look_soon(id)

    def _stop_hearing(self) -> None:
        for stop in self._unsubscribe:
            stop()
        self._unsubscribe = []

    # --- looking -----------------------------------------------------------------------------------------------------

    def _look_soon(self, id: str, in_s: float = 0) -> None:
        due_s = self._due_s[id] = self.loop.time() + in_s
        heapq.heappush(self._queue, (due_s, id))
        self._wake.set()

    async def _attend(self) -> None:
        following = self.loop.create_task(self._follow())
        try:
            while self._waiting:
                due = self._take_due()
                if due:
                    await self._look_at(due)
                    continue
                self._wake.clear()
                left_s = self._queue[0][0] - self.loop.time() if self._queue else LOOK_S
                try:
                    async with asyncio.timeout(max(0, left_s)):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            self._task, self._is_following = None, False
            self._queue.clear()
            self._stop_hearing()
            following.cancel()
            await asyncio.wait([following])

    def _take_due(self) -> list[str]:
        """Return ids whose turn it is, a bounded number of them."""
        due: list[str] = []
        now_s = self.loop.time()
        while self._queue and self._queue[0][0] <= now_s and len(due) < AT_ONCE:
            due_s, id = heapq.heappop(self._queue)
            if self._due_s.get(id) == due_s:  # else it was put off, or nobody waits for it
                due.append(id)
        return due

    async def _look_at(self, ids: list[str]) -> None:
        found = await asyncio.gather(*map(self.tokens.get_session, ids), return_exceptions=True)
        for id, session in zip(ids, found, strict=True):
            if id not in self._waiting:
                continue
            if isinstance(session, BaseException):
                if not isinstance(session, StoreError):
                    log.error("a session that somebody waits for cannot be read: %r", session)
                self._look_soon(id, self._pause_s())
            elif session is None or session.detached_at is not None:
                self._tell(id, None if session is None else DETACHED)
            else:
                left_s = session.time_left()
                self._look_soon(id, self._pause_s() if left_s is None else min(self._pause_s(), left_s + SOONEST_S))

    def _pause_s(self) -> float:
        return max(LOOK_BESIDE_S if self._is_following else LOOK_S, len(self._waiting) / LOOKS_PER_S)


def words_of(reason: str | None) -> str:
    """Return what a WebSocket is closed with, in words."""
    return "the session has ended" if reason is None else f"the session has ended: {reason}"


class Closing:
    """A block (``async with``) that is left when a session ends, and a WebSocket that is closed then.

    Code within the block is cancelled, as by ``asyncio.timeout``, and what follows the block goes on.

    Attributes:
        has_ended: whether the session ended within the block.
        reason: why, where that was heard.
    """

    def __init__(self, ends: Ends | None, session: Session | None, close: Callable[[str], Any] | None) -> None:
        self._ends, self._session, self._close = ends, session, close
        self._task: asyncio.Task[Any] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] | None = None
        self._cancelled = 0
        self.has_ended = False
        self.reason: str | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelled = self._task.cancelling()
        self._context = copy_context()
        if self._ends is not None and self._session is not None:
            self._forget = self._ends.wait(self._session, self._end)
        return self

    def _end(self, reason: str | None) -> None:
        assert self._task is not None
        self.has_ended, self.reason = True, reason
        if self._close is not None:
            closing = self._send_close(self._close)  # in the context of the block: frameworks find a WebSocket by it
            self._closing = asyncio.get_running_loop().create_task(closing, context=self._context)
        self._task.cancel()

    async def _send_close(self, close: Callable[[str], Any]) -> None:
        try:
            await close(words_of(self.reason))
        except Exception as error:  # the other side was quicker; whatever the reason, the block is left
            log.debug("a WebSocket was closed already: %r", error)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if self._forget is not None:
            self._forget()
        if not self.has_ended or self._task is None:
            return False
        if kind is None:
            try:
                await asyncio.sleep(0)  # the cancellation may still be on its way
            except asyncio.CancelledError:
                kind = asyncio.CancelledError
        is_ours = self._task.uncancel() <= self._cancelled
        if self._closing is not None:
            await asyncio.wait([self._closing])
        if kind is asyncio.CancelledError and error is None and not is_ours:
            raise asyncio.CancelledError
        return is_ours and kind is asyncio.CancelledError
