"""Sends the events of a store to its webhooks: one process at a time, each webhook for itself, at least once.

Theory of operation. A process that holds the lease works each webhook off in a task of its own. One more task watches
the log and wakes those that want what came; what is done to webhooks is an event too. A round sends what is due again,
then goes on in the log. An event that is not taken waits, with all later ones of the same session or token
behind it; those of others go past. It is tried again ever later, and after the last time given up: kept for a replay.
At the end of a round the state is written down, if it is still what it was at its beginning; else (another process
sends, or somebody asked for a replay) the round counts for nothing and what it sent may be sent once more. How far a
webhook has read past what it does not want is written down once a second at the most.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from .._async.api import AsyncSessionTokens
from ..contract.event_log import BEYOND
from ..contract.queries import Get
from ..errors import SessionTokensError
from ..events import WEBHOOK_KINDS, Event, event_id, place_of_event
from ..rules import webhooks as rules
from ..rules.webhooks import Dead, Hook, State, Waiting
from .hooks import list_webhooks, wants
from .sending import AT_ONCE, Outcome, Sender

log = logging.getLogger("session_tokens.webhooks")

LEASE_S = 15.0
LOOK_S = 1.0
"""How often the lease is renewed and the list of webhooks read, in seconds."""
IDLE_S = 0.1
"""How often the log is read for what is new, in seconds."""
UNASKED_S = 5.0
"""How long a webhook rests at the most where nothing comes that it wants, in seconds."""
SAVED_S = 1.0
"""How often is written down how far it has read past what it does not want, in seconds."""
BACKOFF_S: tuple[float, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long to wait after each attempt that failed; after one more the event is given up."""
JITTER = 0.2
TOLD_S = 600.0
"""How often is told at the most that a webhook does not take what it is sent."""
REST_S_MAX = 10.0
"""How long a webhook rests at the most where nothing at all was taken."""
WAITING_MAX = 500
"""Events of one webhook that may wait; of more, the log is not read on."""
BATCH = 50
PASSED_MAX = 40
"""Batches in which there is nothing that a webhook wants, and which one round goes past."""


class _Tried(NamedTuple):
    """What came of the events of one subject: those that wait now, what was given up, and how many were taken.

    Attributes:
        refused: why the last one was not taken; ``None`` where all were.
    """

    waiting: list[Waiting]
    dead: list[Dead]
    taken: int
    is_gone: bool
    refused: str | None = None


@dataclass(slots=True)
class _Known:
    """What is known of a webhook from its last round, so that a round without anything new decodes nothing.

    Attributes:
        text: its state as it stands in the store.
        state: what that means.
        cursor: how far it has read; ahead of the state where it wanted nothing of that.
        saved_s: when its state was written last, on this process's steady clock.
        has_more: whether the log was not read to its end.
    """

    text: str | None
    state: State
    cursor: str | None
    saved_s: float
    has_more: bool = False

    def next_at(self) -> int | None:
        """Return when the next of what waits is due, in milliseconds; ``None`` where nothing waits."""
        first: dict[str, int] = {}
        for each in self.state.waiting:
            first.setdefault(each.event.subject_id, each.next_at)
        return min(first.values(), default=None)


class Deliverer:
    """Sends events to webhooks until it is stopped.

    Args:
        tokens: on a store that keeps events.
        sender: sends one.
    """

    def __init__(self, tokens: AsyncSessionTokens, sender: Sender) -> None:
        self._tokens = tokens
        self._sender = sender
        self._who = os.urandom(8).hex()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._hooks: dict[str, Hook] = {}
        self._known: dict[str, _Known] = {}
        self._woken: dict[str, asyncio.Event] = {}
        self._refused: dict[str, tuple[bool, float]] = {}

    async def run(self) -> None:
        """Send, while this process is the one that does; a store that is away is asked again."""
        is_told = False
        try:
            while True:
                try:
                    hooks = await list_webhooks(self._tokens) if self._tokens.store.listeners.kept else []
                    is_ours = bool(hooks) and await self._tokens.store.run(
                        rules.take_lease, self._who, int(LEASE_S * 1000)
                    )
                    await self._work_on([hook for hook in hooks if hook.is_on] if is_ours else [])
                    is_told = False
                except SessionTokensError as error:
                    if not is_told:
                        log.warning("webhooks are not sent for now, and tried again: %s", error)
                    is_told = True
                except Exception:
                    if not is_told:
                        log.exception("webhooks are not sent for now, and tried again")
                    is_told = True
                await asyncio.sleep(LOOK_S)
        finally:
            await self._work_on([])
            with suppress(SessionTokensError):
                await self._tokens.store.run(rules.give_lease_back, self._who)
            await self._sender.close()

    async def _work_on(self, hooks: Sequence[Hook]) -> None:
        """Have a task for each of these webhooks and no others, and one that watches the log where there are any."""
        changed = [hook.id for hook in hooks if self._hooks.get(hook.id, hook) != hook]
        self._hooks = {hook.id: hook for hook in hooks}
        ended = {id: self._tasks.pop(id) for id in list(self._tasks) if id not in self._hooks}
        if self._watching is not None and not hooks:
            ended[""], self._watching = self._watching, None
        for task in ended.values():
            task.cancel()
        await asyncio.gather(*ended.values(), return_exceptions=True)
        for id in ended:
            await self._sender.let_go(id)
            self._known.pop(id, None)
            self._woken.pop(id, None)
            self._refused.pop(id, None)
        for id in self._hooks:
            if id not in self._tasks or self._tasks[id].done():
                self._woken[id] = asyncio.Event()
                self._tasks[id] = asyncio.create_task(self._serve(id), name=f"session-tokens webhook {id}")
        for id in changed:
            self._refused.pop(id, None)
            self._woken[id].set()
        if hooks and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch(), name="session-tokens webhooks watch")

    async def _watch(self) -> None:
        """Wake webhooks that want what comes; all of them where that is not known."""
        place = None
        while True:
            try:
                if place is None:
                    place = (await self._tokens.store.read_events(BEYOND, 1)).newest
                    self._wake(None)
                events, last, is_full, _ = await self._tokens._read_log(place, None, BATCH)
                if is_full:  # so much comes that there is something for everybody
                    place = None
                elif events:
                    place = last
                    self._wake({event.kind for event in events})
            except SessionTokensError:
                place = None  # rounds tell of it
                await asyncio.sleep(LOOK_S)
            await asyncio.sleep(IDLE_S)

    def _wake(self, kinds: set[str] | None) -> None:
        """Wake who wants events of these kinds; everybody for what is done to webhooks, or where nothing is known."""
        is_for_all = kinds is None or not kinds.isdisjoint(WEBHOOK_KINDS)
        for id, hook in self._hooks.items():
            if is_for_all or any(wants(hook, kind) for kind in kinds or ()):
                self._woken[id].set()

    async def _serve(self, id: str) -> None:
        """Work one webhook off, round by round."""
        fruitless = 0
        woken = self._woken[id]
        while True:
            woken.clear()
            try:
                tried, taken = await self.round(id)
                fruitless = 0 if taken or not tried else fruitless + 1
                if not tried and not self._has_more(id):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._pause_s(id)):
                            await woken.wait()
                wait_s = min(REST_S_MAX, IDLE_S * 2**fruitless) if fruitless else 0.0
            except SessionTokensError as error:
                log.info("the webhook %s waits for the store: %s", id, error)
                wait_s = LOOK_S
            except Exception:
                log.exception("nothing is sent to the webhook %s for now; it is tried again", id)
                wait_s = REST_S_MAX
            await asyncio.sleep(wait_s)

    def _has_more(self, id: str) -> bool:
        known = self._known.get(id)
        return known is not None and known.has_more

    def _pause_s(self, id: str) -> float:
        """Return how long a webhook that nobody wakes may rest: until the next of what waits is due."""
        known = self._known.get(id)
        next_at = None if known is None else known.next_at()
        if next_at is None:
            return UNASKED_S
        return max(0.001, min(UNASKED_S, (next_at - self._tokens.store.clock.now()) / 1000))

    async def round(self, id: str) -> tuple[int, int]:
        """Send what is due and what is new; return how many events were tried, and how many of them taken."""
        store = self._tokens.store
        now, (hooks, found) = await store.read([Get("setting", rules.HOOKS), Get("setting", rules.STATE + id)])
        hook = next((hook for hook in rules.hooks_of(hooks.value) if hook.id == id), None)
        if hook is None or not hook.is_on:
            return 0, 0
        known = self._known_of(id, found.value)
        state = known.state
        chains = _chains_of(state.waiting)
        due = {subject: chain for subject, chain in chains.items() if chain[0].next_at <= now}
        before = known.cursor
        wanted = await self._next_for(hook, known, WAITING_MAX - len(state.waiting))
        for event in wanted:
            into = chains if event.subject_id in chains and event.subject_id not in due else due
            into.setdefault(event.subject_id, []).append(Waiting(event, 0, 0))
        cursor = known.cursor
        is_late = cursor != state.cursor and time.monotonic() >= known.saved_s + SAVED_S
        if not (due or wanted or is_late):
            return 0, 0
        known.cursor = before  # it is further once that is written down
        tried = await self._try_all(hook, due)
        self._tell(id, tried)
        still = [each for subject, chain in chains.items() if subject not in due for each in chain]
        waiting = sorted([*still, *(each for one in tried for each in one.waiting)], key=lambda each: each.event.id)
        dead = [*state.dead, *(each for one in tried for each in one.dead)]
        after = State(cursor, waiting, dead)
        if not await self._save(id, known, after):
            return 0, 0
        if any(one.is_gone for one in tried) and await self._tokens._run(rules.leave_hook, id, hook.url):
            log.warning("the webhook %s is switched off: its address says that it is gone; replay switches it on", id)
        return len(tried), sum(one.taken for one in tried)

    def _tell(self, id: str, tried: Sequence[_Tried]) -> None:
        """Tell in the log that a webhook does not take what it is sent, and that it does again; not too often."""
        is_told, told_s = self._refused.get(id, (False, -TOLD_S))
        refused = next((one.refused for one in tried if one.refused is not None), None)
        now_s = time.monotonic()
        if refused is None and is_told and tried:
            log.info("the webhook %s takes again what it is sent", id)
            self._refused[id] = False, told_s
        elif refused is not None and not is_told and now_s >= told_s + TOLD_S:
            log.warning("the webhook %s does not take what it is sent (%s); it is tried again", id, refused)
            self._refused[id] = True, now_s

    def _known_of(self, id: str, text: str | None) -> _Known:
        """Return what is known of a webhook, decoding its state only where it is another one than before."""
        known = self._known.get(id)
        if known is None or known.text != text:
            state = rules.state_of(text)
            known = self._known[id] = _Known(text, state, state.cursor, time.monotonic())
        return known

    async def _next_for(self, hook: Hook, known: _Known, room: int) -> list[Event]:
        """Return the next events that a webhook wants, and read on past what it does not."""
        known.has_more = False
        if room <= 0:
            return []
        for _ in range(PASSED_MAX):
            place = None if known.cursor is None else place_of_event(known.cursor)
            events, last, known.has_more, _ = await self._tokens._read_log(place, None, min(BATCH, room))
            if events or known.has_more:
                known.cursor = event_id(last)
            wanted = [event for event in events if wants(hook, event.kind)]
            if wanted or not known.has_more:
                return wanted
        return []

    async def _save(self, id: str, known: _Known, state: State) -> bool:
        """Write down how far a webhook has come; return whether that is so: nobody else had changed it."""
        text = rules.text_of_state(state)
        if known.text is None or not await self._tokens.store.run(rules.save_state, self._who, id, known.text, text):
            known.has_more = False
            return False
        kept = state._replace(dead=state.dead[-rules.DEAD_MAX :])
        self._known[id] = _Known(text, kept, state.cursor, time.monotonic(), known.has_more)
        return True

    async def _try_all(self, hook: Hook, due: dict[str, list[Waiting]]) -> Sequence[_Tried]:
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(chain: list[Waiting]) -> _Tried:
            async with at_once:
                return await self._try(hook, chain)

        return await asyncio.gather(*map(one, due.values()))

    async def _try(self, hook: Hook, chain: list[Waiting]) -> _Tried:
        """Send the events of one subject in their order, up to the first that is not taken."""
        dead: list[Dead] = []
        for place, (event, attempts, _) in enumerate(chain):
            outcome = await self._sender.send(self._tokens.store.keyring, hook, event, self._tokens.store.clock.now())
            if outcome.is_taken:
                continue
            rest = chain[place + 1 :]
            if attempts < len(BACKOFF_S):
                return _Tried([self._again(event, attempts), *rest], dead, place, outcome.is_gone, outcome.said)
            dead.append(self._given_up(hook, event, attempts + 1, outcome))
            return _Tried(rest, dead, place, outcome.is_gone, outcome.said)
        return _Tried([], dead, len(chain), False)

    def _again(self, event: Event, attempts: int) -> Waiting:
        wait_s = BACKOFF_S[attempts] * random.uniform(1 - JITTER, 1 + JITTER)
        return Waiting(event, attempts + 1, self._tokens.store.clock.now() + int(wait_s * 1000))

    def _given_up(self, hook: Hook, event: Event, attempts: int, outcome: Outcome) -> Dead:
        log.warning(
            "the webhook %s did not take the event %s in %d attempts (%s); session-tokens webhooks replay %s sends it "
            "again", hook.id, event.id, attempts, outcome.said, hook.id,
        )  # fmt: skip
        return Dead(event, attempts, self._tokens.store.clock.now(), outcome.said)


def _chains_of(waiting: Sequence[Waiting]) -> dict[str, list[Waiting]]:
    """Return what waits, subject by subject, in the order of the log."""
    chains: dict[str, list[Waiting]] = {}
    for each in waiting:
        chains.setdefault(each.event.subject_id, []).append(each)
    return chains
