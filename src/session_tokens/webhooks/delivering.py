"""Sends the events of a store to its webhooks: one process at a time, each webhook for itself, at least once.

Theory of operation. A process that holds the lease works each webhook off in a task of its own. A round sends what is
due again, then goes on in the log. An event that is not taken waits, with all later ones of the same session or token
behind it; those of others go past. It is tried again ever later, and after the last time given up: kept for a replay.
At the end of a round the state is written down, if it is still what it was at its beginning; else (another process
sends, or somebody asked for a replay) the round counts for nothing and what it sent may be sent once more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get
from ..errors import SessionTokensError
from ..events import Event, event_id, place_of_event
from ..rules import webhooks as rules
from ..rules.webhooks import Dead, Hook, State, Waiting
from .hooks import list_webhooks, wants
from .sending import AT_ONCE, Outcome, Sender

log = logging.getLogger("session_tokens.webhooks")

LEASE_S = 15.0
LOOK_S = 1.0
"""How often the lease is renewed and the list of webhooks read, in seconds."""
IDLE_S = 0.1
"""How long a webhook rests when there is nothing to send, in seconds."""
BACKOFF_S: tuple[float, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long to wait after each attempt that failed; after one more the event is given up."""
JITTER = 0.2
REST_S_MAX = 10.0
"""How long a webhook rests at the most where nothing at all was taken."""
WAITING_MAX = 500
"""Events of one webhook that may wait; of more, the log is not read on."""
BATCH = 50


class _Tried(NamedTuple):
    """What came of the events of one subject: those that wait now, what was given up, and how many were taken."""

    waiting: list[Waiting]
    dead: list[Dead]
    taken: int
    is_gone: bool


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
                    await self._work_on({hook.id for hook in hooks if hook.is_on} if is_ours else set())
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
            await self._work_on(set())
            with suppress(SessionTokensError):
                await self._tokens.store.run(rules.give_lease_back, self._who)
            await self._sender.close()

    async def _work_on(self, ids: set[str]) -> None:
        """Have a task for each of these webhooks and for no others."""
        ended = {id: self._tasks.pop(id) for id in list(self._tasks) if id not in ids}
        for task in ended.values():
            task.cancel()
        await asyncio.gather(*ended.values(), return_exceptions=True)
        for id in ended:
            await self._sender.let_go(id)
        for id in ids:
            if id not in self._tasks or self._tasks[id].done():
                self._tasks[id] = asyncio.create_task(self._serve(id), name=f"session-tokens webhook {id}")

    async def _serve(self, id: str) -> None:
        """Work one webhook off, round by round."""
        fruitless = 0
        while True:
            wait_s = IDLE_S
            try:
                tried, taken = await self.round(id)
                fruitless = 0 if taken or not tried else fruitless + 1
                wait_s = 0 if taken else IDLE_S
                if fruitless:
                    wait_s = min(REST_S_MAX, IDLE_S * 2**fruitless)
            except SessionTokensError as error:
                log.info("the webhook %s waits for the store: %s", id, error)
                wait_s = LOOK_S
            except Exception:
                log.exception("nothing is sent to the webhook %s for now; it is tried again", id)
                wait_s = REST_S_MAX
            await asyncio.sleep(wait_s)

    async def round(self, id: str) -> tuple[int, int]:
        """Send what is due and what is new; return how many events were tried, and how many of them taken."""
        store = self._tokens.store
        now, (hooks, found) = await store.read([Get("setting", rules.HOOKS), Get("setting", rules.STATE + id)])
        hook = next((hook for hook in rules.hooks_of(hooks.value) if hook.id == id), None)
        if hook is None or not hook.is_on:
            return 0, 0
        state = rules.state_of(found.value)
        chains = _chains_of(state.waiting)
        due = {subject: chain for subject, chain in chains.items() if chain[0].next_at <= now}
        cursor, room = state.cursor, WAITING_MAX - len(state.waiting)
        if room > 0:
            place = None if cursor is None else place_of_event(cursor)
            events, last, is_full, _ = await self._tokens._read_log(place, None, min(BATCH, room))
            if events or is_full:
                cursor = event_id(last)
            for event in events:
                if wants(hook, event.kind):
                    into = chains if event.subject_id in chains and event.subject_id not in due else due
                    into.setdefault(event.subject_id, []).append(Waiting(event, 0, 0))
        if not due and cursor == state.cursor:
            return 0, 0
        tried = await self._try_all(hook, due)
        still = [each for subject, chain in chains.items() if subject not in due for each in chain]
        waiting = sorted([*still, *(each for one in tried for each in one.waiting)], key=lambda each: each.event.id)
        dead = [*state.dead, *(each for one in tried for each in one.dead)]
        after = rules.text_of_state(State(cursor, waiting, dead))
        if found.value is None or not await store.run(rules.save_state, self._who, id, found.value, after):
            return 0, 0
        if any(one.is_gone for one in tried):
            log.warning("the webhook %s is switched off: its address says that it is gone; replay switches it on", id)
            await self._tokens._run(rules.leave_hook, id)
        return len(tried), sum(one.taken for one in tried)

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
                return _Tried([self._again(event, attempts), *rest], dead, place, outcome.is_gone)
            dead.append(self._given_up(hook, event, attempts + 1, outcome))
            return _Tried(rest, dead, place, outcome.is_gone)
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
