"""Managing webhooks: who is told of events, under which key, what waits and what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import validation as inputs
from .._async.api import AsyncSessionTokens
from ..contract.queries import Get
from ..crypto.minting import new_id
from ..crypto.secret_form import PARTITION
from ..errors import InvalidInput, UnknownWebhook
from ..events import GAP, KINDS, NOWHERE, event_id, place_of_event
from ..rules import webhooks as rules
from ..rules.webhooks import Hook, State
from ..settings import UNSET, Duration, Unset, duration_ms
from .destinations import url_of
from .signing import secret_of

ID = "whk_"
OVERLAP_S = 86_400
"""How long a rotated key goes on signing beside the new one: a day."""


async def add_webhook(
    tokens: AsyncSessionTokens, url: str, *, kinds: Sequence[str] | None = None, idempotency_key: str | None = None
) -> tuple[Hook, str]:
    """Tell an address of what happens from now on; return the webhook and its signing key.

    Args:
        tokens: on a store that keeps events.
        url: where; over https, unless the process that sends allows that host.
        kinds: of events, all if not given; a ``gap`` is always told.
        idempotency_key: the same again makes no second one.

    Raises:
        InvalidInput: the store keeps no events, or a URL or kind that can never be right.
        LimitReached: there are a hundred.
    """
    told = _kinds_of(kinds)
    keyring = tokens.store.keyring
    id = new_id(ID) if idempotency_key is None else _id_of(inputs.idempotency_key_of(idempotency_key))
    hook = Hook(id, url_of(url), told, 0, next(iter(keyring.data_keys)))
    await tokens.events(limit=1)
    newest = (await tokens.store.read_events(NOWHERE, 1)).newest
    made = await tokens._run(rules.add_hook, hook, event_id(newest))
    return made, secret_of(keyring, made, 1)


def _kinds_of(kinds: Sequence[str] | None) -> tuple[str, ...] | None:
    told = None if kinds is None else tuple(dict.fromkeys(kinds))
    if told is not None and (not told or any(kind not in KINDS for kind in told)):
        raise InvalidInput(f"kinds are one or more of {', '.join(KINDS)}")
    return told


def _id_of(idempotency_key: str) -> str:
    """Return the id of the webhook that is made under a key."""
    return f"{ID}{PARTITION}0{inputs.digest_of('webhook', idempotency_key)[:21]}"


async def list_webhooks(tokens: AsyncSessionTokens) -> list[Hook]:
    """Return all webhooks, oldest first."""
    _, found = await tokens.store.read([Get("setting", rules.HOOKS)])
    return rules.hooks_of(found[0].value)


async def remove_webhook(tokens: AsyncSessionTokens, id: str, *, idempotency_key: str | None = None) -> bool:
    """Tell a webhook nothing more; return whether there was one. Twice is the same."""
    return await tokens._do("remove_webhook", idempotency_key, (id,), rules.remove_hook, id)


async def rotate_webhook(
    tokens: AsyncSessionTokens, id: str, *, overlap: Duration | None = OVERLAP_S, idempotency_key: str | None = None
) -> tuple[Hook, str]:
    """Sign with a new key, and for ``overlap`` with the one before as well; return the webhook and the new key.

    Args:
        tokens: on the store of the webhook.
        id: of the webhook.
        overlap: seconds or ``timedelta``; ``None`` ends the key before at once, as where it was stolen.
        idempotency_key: the same again answers the same key.

    Raises:
        Conflict: the key before the present one still signs; ``details["until"]`` says until when (milliseconds).
        UnknownWebhook: there is no such webhook.
    """
    overlap_ms = duration_ms("overlap", overlap) or 0
    rotated = await tokens._do("rotate_webhook", idempotency_key, (id, overlap_ms), rules.rotate_hook, id, overlap_ms)
    (hook,) = rules.hooks_of(rotated)
    return hook, secret_of(tokens.store.keyring, hook)


async def replay_webhook(
    tokens: AsyncSessionTokens, id: str, *, after: str | None = None, idempotency_key: str | None = None
) -> int:
    """Send once more what was given up, or everything after an event; return how many of it had been given up.

    A webhook whose address was gone is switched on again.

    Raises:
        InvalidInput: ``after`` is not the id of an event.
        UnknownWebhook: there is no such webhook.
    """
    if after is not None:
        place_of_event(after)
    return await tokens._do("replay_webhook", idempotency_key, (id, after), rules.replay_hook, id, after)


async def change_webhook(
    tokens: AsyncSessionTokens,
    id: str,
    *,
    url: str | Unset = UNSET,
    kinds: Sequence[str] | None | Unset = UNSET,
    is_on: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Hook:
    """Change a webhook; what is not given stays. Its key stays too, and what waits is sent where it then leads.

    Args:
        tokens: on the store of the webhook.
        id: of the webhook.
        url: where events are sent from now on.
        kinds: of events that are sent from now on; ``None`` for all.
        is_on: whether they are sent at all; while it is off, they wait in the log.
        idempotency_key: the same again answers what it was then.

    Raises:
        InvalidInput: a URL or kind that can never be right.
        UnknownWebhook: there is no such webhook.
    """
    to = UNSET if url is UNSET else url_of(url)
    told = UNSET if kinds is UNSET else _kinds_of(kinds)
    switch = UNSET if is_on is UNSET else inputs.flag_of("is_on", is_on)
    changed = await tokens._do(
        "change_webhook", idempotency_key, (id, to, told, switch), rules.change_hook, id, to, told, switch
    )
    (hook,) = rules.hooks_of(changed)
    return hook


async def state_of_webhook(tokens: AsyncSessionTokens, id: str) -> State:
    """Return how far a webhook has come, what waits and what was given up.

    Raises:
        UnknownWebhook: there is no such webhook.
    """
    _, (hooks, state) = await tokens.store.read([Get("setting", rules.HOOKS), Get("setting", rules.STATE + id)])
    if all(hook.id != id for hook in rules.hooks_of(hooks.value)):
        raise UnknownWebhook("no webhook has that id; list the webhooks to see those there are", id=id)
    return rules.state_of(state.value)


def wants(hook: Hook, kind: str) -> bool:
    """Whether a webhook is told of events of a kind."""
    return hook.kinds is None or kind in hook.kinds or kind == GAP


def webhook_json(hook: Hook) -> dict[str, Any]:
    """Return a webhook as JSON; no key."""
    return {
        "id": hook.id,
        "url": hook.url,
        "kinds": None if hook.kinds is None else list(hook.kinds),
        "created_at": hook.created_at,
        "is_on": hook.is_on,
    }


def dead_json(state: State) -> list[dict[str, Any]]:
    """Return what was given up as JSON: the event, and how that went."""
    return [{**dead.event.to_dict(), "attempts": dead.attempts, "at": dead.at, "why": dead.why} for dead in state.dead]
