"""The addresses of webhooks."""

from __future__ import annotations

from ..crypto.secret_form import is_id
from ..rules.webhooks import Hook
from ..webhooks import hooks
from . import webhook_shapes as shapes
from .calls import Call, Operation, Snapshot
from .problems import not_found
from .shapes import given

WEBHOOKS = "/v1/webhooks"
ONE = WEBHOOKS + "/{id}"
ACT = "manage_webhooks"


def _id(call: Call) -> str:
    if not is_id(hooks.ID, call.subject):
        raise not_found()
    return call.subject


def _issued(hook: Hook, secret: str) -> Snapshot:
    return Snapshot(shapes.IssuedWebhook(shapes.WebhookShape(**hooks.webhook_json(hook)), secret))


async def add_webhook(call: Call) -> Snapshot:
    """Tell an address of all that happens from now on; what it is told is signed with the secret in the answer."""
    return _issued(
        *await hooks.add_webhook(
            call.tokens, call.body.url, kinds=call.body.kinds, idempotency_key=call.idempotency_key
        )
    )


async def list_webhooks(call: Call) -> Snapshot:
    """List all webhooks, oldest first."""
    listed = await hooks.list_webhooks(call.tokens)
    return Snapshot(shapes.WebhookList([shapes.WebhookShape(**hooks.webhook_json(hook)) for hook in listed]))


async def change_webhook(call: Call) -> Snapshot:
    """Send to another address, other kinds of events, or no more; its key stays."""
    changed = await hooks.change_webhook(
        call.tokens, _id(call), **given(call.body), idempotency_key=call.idempotency_key
    )
    return Snapshot(shapes.OneWebhook(shapes.WebhookShape(**hooks.webhook_json(changed))))


async def remove_webhook(call: Call) -> Snapshot:
    """Tell a webhook nothing more. Twice is the same."""
    is_gone = await hooks.remove_webhook(call.tokens, _id(call), idempotency_key=call.idempotency_key)
    return Snapshot(None, changed=is_gone)


async def rotate_webhook(call: Call) -> Snapshot:
    """Sign with a new key; the one before signs beside it for the overlap."""
    return _issued(
        *await hooks.rotate_webhook(call.tokens, _id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def list_dead_events(call: Call) -> Snapshot:
    """List what a webhook was not told, for its address took none of the attempts."""
    state = await hooks.state_of_webhook(call.tokens, _id(call))
    dead = [shapes.DeadEvent(**event) for event in hooks.dead_json(state)]
    return Snapshot(shapes.DeadEvents(dead, len(state.waiting)))


async def replay_webhook(call: Call) -> Snapshot:
    """Send again what was given up, or everything after an event; switches a webhook on that was gone."""
    count = await hooks.replay_webhook(
        call.tokens, _id(call), after=call.body.after, idempotency_key=call.idempotency_key
    )
    return Snapshot(shapes.Replayed(count))


WEBHOOK_OPERATIONS = (
    Operation("GET", WEBHOOKS, ACT, list_webhooks, shapes.WebhookList),
    Operation("POST", WEBHOOKS, ACT, add_webhook, shapes.IssuedWebhook, 201, shapes.AddWebhook),
    Operation("PATCH", ONE, ACT, change_webhook, shapes.OneWebhook, body=shapes.ChangeWebhook),
    Operation("DELETE", ONE, ACT, remove_webhook, None, 204),
    Operation("POST", ONE + "/rotate", ACT, rotate_webhook, shapes.IssuedWebhook, body=shapes.RotateWebhook),
    Operation("GET", ONE + "/dead", ACT, list_dead_events, shapes.DeadEvents),
    Operation("POST", ONE + "/replay", ACT, replay_webhook, shapes.Replayed, body=shapes.ReplayWebhook),
)
