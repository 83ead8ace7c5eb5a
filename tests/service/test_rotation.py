"""Rotation with grace over HTTP: by the secret, as it is asked about, and what an old secret does that comes back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.service_world import World

BY_SECRET = "/v1/sessions/by-secret/rotate"


async def test_two_who_come_with_one_old_secret_get_one_new_one(world: World) -> None:
    old = (await world.open_session("ann"))["secret"]
    first = (await world.ask("POST", BY_SECRET, json={"secret": old, "grace": 60})).json()
    second = (await world.ask("POST", BY_SECRET, json={"secret": old, "grace": 60})).json()
    seen = (await world.ask("POST", "/v1/verify", json={"secret": old})).json()["session"]
    present = (await world.ask("POST", "/v1/verify", json={"secret": first["secret"]})).json()["session"]

    assert first["secret"] == second["secret"] != old
    assert first["session"]["rotated_at"] == world.clock.now()
    assert (seen["secret_until"], present["secret_until"]) == (world.clock.now() + 60_000, None)
    assert (await world.introspect(old))["st_id"] == seen["id"]
    told = (await world.ask("GET", f"/v1/explain/{seen['id']}")).json()
    assert "for a grace" in " ".join(told["because"])


@pytest.mark.parametrize("how", ["introspect", "verify", "revoke", "rotate"])
async def test_after_its_grace_an_old_secret_ends_the_session_however_it_comes(world: World, how: str) -> None:
    made = await world.open_session("ann")
    new = (await world.ask("POST", BY_SECRET, json={"secret": made["secret"], "grace": 60})).json()["secret"]
    await world.introspect(new)  # from now on its head is known, and introspections are answered at once
    world.clock.advance(60)
    assert (await world.introspect(new))["active"] is True

    if how == "introspect":
        assert (await world.introspect(made["secret"])) == {"active": False}
    elif how == "revoke":
        assert (await world.ask("POST", "/revoke", data={"token": made["secret"]})).status_code == 200
    else:
        path = "/v1/verify" if how == "verify" else BY_SECRET
        assert (await world.ask("POST", path, json={"secret": made["secret"]})).status_code == 404
    assert (await world.introspect(new)) == {"active": False}
    told = (await world.ask("GET", f"/v1/explain/{made['session']['id']}")).json()
    assert told["reason"] == "theft"


@pytest.mark.parametrize("wrong", [{"grace": 0}, {"grace": 3601}, {"grace": 5, "authenticated": True}, {"grace": "x"}])
async def test_a_grace_that_can_never_be_right_is_refused(world: World, wrong: dict[str, Any]) -> None:
    made = await world.open_session("ann")
    refused = await world.ask("POST", BY_SECRET, json={"secret": made["secret"], **wrong})

    assert refused.status_code in (400, 422), refused.text
    assert (await world.introspect(made["secret"]))["active"] is True
