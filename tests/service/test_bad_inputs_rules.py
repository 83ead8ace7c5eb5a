"""Bad input F: what is well-formed and not allowed; nothing changes."""

from __future__ import annotations

import asyncio

from tests.helpers.service_world import World


async def ticket(world: World, owner: str = "alice") -> tuple[str, str]:
    """Return the ids of a session and of a transferable token in it."""
    session = (await world.open_session(owner))["session"]["id"]
    return session, (await world.issue_token(session, transferable=True))["token"]["id"]


async def test_only_the_present_owner_gives_a_token_away(world: World) -> None:
    """92: to oneself is an ordinary transfer, to an owner without session it is parked."""
    _, id = await ticket(world)
    path = f"/v1/tokens/{id}/transfer"
    by_other = await world.ask("POST", path, json={"giver": "bob", "receiver": "bob"})
    by_nobody = await world.ask("POST", path, json={"receiver": "bob"})
    to_nobody = await world.ask("POST", path, json={"giver": "alice", "receiver": ""})
    to_system = await world.ask("POST", path, json={"giver": "alice", "receiver": "system"})
    unchanged = (await world.ask("GET", f"/v1/tokens/{id}")).json()["token"]
    to_self = await world.ask("POST", path, json={"giver": "alice", "receiver": "alice"})
    parked = await world.ask("POST", path, json={"giver": "alice", "receiver": "unheard-of"})

    assert [answer.status_code for answer in (by_other, by_nobody, to_nobody, to_system)] == [403, 403, 422, 422]
    assert (unchanged["owner"], unchanged["epoch"]) == ("alice", 0)
    assert to_self.json()["token"]["epoch"] == 1
    assert (parked.json()["token"]["owner"], parked.json()["token"]["session_id"]) == ("unheard-of", None)


async def test_what_cannot_be_transferred_stays(world: World) -> None:
    """93."""
    session, id = await ticket(world)
    bound = (await world.issue_token(session))["token"]["id"]
    short = (await world.issue_token(session, transferable=True, timeout=1))["token"]["id"]
    gone = (await world.issue_token(session, transferable=True))["token"]["id"]
    await world.ask("DELETE", f"/v1/tokens/{gone}")
    world.clock.advance(1)
    hand_over = {"giver": "alice", "receiver": "bob"}
    answers = [await world.ask("POST", f"/v1/tokens/{one}/transfer", json=hand_over) for one in (bound, short, gone)]
    first = await world.ask("POST", f"/v1/tokens/{id}/transfer", json={**hand_over, "epoch": 0})
    again = await world.ask("POST", f"/v1/tokens/{id}/transfer", json={**hand_over, "epoch": 0})

    assert [answer.status_code for answer in answers] == [422, 404, 404]
    assert (first.status_code, again.status_code) == (200, 409)


async def test_an_unassigned_token_is_claimed_once_and_in_time(world: World) -> None:
    """94."""
    session, id = await ticket(world)
    late = (await world.issue_token(session, transferable=True, disownment_timeout=5))["token"]["id"]
    await world.ask("DELETE", f"/v1/sessions/{session}")
    bobs = (await world.open_session("bob"))["session"]["id"]
    without_grant = await world.ask("POST", f"/v1/tokens/{id}/claim", role="verify", json={"session": bobs})
    world.clock.advance(5)
    too_late = await world.ask("POST", f"/v1/tokens/{late}/claim", json={"session": bobs})
    claims = await asyncio.gather(
        *(world.ask("POST", f"/v1/tokens/{id}/claim", json={"session": bobs}) for _ in range(5))
    )

    assert (without_grant.status_code, too_late.status_code) == (403, 404)
    assert sorted(answer.status_code for answer in claims) == [200, 409, 409, 409, 409]


async def test_an_offer_changed_meanwhile_is_noticed(world: World) -> None:
    """95: who read the offer at version 2 does not change or withdraw what stands there at version 3."""
    _, id = await ticket(world)
    path = f"/v1/tokens/{id}"
    await world.ask("POST", path + "/offer", json={"price": 5})
    await world.ask("POST", path + "/offer", json={"price": 500})
    stale = await world.ask("POST", path + "/withdraw", json={"version": 2})
    listed = (await world.ask("GET", path)).json()["token"]

    assert (stale.status_code, stale.json()["code"]) == (409, "conflict")
    assert listed["price"] == "500"


async def test_detaching_and_attaching_out_of_turn(world: World) -> None:
    """96: an operation on a detached session works by its id, and a dead one cannot be attached."""
    opened = await world.open_session(detachable=True, detached_timeout=5)
    path = f"/v1/sessions/{opened['session']['id']}"
    await world.ask("POST", path + "/detach")
    rotated = await world.ask("POST", path + "/rotate")
    changed = await world.ask("PATCH", path, json={"label": "away"})
    issued = await world.ask("POST", "/v1/tokens", json={"session": opened["session"]["id"]})
    world.clock.advance(5)
    attached = await world.ask("POST", path + "/attach")

    assert (rotated.status_code, changed.status_code, issued.status_code) == (409, 200, 201)
    assert (attached.status_code, attached.json()["reason"]) == (404, "detached_timeout")


async def test_a_dead_secret_is_no_key_for_anything(world: World) -> None:
    """98."""
    opened = await world.open_session()
    await world.ask("DELETE", f"/v1/sessions/{opened['session']['id']}")
    issued = await world.ask("POST", "/v1/tokens", json={"session": opened["secret"]})

    assert (issued.status_code, issued.json()["code"]) == (404, "unknown_session")
    assert opened["secret"] not in issued.text


async def test_of_rotations_at_once_one_secret_is_left(world: World) -> None:
    """98."""
    id = (await world.open_session())["session"]["id"]
    answers = await asyncio.gather(*(world.ask("POST", f"/v1/sessions/{id}/rotate") for _ in range(5)))
    alive = [await world.introspect(answer.json()["secret"]) for answer in answers]

    assert [answer.status_code for answer in answers] == [200] * 5
    assert [answer["active"] for answer in alive].count(True) == 1


async def test_nobody_but_an_admin_makes_keys(world: World) -> None:
    """99: no role can give itself or others more than it has."""
    for role in ("verify", "issue", "transfer", "revoke", "audit", "operator"):
        answer = await world.ask("POST", "/v1/keys", role=role, json={"role": role})

        assert answer.status_code == 403
