"""Lists and the search of the console: what is found, in which order, how far was looked, and what that costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Any

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.audit.log import Audit
from session_tokens.contract.queries import Query
from session_tokens.crypto.minting import new_id
from session_tokens.crypto.secret_form import SESSION_ID, TOKEN_ID
from session_tokens.service.console.lists import LOOKED_AT, SHOWN
from session_tokens.testing import ManualClock
from tests.helpers.console_desk import Desk

FEW, MANY = LOOKED_AT + 100, 2 * LOOKED_AT + 100
PATHS = [
    "/console", "/console/overview", "/console/sessions", "/console/sessions?sort=oldest",
    "/console/sessions?sort=ends", "/console/sessions?q=nobody", "/console/sessions?state=detached",
    "/console/sessions?who=visitors", "/console/tokens", "/console/tokens?q=nobody", "/console/market",
    "/console/unassigned", "/console/owners", "/console/owners?sort=oldest", "/console/owners?sort=sessions",
    "/console/owners?q=nobody", "/console/owners?which=disabled", "/console/owners/owner%201",
    "/console/find?q=nobody", "/console/audit",
]  # fmt: skip


async def text_of(browser: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """Return the text of a page that answers with a status."""
    response = await browser.get(path, follow_redirects=True)
    assert response.status_code == status, (path, response.status_code)
    return unescape(response.text)


def ids_on(text: str) -> list[str]:
    """Return the ids of sessions in a list, in their order."""
    return re.findall(r'name="id" value="(ses_\w+)"', text)


def link_on(text: str, id: str) -> str | None:
    """Return where a link leads, by its id."""
    found = re.search(rf'href="([^"]+)"[^>]* id="{id}"', text)
    return None if found is None else found[1]


async def opened(desk: Desk, count: int) -> list[str]:
    """Open sessions one after the other; return their ids, the newest first."""
    ids = []
    for number in range(count):
        desk.clock.advance(ms=1)
        ids.append((await desk.tokens.open_session(f"owner {number}", label=f"label {number}")).id)
    return ids[::-1]


async def test_sessions_are_listed_the_newest_first_and_the_list_goes_both_ways(desk: Desk) -> None:
    ids = await opened(desk, 2 * SHOWN + 7)
    browser = await desk.entered()
    first = await text_of(browser, "/console/sessions")
    second = await text_of(browser, link_on(first, "next-page") or "")
    third = await text_of(browser, link_on(second, "next-page") or "")
    back = await text_of(browser, link_on(third, "previous-page") or "")
    front = await text_of(browser, link_on(back, "previous-page") or "")

    assert ids_on(first) + ids_on(second) + ids_on(third) == ids
    assert (ids_on(back), ids_on(front)) == (ids_on(second), ids_on(first))
    assert link_on(first, "previous-page") is None and link_on(front, "previous-page") is None
    assert link_on(third, "next-page") is None
    assert "1–50 of 107<" in first and "51–100 of 107<" in second and "101–107 of 107<" in third
    assert ids_on(await text_of(browser, "/console/sessions?sort=oldest")) == ids[::-1][:SHOWN]


async def test_lists_are_narrowed_and_sorted(desk: Desk) -> None:
    short = await desk.tokens.open_session("ann", max_age=60, address="203.0.113.7", detachable=True)
    desk.clock.advance(1)
    long = await desk.tokens.open_session("bob", max_age=None, user_agent="Curl/8")
    desk.clock.advance(1)
    middle = await desk.tokens.open_session("cyn", max_age=600, label="Laptop")
    await desk.tokens.detach_session(short.id)
    browser = await desk.entered("operator")
    expected = {
        "": [middle.id, long.id, short.id],
        "?sort=ends": [middle.id, short.id, long.id],
        "?state=detached": [short.id],
        "?state=attached": [middle.id, long.id],
        "?q=0.113": [short.id],
        "?q=LAPTOP": [middle.id],
        "?q=curl": [long.id],
        f"?q={long.id[6:14]}": [long.id],
        "?owner=ann": [short.id],
        "?q=nothing-like-it": [],
        "?state=sideways&sort=x&who=y": [middle.id, long.id, short.id],
    }
    found = {query: ids_on(await text_of(browser, "/console/sessions" + query)) for query in expected}

    assert found["?sort=ends"][-1] == long.id
    assert {query: sorted(ids) for query, ids in found.items()} == {
        query: sorted(ids) for query, ids in expected.items()
    }
    assert found[""] == expected[""]
    assert "No session here." in await text_of(browser, "/console/sessions?q=nothing-like-it")


async def test_the_consoles_own_sessions_are_listed_when_asked_for_and_in_no_figure(desk: Desk) -> None:
    browser = await desk.entered()
    own = (await desk.tokens.list_sessions(f"console:{desk.keys['admin'].key.id}")).items[0]
    overview = await text_of(browser, "/console/overview")

    assert ids_on(await text_of(browser, "/console/sessions")) == []
    assert ids_on(await text_of(browser, "/console/sessions?who=console")) == [own.id]
    assert "<strong>0</strong><span>Sessions alive</span>" in overview
    assert own.id not in overview and "opened <b>0</b>" in overview
    assert "console:" not in await text_of(browser, "/console/owners")


def owners_on(text: str) -> list[str]:
    """Return who is in a list of owners, in its order."""
    return re.findall(r'data-label="Owner"><div><a href="[^"]*">([^<]*)</a>', text)


async def test_owners_are_listed_the_newest_first_both_ways_and_sorted(desk: Desk) -> None:
    count = 2 * SHOWN + 7
    await opened(desk, count)
    for number in range(count):  # their oldest session is what counts
        desk.clock.advance(ms=1)
        for _ in range(3 if number == 30 else 1):
            await desk.tokens.open_session(f"owner {number}")
    names = [f"owner {number}" for number in range(count - 1, -1, -1)]
    browser = await desk.entered("operator")
    pages = [await text_of(browser, "/console/owners")]
    while (way := link_on(pages[-1], "next-page")) is not None:
        pages.append(await text_of(browser, way))
    back = await text_of(browser, link_on(pages[-1], "previous-page") or "")
    front = await text_of(browser, link_on(back, "previous-page") or "")
    narrowed = owners_on(await text_of(browser, "/console/owners?q=OWNER+10&sort=oldest"))
    by_name = owners_on(await text_of(browser, "/console/owners?sort=name"))

    assert names == [name for page in pages for name in owners_on(page)]
    assert [owners_on(back), owners_on(front)] == [owners_on(pages[-2]), owners_on(pages[0])]
    assert link_on(pages[0], "previous-page") is None and link_on(front, "previous-page") is None
    assert "1–50 of 107<" in pages[0] and "101–107 of 107<" in pages[2]
    assert ["owner 10", "owner 100"] == narrowed[:2] and 8 == len(narrowed)
    assert owners_on(await text_of(browser, "/console/owners?sort=oldest")) == names[::-1][:SHOWN]
    assert "owner 30" == owners_on(await text_of(browser, "/console/owners?sort=sessions"))[0]
    assert sorted(names)[:SHOWN] == by_name


async def test_disabled_owners_beyond_the_first_page_are_reached_and_left(desk: Desk) -> None:
    for number in range(SHOWN + 3):
        await desk.tokens.disable_owner(f"owner {number}")
    browser = await desk.entered("operator")
    first = await text_of(browser, "/console/owners?which=disabled")
    second = await text_of(browser, link_on(first, "next-page") or "")
    again = await text_of(browser, link_on(second, "previous-page") or "")

    assert SHOWN + 3 == len({*owners_on(first), *owners_on(second)})
    assert owners_on(again) == owners_on(first)


async def test_the_audit_log_is_left_for_its_newest_entries() -> None:
    clock = ManualClock()
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False, audit=Audit()) as tokens:
        desk = Desk(tokens, clock)
        await opened(desk, SHOWN + 3)
        browser = await desk.entered()
        first = await text_of(browser, "/console/audit")
        second = await text_of(browser, link_on(first, "next-page") or "")

        assert link_on(first, "previous-page") is None
        assert "/console/audit" == link_on(second, "previous-page")


async def test_finding_takes_any_part_of_what_somebody_knows(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann@example.org", label="tablet", address="198.51.100.4")
    annika = await desk.tokens.open_session("annika@example.org")
    token = await desk.tokens.issue_token(ann.id, 1, transferable=True, tag="a seat")
    browser = await desk.entered()
    for part in ("EXAMPLE.org", "ann"):
        page = await text_of(browser, f"/console/find?q={part}")
        assert "2 owners" in page and ann.id in page and annika.id in page and token.id in page, part
    for part in ("tablet", "100.4", ann.id[5:15]):
        page = await text_of(browser, f"/console/find?q={part}")
        assert ann.id in page and annika.id not in page, part
    for chance in (ann.id[5:8], ann.id[5:15].swapcase()):  # what is in ids by chance finds none
        await text_of(browser, f"/console/find?q={chance}", 404)
    by_tag = await text_of(browser, "/console/find?q=a+seat")
    exactly = await browser.get("/console/find?q=annika@example.org")

    assert token.id in by_tag and "All sessions that live were looked through." in by_tag
    assert exactly.headers["location"] == "/console/owners/annika%40example.org"


async def test_nothing_is_known_under_what_nobody_ever_was(desk: Desk) -> None:
    browser = await desk.entered()
    for path in (
        "/console/find?q=nobody", "/console/owners/nobody", "/console/owners?owner=nobody", "/console/owners?owner=",
        f"/console/sessions/{new_id(SESSION_ID)}", f"/console/tokens/{new_id(TOKEN_ID)}", "/console/sessions/junk",
    ):  # fmt: skip
        page = await text_of(browser, path, 404)
        assert "Nothing is known under that." in page, path
        assert ">Disable<" not in page and "End all sessions" not in page, path


async def test_who_owns_tokens_or_is_disabled_is_known_without_a_session(desk: Desk) -> None:
    await desk.tokens.disable_owner("mallory")
    giver = await desk.tokens.open_session("giver")
    token = await desk.tokens.issue_token(giver.id, 1, transferable=True)
    await desk.tokens.transfer_token(token.id, giver="giver", receiver="parker")
    browser = await desk.entered()

    assert token.id in await text_of(browser, "/console/owners/parker")
    assert ">Enable again<" in await text_of(browser, "/console/owners/mallory")


async def test_disabled_owners_are_listed_marked_and_offered_the_one_act_that_changes_something(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    await desk.tokens.issue_token(ann.id, 1, transferable=True)
    browser = await desk.entered()
    before = await text_of(browser, "/console/owners/ann")
    await desk.tokens.disable_owner("ann")
    after = await text_of(browser, "/console/owners/ann")
    mark = '<span class="badge ended">disabled</span>'

    assert ">Disable<" in before and ">Enable again<" not in before and mark not in before
    assert ">Disable<" not in after and ">Enable again<" in after and mark in after
    assert "ann" in await text_of(browser, "/console/owners?which=disabled")
    assert mark in await text_of(browser, "/console/unassigned")  # beside the previous owner
    assert "No owner has a living session." in await text_of(browser, "/console/owners")


async def test_unassigned_tokens_name_their_previous_owner(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann of before")
    await desk.tokens.issue_token(ann.id, 1, transferable=True)
    await desk.tokens.destroy_session(ann.id)
    page = await text_of(await desk.entered(), "/console/unassigned")

    assert "Previous owner" in page and ">ann of before</a>" in page


async def test_tokens_beyond_the_first_page_are_reached(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    ids: list[str] = []
    for number in range(SHOWN + 3):
        desk.clock.advance(ms=1)
        ids.append((await desk.tokens.issue_token(ann.id, number)).id)
    browser = await desk.entered()
    page = await text_of(browser, f"/console/sessions/{ann.id}")
    every = re.search(r'href="(/console/tokens\?session=[^"]+)"', page)
    assert every is not None
    listed = await text_of(browser, every[1])
    rest = await text_of(browser, link_on(listed, "next-page") or "")

    assert ids[-1] in page and ids[0] not in page
    assert ids[0] not in listed and ids[0] in rest
    assert "51–53 of 53<" in rest


async def test_data_are_shown_when_asked_for(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann", data={"basket": ["canary"]})
    browser = await desk.entered()

    assert "canary" not in await text_of(browser, f"/console/sessions/{ann.id}")
    assert '"canary"' in await text_of(browser, f"/console/sessions/{ann.id}?data=shown")


async def test_what_ended_is_explained(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    await desk.tokens.destroy_session(ann.id, reason="theft")
    browser = await desk.entered()
    for path, status in ((f"/console/sessions/{ann.id}", 404), (f"/console/explain?id={ann.id}", 200)):
        page = await text_of(browser, path, status)
        assert "it is taken to be stolen" in page, path
    assert "Nothing is known under that." in await text_of(browser, f"/console/explain?id={new_id(SESSION_ID)}")
    assert "That is no id" in await text_of(browser, "/console/explain?id=alice")


@pytest.mark.parametrize("query", ["after=junk", "before=junk", "after=9.ses_x", "before=tok_1"])
async def test_places_that_no_list_gave_are_refused(desk: Desk, query: str) -> None:
    await text_of(await desk.entered(), f"/console/sessions?{query}", 422)


async def test_numbers_that_are_none_begin_the_list(desk: Desk) -> None:
    await opened(desk, 2)
    browser = await desk.entered()
    for given in ("x", "-5", "0", "9" * 40, "٣"):
        assert len(ids_on(await text_of(browser, f"/console/sessions?from={given}"))) == 2, given


class Counted:
    """Counts the records that a store answers."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records = 0
        read = desk.tokens.store.read

        async def counting(queries: Sequence[Query]) -> Any:
            snapshot = await read(queries)
            self.records += sum(len(found.value) if isinstance(found.value, list) else 1 for found in snapshot.found)
            return snapshot

        monkeypatch.setattr(desk.tokens.store, "read", counting)

    async def of(self, browser: httpx.AsyncClient, path: str) -> int:
        """Return how many records a page reads."""
        before = self.records
        await browser.get(path)
        return self.records - before


async def test_a_page_over_many_reads_what_one_over_few_does(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how far it looked, with a link that goes on."""
    counted = Counted(desk, monkeypatch)
    browser = await desk.entered()
    first = await desk.tokens.open_session("first of all")
    desk.clock.advance(ms=1)
    for number in range(FEW):
        await desk.tokens.open_session(f"owner {number}", detachable=True)
        await desk.tokens.issue_token(None, number)
    few = {path: await counted.of(browser, path) for path in PATHS}
    for number in range(FEW, MANY):
        await desk.tokens.open_session(f"owner {number}", detachable=True)
        await desk.tokens.issue_token(None, number)
    many = {path: await counted.of(browser, path) for path in PATHS}
    far = await text_of(browser, "/console/find?q=of+all", 404)
    further = await text_of(browser, "/console/sessions?q=of+all")
    for _ in range(MANY // LOOKED_AT + 1):
        if first.id in further:
            break
        assert "None in the part that was looked through" in further
        further = await text_of(browser, link_on(further, "next-page") or "")

    assert {path: (few[path], many[path]) for path in PATHS if many[path] > 1.3 * few[path]} == {}
    assert max(many.values()) < 3 * LOOKED_AT
    assert "the 1,000 opened last were looked through" in far
    assert first.id in further
