"""Owners over HTTP: who there is, who is disabled, another name; and who may ask."""

from __future__ import annotations

import pytest

from tests.helpers.service_world import World


async def test_owners_are_listed_and_renamed(world: World) -> None:
    for owner in ("ann", "bob", "ann"):
        await world.open_session(owner)
    await world.tokens.disable_owner("mallory")
    renamed = await world.ask("POST", "/v1/owners/rename", json={"owner": "ann", "to": "anna"})
    again = await world.ask("POST", "/v1/owners/rename", json={"owner": "anna", "to": "bob"})
    listed = (await world.ask("GET", "/v1/owners")).json()
    disabled = (await world.ask("GET", "/v1/owners", params={"disabled": "true"})).json()

    assert {"renamed": 2} == renamed.json()
    assert (409, "conflict") == (again.status_code, again.json()["code"])
    assert [("anna", 2), ("bob", 1)] == sorted((one["owner"], one["sessions"]) for one in listed["owners"])
    assert ["mallory"] == [one["owner"] for one in disabled["owners"]]
    assert disabled["owners"][0]["disabled_at"] is not None


async def test_an_owner_is_forgotten_and_the_answer_says_how_much(world: World) -> None:
    await world.open_session("maja")
    forgotten = await world.ask("POST", "/v1/owners/forget", json={"owner": "maja"})
    listed = (await world.ask("GET", "/v1/owners")).json()

    assert 1 == forgotten.json()["sessions"] and forgotten.json()["pseudonym"].startswith("forgotten:")
    assert [] == [one for one in listed["owners"] if one["owner"] == "maja"]
    for reserved in (forgotten.json()["pseudonym"], "anonymous:x"):
        refused = await world.ask("POST", "/v1/owners/forget", json={"owner": reserved})
        assert (422, "invalid_input") == (refused.status_code, refused.json()["code"])


@pytest.mark.parametrize("role", ["verify", "issue", "transfer", "worker", "revoke", "audit", "operator", "admin"])
async def test_only_some_roles_may(world: World, role: str) -> None:
    await world.open_session("ann")
    listed = await world.ask("GET", "/v1/owners", role=role)
    renamed = await world.ask("POST", "/v1/owners/rename", role=role, json={"owner": "ann", "to": "anna"})

    assert (200 if role in ("audit", "operator", "admin") else 403) == listed.status_code
    assert (200 if role == "admin" else 403) == renamed.status_code
