"""The console on each server: an operator enters, sees what lives, and ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.audit.log import Audit
from session_tokens.service.app import Options, Service
from session_tokens.service.console.app import Console
from session_tokens.service_keys.keys import create_key
from tests.helpers.console_desk import PAGES, act


class Desk:
    """A console on a server's store, and a browser in which an admin key entered."""

    def __init__(self, tokens: AsyncSessionTokens, browser: httpx.AsyncClient) -> None:
        self.tokens, self.browser = tokens, browser

    async def page(self, path: str) -> str:
        """Return the text of a page that is there."""
        response = await self.browser.get(path, follow_redirects=True)
        assert response.status_code == 200, (path, response.text)
        return response.text


@pytest.fixture(params=["postgres", "valkey"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    async with await AsyncSessionTokens.open(url, pepper=bytes(range(32)), sweep=False, audit=Audit()) as tokens:
        service = Service(tokens, Options(more_routes=Console(tokens).routes))
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="https://desk.test") as browser:
            key = await create_key(tokens.store, "admin", label="desk 1", audit=tokens.audit)
            entered = await browser.post("/console/enter", data={"secret": key.secret})
            assert entered.status_code == 303, entered.text
            yield Desk(tokens, browser)


async def filled(tokens: AsyncSessionTokens) -> dict[str, Any]:
    """Put something onto every page."""
    alice = await tokens.open_session("alice", detachable=True, label="laptop")
    bob = await tokens.open_session("bob {☂}", detachable=True)
    seat = await tokens.issue_token(alice.id, {"seat": 12}, transferable=True)
    await tokens.offer_token(seat.id, price="12.50", currency="EUR")
    waiting = await tokens.issue_token((await tokens.open_session("gone")).id, "waits", transferable=True)
    await tokens.destroy_sessions("gone")
    await tokens.detach_session(bob.id)
    return {"alice": alice, "bob": bob, "seat": seat, "waiting": waiting}


async def test_every_page_shows_what_is_in_the_store(desk: Desk) -> None:
    made = await filled(desk.tokens)
    pages = {path: await desk.page(path) for path in PAGES if "nothing" not in path}

    assert "alice" in pages["/console/sessions"] and "laptop" in pages["/console/sessions"]
    assert "bob {☂}" in pages["/console/sessions?state=detached"]
    assert made["seat"].id in pages["/console/tokens"] and "12.50" in pages["/console/market"]
    assert made["waiting"].id in pages["/console/unassigned"]
    assert made["seat"].id in pages["/console/owners/alice"]
    assert "key made" in pages["/console/audit"] and made["alice"].id in pages["/console/audit"]
    assert "desk 1" in pages["/console/keys"]
    assert "alice" in await desk.page(f"/console/sessions/{made['alice'].id}")
    assert "seat" in await desk.page(f"/console/tokens/{made['seat'].id}?value=shown")
    for secret in (thing.secret for thing in made.values()):
        assert not any(secret in page for page in pages.values())


async def test_a_session_is_detached_attached_and_ended(desk: Desk) -> None:
    made = await filled(desk.tokens)
    path = f"/console/sessions/{made['alice'].id}"
    detached = await act(desk.browser, f"{path}/detach")
    while_detached = await desk.tokens.verify_session(made["alice"].secret)
    attached = await act(desk.browser, f"{path}/attach")
    ended = await act(desk.browser, f"{path}/end")
    entries = await desk.page("/console/audit")

    assert [answer.status_code for answer in (detached, attached, ended)] == [303] * 3
    assert while_detached is None
    assert await desk.tokens.get_session(made["alice"].id) is None
    assert made["alice"].id not in await desk.page("/console/sessions")
    assert made["seat"].id in await desk.page("/console/unassigned")
    assert all(f">session {what}</" in entries for what in ("opened", "detached", "attached", "ended"))


async def test_all_sessions_of_an_owner_are_ended_and_nothing_by_a_forged_form(desk: Desk) -> None:
    made = await filled(desk.tokens)
    forged = await desk.browser.post(f"/console/sessions/{made['alice'].id}/end", data={"csrf": "0" * 64})
    mistyped = await act(desk.browser, "/console/owners/alice/end", typed="alic")
    before = (await desk.tokens.list_sessions("alice")).items
    ended = await act(desk.browser, "/console/owners/alice/end", typed="alice")

    assert (forged.status_code, mistyped.status_code, ended.status_code) == (403, 422, 303)
    assert [session.id for session in before] == [made["alice"].id]
    assert (await desk.tokens.list_sessions("alice")).items == []


async def test_leaving_is_an_end_on_the_server(desk: Desk) -> None:
    left = await act(desk.browser, "/console/leave")

    assert left.status_code == 303
    assert "Secret of the service key" in await desk.page("/console")
