"""Tokens over HTTP: shapes, statuses and what a transfer does."""

from __future__ import annotations

import asyncio

import pytest

from tests.helpers.service_world import World

FIELDS = {
    "id", "kind", "owner", "session_id", "value", "created_at", "expires_at", "held_since", "unassigned_at",
    "previous_owner", "timeout", "disownment_timeout", "sellable", "price", "currency", "gift", "epoch", "version",
    "client_id", "scope", "audience", "for_client", "tag", "uses_left", "reserved_for", "reserved_until", "borrower",
}  # fmt: skip


@pytest.mark.parametrize("value", ["seat 12", "", None, 0, -1.5, True, [1, {"a": None}], {"_owner": "x", "_price": 1}])
async def test_a_value_comes_back_as_it_was_given(world: World, value: object) -> None:
    session = (await world.open_session())["session"]
    issued = await world.issue_token(session["id"], value=value)

    assert set(issued["token"]) == FIELDS
    assert issued["token"]["value"] == value
    assert (await world.introspect(issued["secret"]))["st_value"] == value


async def test_the_three_kinds_are_told_apart(world: World) -> None:
    session = (await world.open_session())["session"]
    free = await world.issue_token(None, value=1)
    bound = await world.issue_token(session["id"], timeout=None)
    ticket = await world.issue_token(session["id"], transferable=True, disownment_timeout=5)

    assert (free["token"]["kind"], free["token"]["owner"], free["token"]["session_id"]) == ("free", None, None)
    assert (bound["token"]["kind"], bound["token"]["expires_at"]) == ("session-bound", session["expires_at"])
    assert (ticket["token"]["kind"], ticket["token"]["disownment_timeout"]) == ("transferable", 5)


async def test_a_transfer_gives_the_receiver_a_secret_and_kills_the_givers(world: World) -> None:
    ticket = await world.issue_token((await world.open_session())["session"]["id"], value="seat", transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}/transfer"
    moved = await world.ask("POST", path, json={"giver": "alice", "receiver": "bob", "epoch": 0})
    stale = await world.ask("POST", path, json={"giver": "bob", "receiver": "carol", "epoch": 0})
    not_hers = await world.ask("POST", path, json={"giver": "alice", "receiver": "carol"})

    assert moved.status_code == 200
    assert set(moved.json()) == {"token", "secret"}
    assert moved.json()["token"]["owner"] == "bob"
    assert await world.introspect(ticket["secret"]) == {"active": False}
    assert (await world.introspect(moved.json()["secret"]))["sub"] == "bob"
    assert (stale.status_code, stale.json()["code"]) == (409, "conflict")
    assert (not_hers.status_code, not_hers.json()["code"]) == (403, "not_owner")


async def test_of_many_transfers_at_once_one_wins(world: World) -> None:
    ticket = await world.issue_token((await world.open_session())["session"]["id"], transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}/transfer"
    answers = await asyncio.gather(
        *(world.ask("POST", path, json={"giver": "alice", "receiver": f"owner{n}", "epoch": 0}) for n in range(32))
    )
    statuses = sorted(answer.status_code for answer in answers)

    assert statuses == [200] + [409] * 31


async def test_an_unassigned_token_is_listed_and_claimed(world: World) -> None:
    session = (await world.open_session())["session"]
    ticket = await world.issue_token(session["id"], transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}/claim"
    bobs = (await world.open_session("bob"))["session"]
    owned = await world.ask("POST", path, json={"session": bobs["id"]})
    await world.ask("DELETE", f"/v1/sessions/{session['id']}")
    waiting = (await world.ask("GET", "/v1/tokens", params={"unassigned": "true"})).json()["tokens"]
    claimed = await world.ask("POST", path, json={"session": bobs["id"]})

    assert (owned.status_code, owned.json()["code"]) == (409, "conflict")
    assert [token["id"] for token in waiting] == [ticket["token"]["id"]]
    assert claimed.json()["token"]["owner"] == "bob"
    assert (await world.introspect(claimed.json()["secret"]))["sub"] == "bob"


async def test_an_offer_is_listed_with_its_price_until_withdrawn(world: World) -> None:
    ticket = await world.issue_token((await world.open_session())["session"]["id"], transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}"
    offered = await world.ask("POST", path + "/offer", json={"price": "12.50", "currency": "EUR", "gift": True})
    listed = (await world.ask("GET", "/v1/tokens", params={"sellable": "true"})).json()["tokens"]
    stale = await world.ask("POST", path + "/withdraw", headers={"If-Match": '"1"'})
    withdrawn = await world.ask("POST", path + "/withdraw", json={"version": 2})

    assert (offered.json()["token"]["price"], offered.json()["token"]["currency"]) == ("12.50", "EUR")
    assert [(token["id"], token["gift"]) for token in listed] == [(ticket["token"]["id"], True)]
    assert stale.status_code == 412
    assert (withdrawn.json()["token"]["sellable"], withdrawn.json()["token"]["price"]) == (False, None)


async def test_an_owner_gets_a_fresh_secret(world: World) -> None:
    issued = await world.issue_token((await world.open_session())["session"]["id"])
    path = f"/v1/tokens/{issued['token']['id']}/reissue"
    refused = await world.ask("POST", path, json={"owner": "bob"})
    fresh = await world.ask("POST", path, json={"owner": "alice"})

    assert (refused.status_code, refused.json()["code"]) == (403, "not_owner")
    assert await world.introspect(issued["secret"]) == {"active": False}
    assert (await world.introspect(fresh.json()["secret"]))["active"] is True


async def test_a_token_is_changed_and_destroyed_at_its_version(world: World) -> None:
    issued = await world.issue_token(None, value="old")
    path = f"/v1/tokens/{issued['token']['id']}"
    changed = await world.ask("PATCH", path, json={"value": {"new": 1}, "timeout": 9}, headers={"If-Match": '"1"'})
    stale = await world.ask("DELETE", path, headers={"If-Match": '"1"'})
    alive = await world.introspect(issued["secret"])
    destroyed = await world.ask("DELETE", path, headers={"If-Match": '"2"'})

    assert changed.json()["token"]["value"] == {"new": 1}
    assert changed.json()["token"]["expires_at"] == world.clock.now() + 9_000
    assert stale.status_code == 412
    assert alive["st_value"] == {"new": 1}
    assert destroyed.status_code == 204
    assert await world.introspect(issued["secret"]) == {"active": False}


async def test_listings_are_narrowed_by_owner_session_and_kind(world: World) -> None:
    session = (await world.open_session())["session"]
    bound = await world.issue_token(session["id"])
    ticket = await world.issue_token(session["id"], transferable=True)
    await world.issue_token(None)

    async def ids(**params: str) -> set[str]:
        page = await world.ask("GET", "/v1/tokens", params=params)
        return {token["id"] for token in page.json()["tokens"]}

    assert await ids(owner="alice") == {bound["token"]["id"], ticket["token"]["id"]}
    assert await ids(session=session["id"], transferable="false") == {bound["token"]["id"]}
    assert await ids(owner="alice", transferable="true") == {ticket["token"]["id"]}
