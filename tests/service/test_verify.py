"""`POST /v1/verify`: the whole record of a secret, or one 404 for everything else."""

from __future__ import annotations

import pytest

from session_tokens.crypto.minting import new_secret
from session_tokens.records import Session
from session_tokens.service_keys.keys import create_key
from tests.helpers.service_world import World


async def test_a_living_session_is_answered_whole(world: World) -> None:
    opened = await world.open_session(data={"cart": [1]}, label="phone")
    answer = await world.ask("POST", "/v1/verify", role="verify", json={"secret": opened["secret"]})

    assert answer.status_code == 200
    assert {"session": opened["session"]} == answer.json()
    assert opened["secret"] not in answer.text
    assert int(answer.headers["session-tokens-now"]) == world.clock.now()


async def test_a_living_token_is_answered_whole(world: World) -> None:
    issued = await world.issue_token(None, value={"n": 1}, scope="read", audience="https://api")
    answer = await world.ask("POST", "/v1/verify", role="verify", json={"secret": issued["secret"]})

    assert (200, {"token": issued["token"]}) == (answer.status_code, answer.json())


@pytest.mark.parametrize("kind", ["sts_", "stt_", "stk_", "short", ""])
async def test_what_is_no_living_secret_is_not_found(world: World, kind: str) -> None:
    secret = new_secret(kind) if kind.endswith("_") else kind
    answer = await world.ask("POST", "/v1/verify", json={"secret": secret})
    code = "unknown_token" if secret.startswith("stt_") else "unknown_session"

    assert (404, code) == (answer.status_code, answer.json()["code"])


async def test_an_ended_a_detached_and_the_consoles_session_are_not_found(world: World) -> None:
    ended = await world.open_session()
    await world.ask("DELETE", f"/v1/sessions/{ended['session']['id']}")
    detached = await world.open_session("bob", detachable=True)
    await world.ask("POST", f"/v1/sessions/{detached['session']['id']}/detach")
    for one in (ended, detached):
        answer = await world.ask("POST", "/v1/verify", json={"secret": one["secret"]})

        assert (404, "unknown_session") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(("touch", "used"), [(True, True), (False, False)])
async def test_verifying_is_a_use_unless_it_shall_be_none(world: World, touch: bool, used: bool) -> None:
    opened = await world.open_session(idle_timeout=100)
    world.clock.advance(50)
    await world.ask("POST", "/v1/verify", json={"secret": opened["secret"], "touch": touch})
    session = await world.tokens.get_session(opened["session"]["id"])

    assert isinstance(session, Session)
    assert (session.last_seen_at == world.clock.now()) is used


async def test_a_key_that_is_bound_verifies_what_it_sees_and_uses_it(world: World) -> None:
    key = await create_key(world.tokens.store, "verify", owner_prefix="app1:")
    headers = {"Authorization": f"Bearer {key.secret}"}
    seen = await world.open_session("app1:alice", idle_timeout=100)
    unseen = await world.open_session("app2:alice", idle_timeout=100)
    world.clock.advance(50)
    answers = [
        await world.http.post("/v1/verify", json={"secret": one["secret"]}, headers=headers) for one in (seen, unseen)
    ]
    sessions = [await world.tokens.get_session(one["session"]["id"]) for one in (seen, unseen)]

    assert [200, 404] == [answer.status_code for answer in answers]
    assert [world.clock.now(), world.clock.now() - 50_000] == [session and session.last_seen_at for session in sessions]


async def test_roles_that_only_end_or_read_do_not_verify(world: World) -> None:
    secret = (await world.open_session())["secret"]
    answers = {
        role: (await world.ask("POST", "/v1/verify", role=role, json={"secret": secret})).status_code
        for role in ("verify", "issue", "transfer", "revoke", "audit", "operator", "admin")
    }

    assert {"revoke", "audit", "operator"} == {role for role, status in answers.items() if status == 403}
    assert {200, 403} == set(answers.values())
