"""What is done to webhooks is an event and an entry of the audit log, and no key is cut off unnoticed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from session_tokens import AsyncSessionTokens, Conflict, Settings, UnknownWebhook
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import latest, read, verifying
from session_tokens.clock import ManualClock
from session_tokens.rules.webhooks import Hook
from session_tokens.webhooks.hooks import (
    add_webhook,
    change_webhook,
    list_webhooks,
    remove_webhook,
    replay_webhook,
    rotate_webhook,
    state_of_webhook,
)
from session_tokens.webhooks.signing import secret_of, signed_headers
from tests.helpers.service_world import World

DURABLE = Settings(events="durable")
HERE, THERE = "https://app.example/hooks", "https://app.example/other?key=hidden"
UNKNOWN = "whk_00aaaaaaaaaaaaaaaaaaaaaa"
DAY_S = 86_400


@pytest.fixture
async def tokens() -> AsyncIterator[AsyncSessionTokens]:
    opening = AsyncSessionTokens.open("memory://", settings=DURABLE, clock=ManualClock(), sweep=False, audit=Audit())
    async with await opening as made:
        yield made


async def acts_of(tokens: AsyncSessionTokens) -> list[tuple[str, str | None]]:
    """Return what the events and the audit log both say, each act and its reason."""
    events = [(event.kind, event.reason) for event in await tokens.events() if event.subject_id.startswith("whk_")]
    entries = await read(tokens.store, latest(100))
    assert [(entry["kind"], entry["reason"]) for entry in reversed(entries)] == events
    assert (await read(tokens.store, verifying(tokens.store.keyring, [], lambda number: None))).findings == []
    assert {entry["owner"] for entry in entries} <= {None}
    assert "hidden" not in json.dumps(entries), "an address may hold a key of its own"
    return events


async def test_each_act_on_a_webhook_is_an_event_and_an_entry(tokens: AsyncSessionTokens) -> None:
    hook, _ = await add_webhook(tokens, HERE)
    await change_webhook(tokens, hook.id, url=THERE, kinds=["session_ended"])
    await change_webhook(tokens, hook.id, url=THERE)
    await change_webhook(tokens, hook.id, is_on=False)
    await change_webhook(tokens, hook.id, is_on=True, kinds=None)
    await rotate_webhook(tokens, hook.id)
    await replay_webhook(tokens, hook.id)
    await remove_webhook(tokens, hook.id)
    await remove_webhook(tokens, hook.id)

    assert await acts_of(tokens) == [
        ("webhook_added", None),
        ("webhook_changed", "url kinds"),
        ("webhook_changed", "off"),
        ("webhook_changed", "kinds on"),
        ("webhook_rotated", None),
        ("webhook_replayed", None),
        ("webhook_removed", None),
    ]


async def test_what_is_changed_holds_and_the_rest_stays(tokens: AsyncSessionTokens) -> None:
    hook, secret = await add_webhook(tokens, HERE, kinds=["session_opened"])
    changed = await change_webhook(tokens, hook.id, url=THERE)

    assert changed == hook._replace(url=THERE)
    assert await list_webhooks(tokens) == [changed]
    assert secret_of(tokens.store.keyring, changed) == secret
    with pytest.raises(ValueError, match="kinds are"):
        await change_webhook(tokens, hook.id, kinds=["session_open"])
    with pytest.raises(ValueError, match="https"):
        await change_webhook(tokens, hook.id, url="ftp://app.example")


@pytest.mark.parametrize(
    "ask",
    [
        lambda tokens: change_webhook(tokens, UNKNOWN, is_on=True),
        lambda tokens: rotate_webhook(tokens, UNKNOWN),
        lambda tokens: replay_webhook(tokens, UNKNOWN),
        lambda tokens: state_of_webhook(tokens, UNKNOWN),
    ],
    ids=("change", "rotate", "replay", "state"),
)
async def test_what_is_asked_of_a_webhook_that_is_not_there(tokens: AsyncSessionTokens, ask: Any) -> None:
    with pytest.raises(UnknownWebhook, match="list the webhooks"):
        await ask(tokens)


def signed_by(tokens: AsyncSessionTokens, hook: Hook, secret: str) -> bool:
    """Whether a receiver that has this key takes what is sent now."""
    now_s, body = int(datetime.now(UTC).timestamp()), b"{}"
    until_s = now_s + (hook.old_until - tokens.store.clock.now()) // 1000 if hook.old_until else 0
    moved = hook._replace(old_until=until_s * 1000)
    try:
        Webhook(secret).verify(body, signed_headers(tokens.store.keyring, moved, "evt_1", now_s, body))
    except WebhookVerificationError:
        return False
    return True


async def test_a_second_rotation_within_the_overlap_cuts_no_key_off_unnoticed(tokens: AsyncSessionTokens) -> None:
    clock: Any = tokens.store.clock
    hook, first = await add_webhook(tokens, HERE)
    hook, second = await rotate_webhook(tokens, hook.id, overlap=DAY_S)
    until = clock.now() + DAY_S * 1000
    with pytest.raises(Conflict, match="UTC") as refused:
        await rotate_webhook(tokens, hook.id)

    assert refused.value.details == {"id": hook.id, "until": until}
    assert await list_webhooks(tokens) == [hook]
    assert [signed_by(tokens, hook, secret) for secret in (first, second)] == [True, True]
    clock.advance(DAY_S)
    hook, third = await rotate_webhook(tokens, hook.id)
    assert [signed_by(tokens, hook, secret) for secret in (first, second, third)] == [False, True, True]


async def test_a_stolen_key_is_ended_at_once(tokens: AsyncSessionTokens) -> None:
    hook, first = await add_webhook(tokens, HERE)
    hook, second = await rotate_webhook(tokens, hook.id, overlap=DAY_S)
    hook, third = await rotate_webhook(tokens, hook.id, overlap=None)

    assert [signed_by(tokens, hook, secret) for secret in (first, second, third)] == [False, False, True]


async def test_a_rotation_that_is_sent_twice_answers_the_same_key(tokens: AsyncSessionTokens) -> None:
    hook, _ = await add_webhook(tokens, HERE)
    keys = {(await rotate_webhook(tokens, hook.id, idempotency_key="once"))[1] for _ in range(2)}

    assert len(keys) == 1


async def test_an_act_that_is_sent_twice_answers_what_it_did_then(tokens: AsyncSessionTokens) -> None:
    hook, _ = await add_webhook(tokens, HERE)
    changed = await change_webhook(tokens, hook.id, url=THERE, is_on=False, idempotency_key="change")
    rotated = await rotate_webhook(tokens, hook.id, idempotency_key="rotate")
    await change_webhook(tokens, hook.id, url=HERE, kinds=["session_ended"], is_on=True)

    async def again() -> tuple[Hook, tuple[Hook, str]]:
        return (
            await change_webhook(tokens, hook.id, url=THERE, is_on=False, idempotency_key="change"),
            await rotate_webhook(tokens, hook.id, idempotency_key="rotate"),
        )

    assert (changed, rotated) == await again()
    await remove_webhook(tokens, hook.id)
    assert (changed, rotated) == await again()


async def test_a_webhook_is_changed_over_http(world: World) -> None:
    await AsyncSessionTokens(world.tokens.store, DURABLE).record_events()
    made = (await world.ask("POST", "/v1/webhooks", json={"url": HERE, "kinds": ["session_ended"]})).json()["webhook"]
    path = f"/v1/webhooks/{made['id']}"
    changed = (await world.ask("PATCH", path, json={"url": THERE, "kinds": None, "is_on": False})).json()["webhook"]
    again = (await world.ask("PATCH", path, json={"is_on": True})).json()["webhook"]
    first = await world.ask("POST", path + "/rotate", json={})
    second = await world.ask("POST", path + "/rotate", json={})
    third = await world.ask("POST", path + "/rotate", json={"overlap": None})

    assert changed == made | {"url": THERE, "kinds": None, "is_on": False}
    assert again == changed | {"is_on": True}
    assert [first.status_code, second.status_code, third.status_code] == [200, 409, 200]
    assert second.json()["code"] == "conflict" and "overlap" in second.json()["detail"]
    assert (await world.ask("PATCH", path, role="operator", json={})).status_code == 403
    assert (await world.ask("PATCH", "/v1/webhooks/ses_1", json={})).status_code == 404
    unknown = await world.ask("POST", f"/v1/webhooks/{UNKNOWN}/rotate", json={})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_webhook")
