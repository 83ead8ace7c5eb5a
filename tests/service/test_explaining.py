"""Explanations and the audit log over HTTP: who may read them, and what an ended session's address answers."""

from __future__ import annotations

import pytest

from session_tokens.audit.log import Audit
from session_tokens.service.app import Service
from tests.helpers.service_world import World

READERS = {"/v1/audit": {"audit", "admin"}, "/v1/explain/": {"audit", "operator", "admin"}}


async def test_an_ended_session_answers_with_its_reason_as_a_change_of_it_does(world: World) -> None:
    opened = await world.open_session("ann")
    path = f"/v1/sessions/{opened['session']['id']}"
    await world.ask("DELETE", path, params={"reason": "theft"})
    read, changed = await world.ask("GET", path), await world.ask("PATCH", path, json={"label": "x"})

    assert "session_ended" == read.json()["code"]
    assert (changed.status_code, changed.json()["detail"]) == (read.status_code, read.json()["detail"])
    assert "theft" in read.json()["detail"]


async def test_an_explanation_says_what_the_library_says(world: World) -> None:
    opened = await world.open_session("ann")
    id = opened["session"]["id"]
    await world.ask("DELETE", f"/v1/sessions/{id}", params={"reason": "revoked"})
    answer = await world.ask("GET", f"/v1/explain/{id}", role="operator")

    assert 200 == answer.status_code
    assert (await world.tokens.explain(id)).to_dict() == answer.json()
    assert ("ended", "revoked") == (answer.json()["state"], answer.json()["reason"])


async def test_what_is_no_id_is_refused(world: World) -> None:
    answer = await world.ask("GET", "/v1/explain/ann")

    assert (422, "invalid_input") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("role", ["verify", "issue", "transfer", "revoke", "audit", "operator", "admin"])
async def test_only_some_roles_may_read_them(world: World, role: str) -> None:
    key = (await world.key()).key.id
    for path, readers in READERS.items():
        answer = await world.ask("GET", path + (key if path.endswith("/") else ""), role=role)

        assert (200 if role in readers else 403) == answer.status_code, path


async def test_entries_are_filtered_and_paged(world: World) -> None:
    world.tokens._audit = Audit()
    world.service = Service(world.tokens)
    for owner in ("ann", "bob", "ann"):
        await world.open_session(owner)
    first = (await world.ask("GET", "/v1/audit", params={"owner": "ann", "limit": 1})).json()
    second = (await world.ask("GET", "/v1/audit", params={"owner": "ann", "after": first["next"]})).json()
    bad = await world.ask("GET", "/v1/audit", params={"after": "yesterday"})

    assert ["ann", "ann"] == [entry["owner"] for entry in first["entries"] + second["entries"]]
    assert second["next"] is None
    assert (await world.key()).key.id == first["entries"][0]["actor"]
    assert 422 == bad.status_code
