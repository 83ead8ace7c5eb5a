"""What is done in the console: many at once, what is said afterwards, and where a log-in leads."""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.clock import ManualClock
from session_tokens.service.console.access import RECENT_S
from session_tokens.service.console.acts import BULK_MAX
from session_tokens.service.console.confirming import SAID
from session_tokens.service_keys.keys import create_key, get_key
from tests.helpers.console_desk import Desk, act, csrf_of
from tests.helpers.sqlite_files import behind

END = "/console/sessions/end"


async def after(browser: httpx.AsyncClient, answer: httpx.Response) -> str:
    """Return the text of the page to which an act leads."""
    assert answer.status_code == 303, answer.text
    return unescape((await browser.get(answer.headers["location"])).text)


def action_in(answer: httpx.Response) -> str:
    """Return where the form of an act on a page leads."""
    found = re.search(r'action="([^"]*)"[^>]*class="acts?"', answer.text)
    assert found is not None, answer.text
    return unescape(found[1])


def fields_in(answer: httpx.Response) -> dict[str, str]:
    """Return what the form of an act on a page sends along unseen."""
    form = answer.text.partition(f'action="{escape(action_in(answer))}"')[2].partition("</form>")[0]
    return {
        unescape(name): unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    }


def ids_in(answer: httpx.Response) -> str:
    found = re.search(r'name="ids" value="([^"]*)"', answer.text)
    assert found is not None, answer.text
    return found[1]


async def test_those_ticked_are_ended_when_their_number_is_typed(desk: Desk) -> None:
    ids = [(await desk.tokens.open_session("ann")).id for _ in range(3)]
    kept = await desk.tokens.open_session("bob")
    browser = await desk.entered("operator")
    csrf = await csrf_of(browser)
    asked = await browser.post(END, data={"csrf": csrf, "id": ids})
    wrong = await act(browser, END, ids=ids_in(asked), typed="2")
    living = len(await desk.tokens.list_sessions("ann"))
    await desk.tokens.destroy_session(ids[0])
    done = await act(browser, END, ids=ids_in(asked), typed="3")
    said = await after(browser, done)

    assert asked.status_code == 200 and "Type 3 to end 3 sessions" in asked.text
    assert (wrong.status_code, living) == (422, 3)
    assert "Ended 2 sessions. 1 was over already." in said
    assert "Ended 2 sessions" not in (await browser.get("/console/sessions")).text  # said once
    assert await desk.tokens.get_session(kept.id) is not None
    assert (await desk.tokens.list_sessions("ann")).items == []


async def test_before_many_are_ended_it_is_said_whose_they_are(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann", label="laptop", address="203.0.113.7")
    over = await desk.tokens.open_session("bob")
    await desk.tokens.destroy_session(over.id)
    browser = await desk.entered("operator")
    asked = await browser.post(END, data={"csrf": await csrf_of(browser), "id": [ann.id, over.id]})
    listed = asked.text.partition('class="ids"')[2].partition("</ul>")[0]
    first, second = listed.split("</li>")[:2]

    assert all(word in first for word in (ann.id, "ann", "laptop", "203.0.113.7"))
    assert over.id in second and "over already" in second


async def test_all_that_match_are_ended_beyond_the_page(desk: Desk) -> None:
    for number in range(60):
        await desk.tokens.open_session("ann", address=f"203.0.113.{number}")
    kept = await desk.tokens.open_session("ann", address="198.51.100.1")
    browser = await desk.entered("operator")
    page = (await browser.get("/console/sessions?q=203.0.113")).text
    button = re.search(r'name="matching" value="([^"]*)"[^>]*>End all that match \(60\)', page)
    assert button is not None
    asked = await act(browser, END, matching=unescape(button[1]))
    said = await after(browser, await act(browser, END, ids=ids_in(asked), typed="60"))

    assert "Ended 60 sessions." in said
    assert [session.id for session in await desk.tokens.list_sessions("ann")] == [kept.id]


async def test_one_act_ends_so_many_and_no_more(desk: Desk) -> None:
    for _ in range(BULK_MAX + 1):
        await desk.tokens.open_session("ann")
    asked = await act(await desk.entered(), END, matching="owner=ann")

    assert len(ids_in(asked).split()) == BULK_MAX
    assert f"One act ends {BULK_MAX} at the most." in asked.text


@pytest.mark.parametrize(
    "fields", [{}, {"id": "junk"}, {"matching": "q=nobody"}, {"matching": "%%%"}, {"ids": "junk", "typed": "1"}]
)
async def test_nothing_ticked_ends_nothing(desk: Desk, fields: dict[str, str]) -> None:
    answer = await act(await desk.entered(), END, **fields)

    assert answer.status_code == 422


async def test_all_that_match_is_never_more_than_what_was_asked_for(desk: Desk) -> None:
    """A text that is long in an address is not cut short, so that nothing behind it goes unread."""
    label = "𝔸" * 200
    theirs = await desk.tokens.open_session("ann", label="𝔸" * 63)
    browser = await desk.entered()
    asked = await act(browser, END, matching=urlencode({"q": label, "owner": "ann", "state": "detached"}))
    many = await act(browser, END, matching="&".join(f"q{n}=1" for n in range(500)))

    assert (asked.status_code, many.status_code) == (422, 422)
    assert await desk.tokens.get_session(theirs.id) is not None


async def test_who_only_looks_has_no_boxes_and_ends_none(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    browser = await desk.entered("audit")
    page = (await browser.get("/console/sessions")).text

    assert ann.id in page and 'type="checkbox"' not in page and "End those ticked" not in page
    assert (await act(browser, END, ids=ann.id, typed="1")).status_code == 403
    assert await desk.tokens.get_session(ann.id) is not None


async def test_ending_many_asks_for_a_recent_proof(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    browser = await desk.entered()
    desk.clock.advance(RECENT_S + 1)

    assert "Prove your key" in (await act(browser, END, ids=ann.id, typed="1")).text
    assert await desk.tokens.get_session(ann.id) is not None


async def test_what_was_asked_for_is_done_with_the_proof(desk: Desk) -> None:
    """What was ticked, typed or narrowed to need not be said again at three in the morning."""
    ids = [(await desk.tokens.open_session("ann/of .. the")).id for _ in range(3)]
    browser = await desk.entered()
    desk.clock.advance(RECENT_S + 1)
    asked = await browser.post(END, data={"csrf": await csrf_of(browser), "id": ids})
    again = await browser.post(action_in(asked), data={**fields_in(asked), "proof": "stk_wrong"})
    counting = await browser.post(action_in(again), data={**fields_in(again), "proof": desk.keys["admin"].secret})
    desk.clock.advance(RECENT_S + 1)
    late = await browser.post(action_in(counting), data={**fields_in(counting), "typed": "3"})
    said = await after(
        browser, await browser.post(action_in(late), data={**fields_in(late), "proof": desk.keys["admin"].secret})
    )
    await desk.tokens.open_session("ann/of .. the")
    desk.clock.advance(RECENT_S + 1)
    owner = await act(browser, "/console/owners/ann%2Fof%20..%20the/end", typed="ann/of .. the")
    ended = await after(
        browser, await browser.post(action_in(owner), data={**fields_in(owner), "proof": desk.keys["admin"].secret})
    )

    assert [403, 401, 200, 403] == [each.status_code for each in (asked, again, counting, late)]
    assert "End the sessions that were chosen" in asked.text
    assert "End all sessions of ann/of .. the" in owner.text
    assert "Type 3 to end 3 sessions" in counting.text
    assert "Ended 3 sessions." in said
    assert "Ended 1 session of ann/of .. the." in ended


async def test_an_act_that_fails_after_the_proof_leaves_its_visitor_in(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann")
    browser = await desk.entered()
    desk.clock.advance(RECENT_S + 1)
    proof = desk.keys["admin"].secret
    refused = await act(browser, "/console/owners/anonymous:x/forget", typed="anonymous:x", proof=proof)

    assert refused.status_code == 422
    assert (await act(browser, f"/console/sessions/{session.id}/end")).status_code == 303


async def test_what_is_not_done_leads_back(desk: Desk) -> None:
    spare = await create_key(desk.tokens.store, "verify")
    browser = await desk.entered()
    for path, back in (
        (END, "/console/sessions"),
        ("/console/owners/ann/end", "/console/owners/ann"),
        (f"/console/keys/{spare.key.id}/revoke", "/console/keys"),
    ):
        answer = await browser.post(path, data={"csrf": "stale"})
        assert answer.status_code == 403 and f'href="{back}"' in answer.text, path


async def test_each_act_says_what_happened_and_to_how_many(desk: Desk) -> None:
    sessions = [await desk.tokens.open_session("ann", detachable=True) for _ in range(3)]
    token = await desk.tokens.issue_token(sessions[0].id, 1)
    spare = await create_key(desk.tokens.store, "verify")
    browser = await desk.entered()
    first = f"/console/sessions/{sessions[0].id}"
    for path, fields, words in (
        (f"{first}/detach", {}, "Detached the session"),
        (f"{first}/attach", {}, "Attached the session with a new secret that nobody has seen"),
        (f"/console/tokens/{token.id}/end", {}, f"Ended the token {token.id}."),
        (f"/console/tokens/{token.id}/end", {}, "Nothing was done: no token lives under that id."),
        ("/console/owners/ann/end", {"typed": "ann"}, "Ended 3 sessions of ann."),
        ("/console/owners/ann/end", {"typed": "ann"}, "Nothing was done: ann had no session."),
        (f"{first}/end", {}, "Nothing was done: no session lives under that id."),
        ("/console/owners/ann/disable", {"typed": "ann"}, "Disabled ann"),
        ("/console/owners/ann/disable", {"typed": "ann"}, "ann was disabled already."),
        ("/console/owners/ann/enable", {}, "Enabled ann"),
        ("/console/owners/ann/enable", {}, "ann was not disabled."),
        ("/console/owners/ann/forget", {"typed": "ann"}, "Forgotten: they are "),
        (f"/console/keys/{spare.key.id}/revoke", {"confirmed": "yes"}, f"Revoked the key {spare.key.id}"),
        (f"/console/keys/{spare.key.id}/revoke", {"confirmed": "yes"}, "Nothing was done: there is no key of that id."),
        (f"/console/keys/{spare.key.id}/revoke", {}, "Nothing was done: there is no key of that id."),
    ):
        location = (await act(browser, path, **fields)).headers["location"]
        assert words in unescape((await browser.get(location)).text), path


async def test_a_key_is_revoked_when_it_was_said_whose_it_is(desk: Desk) -> None:
    """One wrong tap on a list must not shut a program out."""
    spare = await create_key(desk.tokens.store, "verify", label="the shop")
    browser = await desk.entered()
    path = f"/console/keys/{spare.key.id}/revoke"
    asked = await act(browser, path)
    kept = await get_key(desk.tokens.store, spare.key.id)
    said = await after(browser, await act(browser, path, confirmed="yes"))

    assert asked.status_code == 200 and "the shop" in asked.text and "Revoke this key" in asked.text
    assert kept is not None
    assert f"Revoked the key {spare.key.id}" in said
    assert await get_key(desk.tokens.store, spare.key.id) is None


async def test_forgetting_an_owner_is_for_admins_who_type_the_name(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann of the attic")
    admin, operator = await desk.entered("admin"), await desk.entered("operator")
    path = "/console/owners/ann%20of%20the%20attic"
    refused = await act(operator, f"{path}/forget", typed="ann of the attic")
    mistyped = await act(admin, f"{path}/forget", typed="ann")
    kept = await desk.tokens.get_session(session.id)
    is_offered = ["Forget" in (await browser.get(path)).text for browser in (admin, operator)]
    answer = await act(admin, f"{path}/forget", typed="ann of the attic")
    told = unescape((await admin.get(answer.headers["location"])).text)

    assert (refused.status_code, mistyped.status_code, answer.status_code) == (403, 422, 303)
    assert kept is not None
    assert is_offered == [True, False]
    assert "ann of the attic" not in told
    assert (await desk.tokens.list_sessions("ann of the attic")).items == []


@pytest.mark.parametrize("forged", ["x", "x.y", "WyJiYWQiLCB0cnVlXQ==." + "0" * 64, "."])
async def test_nobody_else_has_the_console_say_something(desk: Desk, forged: str) -> None:
    browser = await desk.entered()
    browser.cookies.set(SAID.name, forged, domain="desk.test", path="/console")
    page = await browser.get("/console")

    assert page.status_code == 200
    assert 'role="status"' not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/console/sessions?q=a%26b&sort=oldest",
        "/console/owners/a%2Fe",
        "/console/owners?owner=..",
        "/console/audit",
    ],
)
async def test_a_deep_link_survives_the_log_in(desk: Desk, path: str) -> None:
    desk.keys["admin"] = await create_key(desk.tokens.store, "admin")
    browser = desk.browser()
    entrance = await browser.get(path)
    back = re.search(r'name="back" value="([^"]*)"', entrance.text)
    assert back is not None
    wrong = await browser.post("/console/enter", data={"secret": "stk_wrong", "back": unescape(back[1])})
    entered = await browser.post(
        "/console/enter", data={"secret": desk.keys["admin"].secret, "back": unescape(back[1])}
    )

    assert back[0] in wrong.text
    assert entered.headers["location"] == path


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.test/", "//evil.test/console", "/console//evil.test", "/console/..\\evil", "/consolex",
        "/v1/sessions", "/console/\r\nSet-Cookie: a=b", "/console/é", "/console/#x", "/console/?" + "x" * 3_000, "",
        "/console/../v1/sessions", "/console/x/%2e%2E/../docs", "/console/.%2e", "/console/./x",
    ],
)  # fmt: skip
async def test_a_log_in_leads_nowhere_else(desk: Desk, back: str) -> None:
    key = await create_key(desk.tokens.store, "admin")
    entered = await desk.browser().post("/console/enter", data={"secret": key.secret, "back": back})

    assert entered.headers["location"] == "/console"


async def test_one_that_cannot_be_read_keeps_no_other_from_being_ended(tmp_path: Path) -> None:
    path, clock = tmp_path / "sessions.db", ManualClock()
    async with await AsyncSessionTokens.open(f"sqlite:///{path}", clock=clock, sweep=False) as tokens:
        ids = [(await tokens.open_session("ann")).id for _ in range(3)]
        behind(path, "UPDATE sessions SET mac = '?' || mac WHERE id = ?", ids[1])
        browser = await Desk(tokens, clock).entered()
        asked = await browser.post(END, data={"csrf": await csrf_of(browser), "id": ids})
        said = await after(browser, await act(browser, END, ids=ids_in(asked), typed="3"))

        assert asked.status_code == 200 and asked.text.count("cannot be read, and stays") == 1
        assert f"Ended 2 sessions. Not ended, as 1 cannot be read: {ids[1]};" in said
        assert (await tokens.list_sessions("ann")).items == []


async def test_a_key_with_a_rate_is_held_to_it_in_the_console_too(desk: Desk) -> None:
    """Its requests with the secret and its pages are taken out of one bucket."""
    desk.keys["operator"] = await create_key(desk.tokens.store, "operator", rate=1)
    bearer = {"Authorization": f"Bearer {desk.keys['operator'].secret}"}
    rated, free = await desk.entered("operator"), await desk.entered()
    pages = [await rated.get("/console/sessions") for _ in range(40)]
    parts = [await rated.get("/console/overview") for _ in range(40)]
    acts = [await rated.post("/console/owners/alice/disable", data={"csrf": "x"}) for _ in range(40)]
    others = [await free.get("/console/sessions") for _ in range(10)]
    by_turns = [
        one for _ in range(20)
        for one in (await rated.get("/console/sessions"), await free.get("/v1/sessions", headers=bearer))
    ]  # fmt: skip

    for answers in (pages, parts, acts):
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and refused[0].headers["retry-after"] == "1" and "1 requests a second" in refused[0].text
    assert {page.status_code for page in others} == {200}
    assert {answer.status_code for answer in by_turns[1::2]} >= {429}
