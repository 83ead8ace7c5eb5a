"""How the owner of a session proved who they are goes in over HTTP and comes out of introspection."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import Conflict
from tests.helpers.service_world import World

STRONG = "urn:example:strong"


async def test_an_opening_says_how_it_was_proved_and_introspection_answers_it(world: World) -> None:
    made = await world.open_session("ann", acr=STRONG, amr=["pwd", "otp"])
    said = await world.introspect(made["secret"])

    assert (made["session"]["acr"], made["session"]["amr"]) == (STRONG, ["pwd", "otp"])
    assert (said["acr"], said["amr"]) == (STRONG, ["pwd", "otp"])
    assert said["auth_time"] == made["session"]["authenticated_at"] // 1000 == said["iat"]
    shown = (await world.ask("GET", f"/v1/sessions/{made['session']['id']}")).json()["session"]
    listed = (await world.ask("GET", "/v1/sessions?owner=ann")).json()["sessions"]
    assert [(each["acr"], each["amr"]) for each in [shown, *listed]] == [(STRONG, ["pwd", "otp"])] * 2


async def test_a_session_without_a_word_of_it_answers_the_time_alone(world: World) -> None:
    said = await world.introspect((await world.open_session("ann"))["secret"])

    assert "auth_time" in said
    assert said.keys().isdisjoint({"acr", "amr"})


async def test_a_proof_at_a_rotation_takes_the_place_of_the_one_before(world: World) -> None:
    made = await world.open_session("ann", acr=STRONG, amr=["pwd", "otp"])
    path = f"/v1/sessions/{made['session']['id']}/rotate"
    world.clock.advance(90)
    plain = (await world.ask("POST", path, json={})).json()
    proved = (await world.ask("POST", path, json={"authenticated": True, "amr": ["pwd"]})).json()
    before, after = made["session"], await world.introspect(proved["secret"])

    assert (plain["session"]["acr"], plain["session"]["authenticated_at"]) == (STRONG, before["authenticated_at"])
    assert after["amr"] == ["pwd"] and "acr" not in after
    assert after["auth_time"] == before["authenticated_at"] // 1000 + 90
    refused = await world.ask("POST", path, json={"acr": STRONG})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "authenticated" in refused.json()["detail"]


@pytest.mark.parametrize("wrong", [{"acr": 7}, {"amr": "pwd"}, {"amr": ["pwd"] * 17}, {"acr": "a\n"}])
async def test_what_can_never_be_kept_is_refused(world: World, wrong: dict[str, Any]) -> None:
    refused = await world.ask("POST", "/v1/sessions", json={"owner": "ann", **wrong})

    assert refused.status_code in (400, 422), refused.text
    assert refused.json()["detail"]


async def test_a_visitor_has_proved_nothing(world: World) -> None:
    visitor = await world.tokens.log_in(None)

    assert (await world.introspect(str(visitor.secret))).keys().isdisjoint({"auth_time", "acr", "amr"})


async def test_a_retry_of_an_opening_says_the_same_of_it(world: World) -> None:
    st = world.tokens
    first = await st.open_session("ann", acr=STRONG, amr=["pwd"], idempotency_key="k")

    assert (await st.open_session("ann", acr=STRONG, amr=["pwd"], idempotency_key="k")).secret == first.secret
    with pytest.raises(Conflict):
        await st.open_session("ann", acr=STRONG, amr=["otp"], idempotency_key="k")
