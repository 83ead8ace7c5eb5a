"""Service keys: shown once, kept hashed, ending, rotated with two live, refused at once when revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput
from session_tokens.clock import ManualClock
from session_tokens.contract.store import Store
from session_tokens.records import ServiceKey
from session_tokens.service.callers import Throttle
from session_tokens.service.tallies import OwnTallies
from session_tokens.service_keys import keys
from tests.helpers.service_world import World


async def may_list(world: World, secret: str) -> int:
    return (await world.http.get("/v1/sessions", headers={"Authorization": f"Bearer {secret}"})).status_code


async def test_a_key_is_shown_once(world: World) -> None:
    made = await world.ask("POST", "/v1/keys", json={"role": "audit", "label": "nightly"})
    listed = await world.ask("GET", "/v1/keys")
    shown = next(key for key in listed.json()["keys"] if key["id"] == made.json()["id"])

    assert made.status_code == 201
    assert set(made.json()) == {"id", "secret", "role", "expires_at"}
    assert made.json()["expires_at"] == world.clock.now() + 90 * 86_400_000
    bounds = {"networks", "owner_prefix", "namespace", "audience", "max_age", "rate", "owner_creations"}
    assert set(shown) == {"id", "role", "label", "created_at", "expires_at", "last_used_at", *bounds}
    assert made.json()["secret"] not in listed.text
    assert await may_list(world, made.json()["secret"]) == 200


async def test_a_key_ends_at_its_deadline(world: World) -> None:
    made = (await world.ask("POST", "/v1/keys", json={"role": "audit", "lifetime": 10})).json()
    world.clock.advance(ms=9_999)
    before = await may_list(world, made["secret"])
    world.clock.advance(ms=1)

    assert (before, await may_list(world, made["secret"])) == (200, 401)


async def test_a_key_may_live_for_ever(world: World) -> None:
    made = (await world.ask("POST", "/v1/keys", json={"role": "audit", "lifetime": None})).json()

    assert made["expires_at"] is None


async def test_a_revoked_key_is_refused_at_once(world: World) -> None:
    made = (await world.ask("POST", "/v1/keys", json={"role": "audit"})).json()
    first = await may_list(world, made["secret"])
    revoked = await world.ask("DELETE", f"/v1/keys/{made['id']}")
    twice = await world.ask("DELETE", f"/v1/keys/{made['id']}")

    assert (first, await may_list(world, made["secret"])) == (200, 401)
    assert (revoked.status_code, twice.status_code) == (204, 204)


async def test_a_key_revoked_by_another_process_is_refused_at_once(tmp_path: Path, clock: ManualClock) -> None:
    url = f"sqlite:///{tmp_path}/tokens.db"
    async with (
        await AsyncSessionTokens.open(url, pepper=b"p" * 32, sweep=False) as ours,
        await AsyncSessionTokens.open(url, pepper=b"p" * 32, sweep=False) as theirs,
    ):
        world = World(ours, clock)
        async with world.http:
            issued = await keys.create_key(theirs.store, "audit")
            first = await may_list(world, issued.secret)
            await keys.revoke_key(theirs.store, issued.key.id)

            assert (first, await may_list(world, issued.secret)) == (200, 401)


async def test_a_rotated_key_lives_beside_the_new_one_for_the_overlap(world: World) -> None:
    old = (await world.ask("POST", "/v1/keys", json={"role": "audit", "label": "a"})).json()
    new = (await world.ask("POST", f"/v1/keys/{old['id']}/rotate", json={"overlap": 60})).json()
    both = [await may_list(world, old["secret"]), await may_list(world, new["secret"])]
    world.clock.advance(60)
    later = [await may_list(world, old["secret"]), await may_list(world, new["secret"])]

    assert new["role"] == "audit"
    assert both == [200, 200]
    assert later == [401, 200]


async def test_rotating_never_lengthens_a_life(world: World) -> None:
    old = (await world.ask("POST", "/v1/keys", json={"role": "audit", "lifetime": 5})).json()
    await world.ask("POST", f"/v1/keys/{old['id']}/rotate", json={"overlap": 60})
    world.clock.advance(5)
    gone = await world.ask("POST", f"/v1/keys/{old['id']}/rotate", json={})

    assert await may_list(world, old["secret"]) == 401
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_key")


async def test_the_first_key_is_made_only_in_a_store_without_any(world: World) -> None:
    first = await keys.ensure_admin_key(world.tokens.store)
    second = await keys.ensure_admin_key(world.tokens.store)

    assert first is not None
    assert first.key.role == "admin"
    assert second is None


async def test_services_that_start_at_once_make_one_first_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has looked before any has made one; who comes second shows none. A later first start makes one anew."""
    store = world.tokens.store
    before = {key.id for key in await keys.list_keys(store)}

    async def made() -> set[str]:
        return {key.id for key in await found(store)} - before

    async def none_yet(store: Store) -> list[ServiceKey]:
        return []

    found = keys.list_keys
    monkeypatch.setattr(keys, "list_keys", none_yet)
    first = await keys.ensure_admin_key(store)
    second = await keys.ensure_admin_key(store)
    assert first is not None and second is None
    assert {first.key.id} == await made()

    await keys.revoke_key(store, first.key.id)
    later = await keys.ensure_admin_key(store)
    assert later is not None and {later.key.id} == await made()


async def test_a_role_that_is_none_is_refused(world: World) -> None:
    answer = await world.ask("POST", "/v1/keys", json={"role": "root"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    with pytest.raises(InvalidInput):
        await keys.create_key(world.tokens.store, "root")


async def test_no_repr_shows_the_secret(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit")

    assert issued.secret not in repr(issued)
    assert issued.secret not in repr(issued.key)


async def test_guessing_is_slowed_down_and_nobody_else_notices(world: World) -> None:
    right = (await world.key("audit")).secret
    wrong = [await may_list(world, "stk_guess") for _ in range(25)]
    throttled = await world.http.get("/v1/sessions", headers={"Authorization": "Bearer stk_guess"})

    assert wrong == [401] * 20 + [429] * 5
    assert throttled.json()["code"] == "too_many_failures"
    assert 1 <= int(throttled.headers["retry-after"]) <= 60
    assert await may_list(world, right) == 200


def test_a_source_has_new_tries_after_a_minute_and_others_their_own() -> None:
    throttle = Throttle(failures_max=2)
    first = [throttle.failed("a", 0.0) for _ in range(3)]

    assert first == [0, 0, 60]
    assert throttle.failed("b", 1.0) == 0
    assert throttle.failed("a", 59.0) == 1
    assert throttle.failed("a", 60.0) == 0


def test_a_throttle_remembers_a_bounded_number_of_sources() -> None:
    tallies = OwnTallies(100)
    throttle = Throttle(failures_max=1, tallies=tallies)
    for number in range(1_000):
        throttle.failed(f"source{number}", 0.0)

    assert len(tallies) == 100
