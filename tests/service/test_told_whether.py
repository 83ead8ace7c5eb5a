"""Every ``DELETE`` without a body says whether there was something to end: a mistyped id must not pass for one."""

from __future__ import annotations

import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.crypto.minting import new_id
from tests.helpers.service_world import World


async def address_of(world: World, kind: str) -> str:
    """Return the address of something that was just made."""
    if kind == "keys":
        return f"/v1/keys/{(await world.ask('POST', '/v1/keys', json={'role': 'verify'})).json()['id']}"
    if kind == "webhooks":
        await AsyncSessionTokens(world.tokens.store, Settings(events="durable")).record_events()
        hook = await world.ask("POST", "/v1/webhooks", json={"url": "https://app.example/hooks"})
        return f"/v1/webhooks/{hook.json()['webhook']['id']}"
    session = (await world.open_session())["session"]["id"]
    if kind == "sessions":
        return f"/v1/sessions/{session}"
    return f"/v1/tokens/{(await world.issue_token(session))['token']['id']}"


@pytest.mark.parametrize("kind", ["sessions", "tokens", "keys", "webhooks"])
async def test_the_end_of_nothing_is_told_apart(world: World, kind: str) -> None:
    address = await address_of(world, kind)
    first, second = await world.ask("DELETE", address), await world.ask("DELETE", address)

    assert (204, "true") == (first.status_code, first.headers.get("session-tokens-changed"))
    assert (204, "false") == (second.status_code, second.headers.get("session-tokens-changed"))


async def test_a_key_that_never_was_is_none_that_was_ended(world: World) -> None:
    answer = await world.ask("DELETE", f"/v1/keys/{new_id('key_')}")

    assert (204, "false") == (answer.status_code, answer.headers.get("session-tokens-changed"))


@pytest.mark.parametrize("kind", ["sessions", "tokens"])
async def test_a_key_is_told_of_what_it_does_not_see_as_of_nothing(world: World, kind: str) -> None:
    made = await world.ask("POST", "/v1/keys", json={"role": "revoke", "owner_prefix": "elsewhere:"})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    prefix = {"sessions": "ses_", "tokens": "tok_"}[kind]
    unseen = await world.http.delete(await address_of(world, kind), headers=headers)
    nothing = await world.http.delete(f"/v1/{kind}/{new_id(prefix)}", headers=headers)

    assert (204, "false") == (unseen.status_code, unseen.headers.get("session-tokens-changed"))
    assert (204, "false") == (nothing.status_code, nothing.headers.get("session-tokens-changed"))
