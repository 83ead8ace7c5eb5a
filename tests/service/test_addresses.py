"""Addresses reach a route in the letters that it is written in, and in no others."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from tests.helpers.running_service import RunningService, request, status_of
from tests.helpers.service_world import World

ADDRESSES = [
    "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/.well-known/oauth-authorization-server",
    "/console", "/console/keys", "/console/enter", "/introspect", "/revoke",
    "/v1/sessions", "/v1/keys", "/v1/owners/addressed/sessions", "/v1/owners/addressed/disable", "/forward-auth",
    "/forward-auth-tokens",
]  # fmt: skip


def spellings(address: str) -> list[str]:
    """Return other spellings of the fixed parts of an address that a decoder takes for the same."""
    parts = [part for part in address.split("/") if part not in ("", "addressed")]
    found = []
    for part in parts:
        encoded = f"%{ord(part[0]):02x}{part[1:]}"
        found.append(address.replace(f"/{part}", f"/{encoded}", 1))
        found.append(address.replace(f"/{part}", f"/{part[:-1]}%{ord(part[-1]):02X}", 1))
        found.append(address.replace(f"/{part}", f"%2F{part}", 1) if part != parts[0] else f"/%2f{part}")
    return [*found, address + "%2f", address + "%00", address + "/%2e", "/%2e" + address, "/x/%2e%2e" + address]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_encoded_letter_or_slash_reaches_no_route(running: RunningService, address: str) -> None:
    bearer = {"Authorization": f"Bearer {running.secret}"}
    there = {status_of(running.raw(request(method, address, bearer))) for method in ("GET", "POST", "DELETE")}
    elsewhere = {
        spelling: status_of(running.raw(request(method, spelling, bearer)))
        for method in ("GET", "POST", "DELETE")
        for spelling in spellings(address)
        if not spelling.startswith(("/forward-auth/", "/forward-auth-tokens/"))
    }

    assert there != {404}
    assert set(elsewhere.values()) == {404}, elsewhere


@pytest.mark.parametrize("owner", ["a/b", "a/sessions", "a/b/disable", "%2f", "100%", "a b", "müller", "a?b#c", "%"])
async def test_an_owner_in_the_path_is_decoded_once(world: World, owner: str) -> None:
    opened = await world.open_session(owner)
    ended = await world.ask("DELETE", f"/v1/owners/{quote(owner, safe='')}/sessions")
    introspected = await world.introspect(opened["secret"])

    assert (ended.status_code, ended.json()) == (200, {"ended": 1})
    assert introspected == {"active": False}


async def test_an_owner_whose_name_ends_like_a_route_is_not_taken_for_it(world: World) -> None:
    """Decoded before it is routed, the address of an owner would be one of another owner's acts."""
    await world.open_session("alice")
    answer = await world.ask("POST", "/v1/owners/alice%2Fdisable", json={})
    still = await world.ask("GET", "/v1/sessions?owner=alice")

    assert answer.status_code == 404
    assert len(still.json()["sessions"]) == 1


@pytest.mark.parametrize("with_raw_path", [True, False])
async def test_servers_that_give_no_raw_path_are_served_too(world: World, with_raw_path: bool) -> None:
    opened = await world.open_session("100%25/b")
    inner = world.service

    async def server(scope: dict[str, object], receive: object, send: object) -> None:
        if not with_raw_path:
            scope = {name: value for name, value in scope.items() if name != "raw_path"}
        await inner(scope, receive, send)  # type: ignore[arg-type]

    headers = {"Authorization": f"Bearer {(await world.key()).secret}"}
    transport = httpx.ASGITransport(server)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test", headers=headers) as http:
        answer = await http.delete(f"/v1/owners/{quote('100%25/b', safe='')}/sessions")

    assert answer.json() == {"ended": 1}
    assert await world.introspect(opened["secret"]) == {"active": False}
