"""Who is told of events over HTTP: webhooks, how far each has come, what waits, what was given up, and who sends.

All of it is kept in shared settings: ``webhooks`` names them, ``webhooks:state:`` and an id tells how far one has come,
``webhooks:lease`` which process sends. No secret is among them: signing keys are derived (``webhooks.signing``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..errors import Conflict, IdempotencyMismatch, LimitReached, UnknownWebhook
from ..events import (
    WEBHOOK_ADDED,
    WEBHOOK_CHANGED,
    WEBHOOK_REMOVED,
    WEBHOOK_REPLAYED,
    WEBHOOK_ROTATED,
    Event,
)
from ..records.session import as_datetime
from ..settings import UNSET, Unset

HOOKS = "webhooks"
STATE = "webhooks:state:"
LEASE = "webhooks:lease"
HOOKS_MAX = 100
DEAD_MAX = 1_000
"""Events of one webhook that were given up and are kept for a replay; the oldest go first."""


class Hook(NamedTuple):
    """An address that is told of events.

    Attributes:
        id: the public id.
        url: where events are sent.
        kinds: those that are sent; ``None`` for all.
        created_at: when it was made, in milliseconds.
        key_id: of the data key that its signing keys are derived from.
        generation: of its signing key; each rotation makes the next one.
        old_until: until when the key before signs beside it, in milliseconds; 0 for no more.
        is_on: whether events are sent; off after the address answered that it is gone (410).
    """

    id: str
    url: str
    kinds: tuple[str, ...] | None
    created_at: int
    key_id: str
    generation: int = 1
    old_until: int = 0
    is_on: bool = True


class Waiting(NamedTuple):
    """An event that was not taken yet, or that stands behind one of the same subject.

    Attributes:
        event: what is sent.
        attempts: how often that was tried.
        next_at: when it is tried again, in milliseconds.
    """

    event: Event
    attempts: int
    next_at: int


class Dead(NamedTuple):
    """An event that was given up: after how many attempts, at which instant, and what was answered last."""

    event: Event
    attempts: int
    at: int
    why: str


class State(NamedTuple):
    """How far a webhook has come.

    Attributes:
        cursor: the id of the last event that was taken, waits or was given up.
        waiting: in the order of the log.
        dead: in the order in which they were given up.
    """

    cursor: str | None
    waiting: Sequence[Waiting] = ()
    dead: Sequence[Dead] = ()


def hooks_of(text: str | None) -> list[Hook]:
    """Return the webhooks that the setting names."""
    rows = [] if text is None else json.loads(text)
    return [Hook(id, url, None if kinds is None else tuple(kinds), *rest) for id, url, kinds, *rest in rows]


def _text_of_hooks(hooks: Sequence[Hook]) -> str:
    return json.dumps(hooks, ensure_ascii=False, separators=(",", ":"))


def state_of(text: str | None) -> State:
    """Return how far a webhook has come from its setting."""
    if text is None:
        return State(None)
    cursor, waiting, dead = json.loads(text)
    return State(
        cursor,
        [Waiting(Event(*event), *rest) for event, *rest in waiting],
        [Dead(Event(*event), *rest) for event, *rest in dead],
    )


def text_of_state(state: State) -> str:
    """Return how far a webhook has come as its setting; of too many that were given up the oldest are left out."""
    return json.dumps(state._replace(dead=state.dead[-DEAD_MAX:]), ensure_ascii=False, separators=(",", ":"))


def _find(hooks: Sequence[Hook], id: str) -> int:
    for place, hook in enumerate(hooks):
        if hook.id == id:
            return place
    raise UnknownWebhook("no webhook has that id; list the webhooks to see those there are", id=id)


@reads(lambda hook, cursor: [Get("setting", HOOKS)])
def add_hook(tx: Transaction, hook: Hook, cursor: str) -> Hook:
    """Tell a webhook of all that happens from now on; one that is there already is answered as it is.

    Raises:
        IdempotencyMismatch: that one was made for another address or other kinds.
        LimitReached: there are too many.
    """
    hooks = hooks_of(tx.setting(HOOKS))
    there = next((each for each in hooks if each.id == hook.id), None)
    if there is not None:
        if (there.url, there.kinds) != (hook.url, hook.kinds):
            raise IdempotencyMismatch("that idempotency key was used for another request; give each a key of its own")
        return there
    if len(hooks) >= HOOKS_MAX:
        raise LimitReached(f"there are {HOOKS_MAX} webhooks, the most there can be; remove one", cap=HOOKS_MAX)
    made = hook._replace(created_at=tx.now)
    tx.put_setting(HOOKS, _text_of_hooks([*hooks, made]))
    tx.put_setting(STATE + made.id, text_of_state(State(cursor)))
    tx.note((WEBHOOK_ADDED, made.id, None))
    return made


@reads(lambda id: [Get("setting", HOOKS)])
def remove_hook(tx: Transaction, id: str) -> bool:
    """Tell a webhook nothing more, and forget what waits for it; return whether there was one."""
    hooks = hooks_of(tx.setting(HOOKS))
    left = [hook for hook in hooks if hook.id != id]
    if len(left) == len(hooks):
        return False
    tx.put_setting(HOOKS, _text_of_hooks(left))
    tx.put_setting(STATE + id, None)
    tx.note((WEBHOOK_REMOVED, id, None))
    return True


@reads(lambda id, overlap_ms: [Get("setting", HOOKS)])
def rotate_hook(tx: Transaction, id: str, overlap_ms: int) -> str:
    """Sign with a new key, the one before beside it for a while; return the webhook as text, as ``hooks_of`` takes it.

    Without an overlap the new key is the only one from now on, whatever signed beside the one before.

    Raises:
        Conflict: with an overlap: the key before the present one still signs, and would be cut off.
        UnknownWebhook: there is no such webhook.
    """
    hooks = hooks_of(tx.setting(HOOKS))
    place = _find(hooks, id)
    until = hooks[place].old_until
    if overlap_ms and tx.now < until:
        raise Conflict(
            f"the webhook was rotated lately, and its key before signs until {_instant(until)}; rotate after that, or "
            "without an overlap, which ends both keys at once",
            id=id,
            until=until,
        )
    hooks[place] = hooks[place]._replace(
        generation=hooks[place].generation + 1, old_until=tx.now + overlap_ms if overlap_ms else 0
    )
    tx.put_setting(HOOKS, _text_of_hooks(hooks))
    tx.note((WEBHOOK_ROTATED, id, None))
    return _text_of_hooks(hooks[place : place + 1])


def _instant(at_ms: int) -> str:
    return as_datetime(at_ms).isoformat(" ", "seconds").replace("+00:00", " UTC")


@reads(lambda id, url, kinds, is_on: [Get("setting", HOOKS)])
def change_hook(
    tx: Transaction, id: str, url: str | Unset, kinds: tuple[str, ...] | None | Unset, is_on: bool | Unset
) -> str:
    """Send to another address, other kinds of events, or no more; return the webhook as text, as ``hooks_of`` takes it.

    What waits is sent where the webhook then leads.

    Raises:
        UnknownWebhook: there is no such webhook.
    """
    hooks = hooks_of(tx.setting(HOOKS))
    place = _find(hooks, id)
    before = hooks[place]
    after = before if url is UNSET else before._replace(url=url)
    after = after if kinds is UNSET else after._replace(kinds=kinds)
    after = after if is_on is UNSET else after._replace(is_on=is_on)
    changed = [name for name in ("url", "kinds") if getattr(before, name) != getattr(after, name)]
    if before.is_on != after.is_on:
        changed.append("on" if after.is_on else "off")
    if changed:  # what they are is not said: there are addresses that hold a key
        hooks[place] = after
        tx.put_setting(HOOKS, _text_of_hooks(hooks))
        tx.note((WEBHOOK_CHANGED, id, " ".join(changed)))
    return _text_of_hooks([after])


@reads(lambda id, url: [Get("setting", HOOKS)])
def leave_hook(tx: Transaction, id: str, url: str) -> bool:
    """Send nothing more to a webhook whose address said that it is gone; nothing is forgotten.

    Return whether it still leads there: what it leads to since then has said nothing yet.
    """
    leads_there = any(hook.id == id and hook.url == url for hook in hooks_of(tx.setting(HOOKS)))
    if leads_there:
        _switch(tx, id, False, "gone")
    return leads_there


def _switch(tx: Transaction, id: str, is_on: bool, why: str) -> None:
    hooks = hooks_of(tx.setting(HOOKS))
    place = _find(hooks, id)
    if hooks[place].is_on != is_on:
        hooks[place] = hooks[place]._replace(is_on=is_on)
        tx.put_setting(HOOKS, _text_of_hooks(hooks))
        tx.note((WEBHOOK_CHANGED, id, why))


@reads(lambda id, after: [Get("setting", HOOKS), Get("setting", STATE + id)])
def replay_hook(tx: Transaction, id: str, after: str | None) -> int:
    """Send once more: all that was given up, or everything after an event; return how many of it were given up.

    What stands at or before that event stays as it is: it goes on waiting, or is given up. A webhook whose address was
    gone is switched on.

    Raises:
        UnknownWebhook: there is no such webhook.
    """
    _switch(tx, id, True, "on")
    state = state_of(tx.setting(STATE + id))
    tx.note((WEBHOOK_REPLAYED, id, after))
    if after is not None:  # what waits or was given up after it comes again with the rest
        waiting = [each for each in state.waiting if each.event.id <= after]
        dead = [each for each in state.dead if each.event.id <= after]
        tx.put_setting(STATE + id, text_of_state(State(after, waiting, dead)))
        return len(state.dead) - len(dead)
    again = [*state.waiting, *(Waiting(dead.event, 0, 0) for dead in state.dead)]
    again.sort(key=lambda each: each.event.id)
    tx.put_setting(STATE + id, text_of_state(State(state.cursor, again)))
    return len(state.dead)


@reads(lambda who, for_ms: [Get("setting", LEASE)])
def take_lease(tx: Transaction, who: str, for_ms: int) -> bool:
    """Be the one process that sends, for so long; return whether that is so."""
    holder, _, until = (tx.setting(LEASE) or ":0").rpartition(":")
    left_ms = int(until) - tx.now
    if holder != who and left_ms > 0:
        return False
    if holder != who or left_ms < for_ms // 2:
        tx.put_setting(LEASE, f"{who}:{tx.now + for_ms}")
    return True


@reads(lambda who: [Get("setting", LEASE)])
def give_lease_back(tx: Transaction, who: str) -> None:
    """Let another process send at once."""
    if (tx.setting(LEASE) or "").rpartition(":")[0] == who:
        tx.put_setting(LEASE, None)


@reads(lambda who, id, before, after: [Get("setting", LEASE), Get("setting", STATE + id)])
def save_state(tx: Transaction, who: str, id: str, before: str | None, after: str) -> bool:
    """Write down how far a webhook has come; not if another process sends, or it was replayed or removed meanwhile."""
    if (tx.setting(LEASE) or "").rpartition(":")[0] != who or tx.setting(STATE + id) != before or before is None:
        return False
    tx.put_setting(STATE + id, after)
    return True
