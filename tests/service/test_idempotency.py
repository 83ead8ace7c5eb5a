"""The same request again under an Idempotency-Key answers its first outcome, its secret too."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.events import event_id
from session_tokens.service.routes import OPERATIONS
from session_tokens.service_keys.keys import create_key
from session_tokens.webhooks.hooks import add_webhook
from tests.helpers.service_world import World

KEY = {"Idempotency-Key": "4f1c"}


async def places(world: World) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return for each POST: its address, a body and another body."""
    session = (await world.open_session("alice", detachable=True))["session"]["id"]
    away = (await world.open_session("carol", detachable=True))["session"]["id"]
    await world.ask("POST", f"/v1/sessions/{away}/detach")
    ticket = (await world.issue_token(session, transferable=True))["token"]["id"]
    bound = (await world.issue_token(session))["token"]["id"]
    sold = (await world.issue_token(session, transferable=True))["token"]["id"]
    await world.ask("POST", f"/v1/tokens/{sold}/offer", json={"gift": True})
    await world.ask("POST", "/v1/tokens", json={"transferable": True, "tag": "waits"})
    counted = (await world.issue_token(session, uses=5))["token"]["id"]
    ended = (await world.open_session("dave"))["session"]["id"]
    orphan = (await world.issue_token(ended, transferable=True))["token"]["id"]
    await world.ask("DELETE", f"/v1/sessions/{ended}")
    bobs = (await world.open_session("bob"))["session"]["id"]
    key = (await create_key(world.tokens.store, "audit")).key.id
    t = f"/v1/tokens/{ticket}"
    await AsyncSessionTokens(world.tokens.store, Settings(events="durable")).record_events()
    hook, _ = await add_webhook(world.tokens, "https://app.example/")
    h = f"/v1/webhooks/{hook.id}"
    return {
        "open_session": ("/v1/sessions", {"owner": "erin"}, {"owner": "frank"}),
        "rotate_session": (f"/v1/sessions/{bobs}/rotate", {}, {"authenticated": True}),
        "detach_session": (f"/v1/sessions/{session}/detach", {}, {}),
        "attach_session": (f"/v1/sessions/{away}/attach", {}, {}),
        "disable_owner": ("/v1/owners/zoe/disable", {}, {}),
        "enable_owner": ("/v1/owners/zoe/enable", {}, {}),
        "disable_owner_named": ("/v1/owners/disable?owner=..", {}, {}),
        "enable_owner_named": ("/v1/owners/enable?owner=..", {}, {}),
        "issue_token": ("/v1/tokens", {"session": bobs, "value": 1}, {"session": bobs, "value": 2}),
        "transfer_token": (t + "/transfer", {"giver": "alice", "receiver": "bob"}, {"giver": "bob", "receiver": "zoe"}),
        "claim_token": (f"/v1/tokens/{orphan}/claim", {"session": bobs}, {"session": away}),
        "reissue_token": (f"/v1/tokens/{bound}/reissue", {"owner": "alice"}, {"owner": "bob"}),
        "offer_token": (t + "/offer", {"price": 1}, {"price": 2}),
        "withdraw_token": (t + "/withdraw", {}, {"version": 1}),
        "accept_offer": (f"/v1/tokens/{sold}/accept", {"receiver": "bob"}, {"receiver": "zoe"}),
        "lend_token": (t + "/lend", {"borrower": "bob"}, {"borrower": "bob", "until": 5}),
        "recall_token": (t + "/recall", {}, {"borrower": "zoe"}),
        "consume_token": (f"/v1/tokens/{counted}/consume", {}, {"amount": 2}),
        "release_token": (t + "/release", {"owner": "alice"}, {"owner": "bob"}),
        "claim_next_token": ("/v1/tokens/claim-next", {"session": bobs, "tag": "waits"}, {"session": bobs}),
        "hand_over": ("/v1/owners/alice/hand-over", {"receiver": "bob"}, {"receiver": "zoe"}),
        "hand_over_named": ("/v1/owners/hand-over?owner=..", {"receiver": "bob"}, {"receiver": "zoe"}),
        "log_in": ("/v1/log-in", {"owner": "erin"}, {"owner": "frank"}),
        "rename_owner": ("/v1/owners/rename", {"owner": "alice", "to": "alicia"}, {"owner": "bob", "to": "rob"}),
        "forget_owner": ("/v1/owners/forget", {"owner": "alice"}, {"owner": "bob"}),
        "create_key": ("/v1/keys", {"role": "audit"}, {"role": "admin"}),
        "add_webhook": ("/v1/webhooks", {"url": "https://app.example/"}, {"url": "https://other.example/"}),
        "rotate_webhook": (h + "/rotate", {}, {"overlap": 5}),
        "replay_webhook": (h + "/replay", {}, {"after": event_id((1, 0))}),
        "rotate_key": (f"/v1/keys/{key}/rotate", {}, {"overlap": 5}),
    }


POSTS = [operation.handler.__name__ for operation in OPERATIONS if operation.method == "POST"]
ANSWERED_ANEW = {"verify", "call_tables"}
"""What reads, and the names of TokenTables, of which each is the same when it is done twice."""


@pytest.mark.share(3)
@pytest.mark.parametrize("name", [name for name in POSTS if name not in ANSWERED_ANEW])
async def test_every_post_answers_its_first_outcome_again(world: World, name: str) -> None:
    path, body, other = (await places(world))[name]
    first = await world.ask("POST", path, json=body, headers=KEY)
    again = await world.ask("POST", path, json=body, headers=KEY)
    different = await world.ask("POST", path, json=other, headers=KEY)

    assert first.status_code in (200, 201), first.text
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    if other != body:
        assert (different.status_code, different.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_is_the_callers_own(world: World) -> None:
    other = await create_key(world.tokens.store, "admin")
    ours = await world.ask("POST", "/v1/sessions", json={"owner": "alice"}, headers=KEY)
    theirs = await world.http.post(
        "/v1/sessions", json={"owner": "bob"}, headers={**KEY, "Authorization": f"Bearer {other.secret}"}
    )

    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["secret"] != theirs.json()["secret"]


async def test_a_refusal_is_not_kept(world: World) -> None:
    await world.ask("POST", "/v1/owners/alice/disable")
    refused = await world.ask("POST", "/v1/sessions", json={"owner": "alice"}, headers=KEY)
    await world.ask("POST", "/v1/owners/alice/enable")
    opened = await world.ask("POST", "/v1/sessions", json={"owner": "alice"}, headers=KEY)

    assert (refused.status_code, opened.status_code) == (403, 201)


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "x" * 10_000])
async def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    answer = await world.ask("POST", "/v1/sessions", json={"owner": "alice"}, headers={"Idempotency-Key": key.encode()})

    assert answer.status_code == 400
    assert (await world.tokens.list_sessions()).items == []
