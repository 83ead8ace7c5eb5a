"""Service keys may be bound to networks, and tell when they were used last without costing each request a write."""

from __future__ import annotations

import asyncio
import ipaddress

import httpx
import pytest

from session_tokens import AsyncSessionTokens, InvalidInput
from session_tokens.audit.reader import AuditRead, read
from session_tokens.contract.queries import Get
from session_tokens.errors import StoreUnavailable
from session_tokens.rules.service_keys import USED
from session_tokens.service.app import Options, Service
from session_tokens.service_keys import keys
from tests.helpers.service_world import World


async def asked_from(
    world: World, source: str, secret: str, *, forwarded: str | None = None, trusted: str | None = None
) -> httpx.Response:
    """Ask for the list of sessions from an address, perhaps through a proxy."""
    networks = () if trusted is None else (ipaddress.ip_network(trusted),)
    transport = httpx.ASGITransport(Service(world.tokens, Options(trusted_proxies=networks)), client=(source, 4711))
    headers = {"Authorization": f"Bearer {secret}"} | ({} if forwarded is None else {"X-Forwarded-For": forwarded})
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as http:
        return await http.get("/v1/sessions", headers=headers)


@pytest.mark.parametrize(
    ("networks", "source", "status"),
    [
        (["10.0.0.0/8"], "10.1.2.3", 200),
        (["10.0.0.0/8"], "11.1.2.3", 403),
        (["192.0.2.7", "2001:db8::/32"], "192.0.2.7", 200),
        (["192.0.2.7", "2001:db8::/32"], "192.0.2.8", 403),
        (["192.0.2.7", "2001:db8::/32"], "2001:db8::9", 200),
        (["10.0.0.0/8"], "::ffff:10.0.0.9", 200),
        (["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"], "10.1.2.3", 200),
        (["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"], "::ffff:192.0.2.7", 200),
        (["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"], "192.0.2.8", 403),
        (["10.0.0.0/8"], "local", 403),
        ([], "203.0.113.9", 200),
        (None, "203.0.113.9", 200),
    ],
)
async def test_a_key_is_used_from_its_networks_only(
    world: World, networks: list[str] | None, source: str, status: int
) -> None:
    issued = await keys.create_key(world.tokens.store, "audit", label="nightly", networks=networks)
    answer = await asked_from(world, source, issued.secret)

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "forbidden"
        assert "address" in answer.json()["detail"]


async def test_behind_a_proxy_the_address_is_what_the_proxy_says_and_nobody_else(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit", networks=["10.0.0.0/8"])
    told = await asked_from(world, "127.0.0.1", issued.secret, forwarded="203.0.113.9, 10.0.0.5", trusted="127.0.0.0/8")
    other = await asked_from(
        world, "127.0.0.1", issued.secret, forwarded="10.0.0.5, 203.0.113.9", trusted="127.0.0.0/8"
    )
    lied = await asked_from(world, "203.0.113.9", issued.secret, forwarded="10.0.0.5")

    assert [told.status_code, other.status_code, lied.status_code] == [200, 403, 403]


async def test_networks_are_asked_for_and_shown_over_http_and_go_on_when_rotated(world: World) -> None:
    body = {"role": "audit", "label": "nightly", "networks": ["10.0.0.0/8", "192.0.2.7"]}
    made = (await world.ask("POST", "/v1/keys", json=body)).json()
    new = (await world.ask("POST", f"/v1/keys/{made['id']}/rotate", json={})).json()
    listed = {key["id"]: key for key in (await world.ask("GET", "/v1/keys")).json()["keys"]}

    for id in (made["id"], new["id"]):
        assert (listed[id]["label"], listed[id]["networks"]) == ("nightly", ["10.0.0.0/8", "192.0.2.7/32"])
    assert (await asked_from(world, "11.0.0.1", new["secret"])).status_code == 403


@pytest.mark.parametrize("networks", [["10.0.0.1/8"], ["everywhere"], [""], ["10.0.0.0/8"] * 17])
async def test_networks_that_are_none_are_refused(world: World, networks: list[str]) -> None:
    answer = await world.ask("POST", "/v1/keys", json={"role": "audit", "networks": networks})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    with pytest.raises(InvalidInput, match="network"):
        await keys.create_key(world.tokens.store, "audit", networks=networks)
    with pytest.raises(TypeError):
        await keys.create_key(world.tokens.store, "audit", networks="10.0.0.0/8")


async def test_who_writes_to_the_store_cannot_take_the_networks_away(world: World) -> None:
    """They are under the MAC of the key's own record, and not a setting that could be deleted."""
    issued = await keys.create_key(world.tokens.store, "audit", label="x", networks=["10.0.0.0/8"])
    row = await keys.get_key(world.tokens.store, issued.key.id)

    assert row is not None and row.networks == "10.0.0.0/8"
    assert row.label == "x"


# When it was used last.


async def settled() -> None:
    """Let what was begun in the background be done."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*others)


async def used_at(world: World, id: str) -> int | None:
    key = next(key for key in (await world.ask("GET", "/v1/keys")).json()["keys"] if key["id"] == id)
    at: int | None = key["last_used_at"]
    return at


async def stored_use(tokens: AsyncSessionTokens, id: str) -> str | None:
    """Return what is written down."""

    def reading() -> AuditRead[str | None]:
        answer = yield [Get("setting", USED + id)]
        text: str | None = answer.found[0].value
        return text

    return await read(tokens.store, reading())


async def test_a_key_tells_when_it_was_used_last_and_is_written_down_once_a_minute(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit")
    never = await used_at(world, issued.key.id)
    began = world.clock.now()
    for _ in range(3):
        await asked_from_same(world, issued.secret)
        await settled()
        world.clock.advance(10)
    within = await used_at(world, issued.key.id)
    world.clock.advance(30)
    world.service.callers.uses.forget()
    await asked_from_same(world, issued.secret)
    await settled()

    assert never is None
    assert within == began
    assert await used_at(world, issued.key.id) == began + 60_000


async def asked_from_same(world: World, secret: str) -> None:
    answer = await world.http.get("/v1/sessions", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200


async def test_two_processes_do_not_write_it_twice_a_minute(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit")
    await asked_from_same(world, issued.secret)
    await settled()
    first = await stored_use(world.tokens, issued.key.id)
    world.clock.advance(59)
    await asked_from(world, "127.0.0.1", issued.secret)
    await settled()

    assert first is not None
    assert await stored_use(world.tokens, issued.key.id) == first


async def test_a_refused_use_is_none(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit", networks=["10.0.0.0/8"])
    await asked_from(world, "203.0.113.9", issued.secret)
    await settled()

    assert await used_at(world, issued.key.id) is None


async def test_what_a_key_left_behind_goes_with_it(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "audit")
    await asked_from_same(world, issued.secret)
    await settled()
    before = await stored_use(world.tokens, issued.key.id)
    await keys.revoke_key(world.tokens.store, issued.key.id)

    assert before is not None
    assert await stored_use(world.tokens, issued.key.id) is None


async def test_a_store_that_cannot_be_written_refuses_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await keys.create_key(world.tokens.store, "audit")

    async def unavailable(*args: object) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(world.tokens.store, "run", unavailable)
    await asked_from_same(world, issued.secret)
    await settled()
