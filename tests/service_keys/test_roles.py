"""Who may do what: each address and method with each role, cell by cell, against a table written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens.crypto.minting import new_id
from session_tokens.service.app import Service
from session_tokens.service.routes import OPERATIONS
from session_tokens.service_keys.keys import list_keys
from session_tokens.service_keys.roles import PERMISSIONS, ROLES
from tests.helpers.service_world import World

S, T, K, W = new_id("ses_"), new_id("tok_"), new_id("key_"), new_id("whk_")
FORM = {"data": {"token": "x"}}
# v: verify, i: issue, t: transfer, w: worker, r: revoke, a: audit, o: operator, A: admin
MATRIX: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("POST", "/introspect"): ("vitwA", FORM),
    ("POST", "/revoke"): ("itroA", FORM),
    ("POST", "/v1/sessions"): ("iA", {"json": {"owner": "alice"}}),
    ("GET", "/v1/sessions"): ("iaoA", {}),
    ("GET", f"/v1/sessions/{S}"): ("iaoA", {}),
    ("PATCH", f"/v1/sessions/{S}"): ("iA", {"json": {"label": "x"}}),
    ("DELETE", f"/v1/sessions/{S}"): ("roA", {}),
    ("POST", f"/v1/sessions/{S}/rotate"): ("iA", {}),
    ("POST", f"/v1/sessions/{S}/detach"): ("ioA", {}),
    ("POST", f"/v1/sessions/{S}/attach"): ("iA", {}),
    ("DELETE", "/v1/owners/alice/sessions"): ("roA", {}),
    ("POST", "/v1/owners/alice/disable"): ("roA", {}),
    ("POST", "/v1/owners/alice/enable"): ("oA", {}),
    ("DELETE", "/v1/owners/sessions?owner=alice"): ("roA", {}),
    ("POST", "/v1/owners/disable?owner=alice"): ("roA", {}),
    ("POST", "/v1/owners/enable?owner=alice"): ("oA", {}),
    ("POST", "/v1/tokens"): ("iA", {"json": {}}),
    ("GET", "/v1/tokens"): ("itaoA", {}),
    ("GET", f"/v1/tokens/{T}"): ("itaoA", {}),
    ("PATCH", f"/v1/tokens/{T}"): ("iA", {"json": {"value": 1}}),
    ("DELETE", f"/v1/tokens/{T}"): ("roA", {}),
    ("POST", f"/v1/tokens/{T}/transfer"): ("tA", {"json": {"giver": "alice", "receiver": "bob"}}),
    ("POST", f"/v1/tokens/{T}/claim"): ("tA", {"json": {"session": S}}),
    ("POST", f"/v1/tokens/{T}/reissue"): ("itA", {"json": {"owner": "alice"}}),
    ("POST", f"/v1/tokens/{T}/offer"): ("tA", {"json": {}}),
    ("POST", f"/v1/tokens/{T}/withdraw"): ("tA", {"json": {}}),
    ("POST", f"/v1/tokens/{T}/accept"): ("tA", {"json": {"receiver": "alice"}}),
    ("POST", f"/v1/tokens/{T}/lend"): ("tA", {"json": {"borrower": "alice"}}),
    ("POST", f"/v1/tokens/{T}/recall"): ("tA", {"json": {}}),
    ("POST", f"/v1/tokens/{T}/consume"): ("wA", {"json": {}}),
    ("POST", f"/v1/tokens/{T}/release"): ("twA", {"json": {"owner": "alice"}}),
    ("POST", "/v1/tokens/claim-next"): ("wA", {"json": {"session": S}}),
    ("POST", "/v1/owners/alice/hand-over"): ("tA", {"json": {"receiver": "bob"}}),
    ("POST", "/v1/owners/hand-over?owner=alice"): ("tA", {"json": {"receiver": "bob"}}),
    ("POST", "/v1/log-in"): ("iA", {"json": {"owner": "alice"}}),
    ("POST", "/v1/verify"): ("vitwA", {"json": {"secret": "x"}}),
    ("POST", "/v1/tables/add_token"): ("A", {"json": {}}),
    ("GET", "/v1/events"): ("A", {}),
    ("GET", "/v1/keys"): ("aA", {}),
    ("POST", "/v1/keys"): ("A", {"json": {"role": "admin"}}),
    ("DELETE", f"/v1/keys/{K}"): ("A", {}),
    ("POST", f"/v1/keys/{K}/rotate"): ("A", {"json": {}}),
    ("GET", "/v1/webhooks"): ("A", {}),
    ("POST", "/v1/webhooks"): ("A", {"json": {"url": "https://app.example/hooks"}}),
    ("DELETE", f"/v1/webhooks/{W}"): ("A", {}),
    ("POST", f"/v1/webhooks/{W}/rotate"): ("A", {"json": {}}),
    ("GET", f"/v1/webhooks/{W}/dead"): ("A", {}),
    ("POST", f"/v1/webhooks/{W}/replay"): ("A", {"json": {}}),
    ("PATCH", f"/v1/webhooks/{W}"): ("A", {"json": {}}),
    ("GET", "/v1/owners"): ("aoA", {}),
    ("POST", "/v1/owners/rename"): ("A", {"json": {"owner": "alice", "to": "alicia"}}),
    ("POST", "/v1/owners/forget"): ("A", {"json": {"owner": "alice"}}),
    ("GET", "/v1/settings"): ("A", {}),
    ("PUT", "/v1/settings/max_age"): ("A", {"json": {"value": 60}}),
    ("DELETE", "/v1/settings/max_age"): ("A", {}),
    ("GET", f"/v1/explain/{S}"): ("aoA", {}),
    ("GET", "/v1/audit"): ("aA", {}),
    ("GET", "/metrics"): ("aoA", {}),
}
LETTERS = dict(zip(ROLES, "vitwraoA", strict=True))
OPEN = [
    "/forward-auth", "/forward-auth-tokens", "/livez", "/readyz", "/openapi.json", "/docs",
    "/.well-known/oauth-authorization-server",
]  # fmt: skip


@pytest.mark.share(3)
@pytest.mark.parametrize("place", MATRIX)
async def test_a_role_may_do_what_the_table_says_and_nothing_else(world: World, place: tuple[str, str]) -> None:
    method, path = place
    allowed, options = MATRIX[place]
    for role in ROLES:
        before = (await world.tokens.list_sessions()).items, len(await list_keys(world.tokens.store))
        made = role in world.keys
        answer = await world.ask(method, path, role=role, **options)

        if LETTERS[role] in allowed:
            assert answer.status_code not in (401, 403), (role, answer.text)
        else:
            after = (await world.tokens.list_sessions()).items, len(await list_keys(world.tokens.store))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), role
            assert after == (before[0], before[1] + (not made)), role


@pytest.mark.parametrize("world", ["memory"], indirect=True)
@pytest.mark.parametrize("place", MATRIX)
async def test_nothing_is_done_without_a_key(world: World, place: tuple[str, str]) -> None:
    method, path = place
    answer = await world.http.request(method, path, **MATRIX[place][1])

    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("path", OPEN)
async def test_these_addresses_ask_for_no_key(world: World, path: str) -> None:
    session = await world.open_session()
    answer = await world.http.get(path, headers={"Cookie": f"session={session['secret']}"})

    # What lets tokens in wants to be told which, and no key either.
    assert answer.status_code in ((400,) if path == "/forward-auth-tokens" else (200, 204))


async def test_the_table_of_this_test_names_every_address(world: World) -> None:
    ids = dict.fromkeys((S, T, K, W), "{id}")
    ids |= {"alice": "{owner:path}", "add_token": "{call}", "max_age": "{name}"}
    named = set()
    for method, address in MATRIX:
        path = address.partition("?")[0]
        for id, name in ids.items():
            path = path.replace(id, name)
        named.add((method, path))
    served = {(operation.method, operation.path) for operation in OPERATIONS}

    assert named - served == {("POST", "/introspect"), ("POST", "/revoke"), ("GET", "/metrics")}
    assert served - named == set()
    assert isinstance(world.service, Service)


def test_an_act_that_is_not_in_the_table_is_allowed_to_nobody() -> None:
    acts = {operation.act for operation in OPERATIONS}

    assert acts <= set(PERMISSIONS)
    assert all(roles <= set(ROLES) for roles in PERMISSIONS.values())
