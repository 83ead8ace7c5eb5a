"""The console over HTTP: who may enter, see and do, and what every answer carries."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.clock import ManualClock
from session_tokens.records import Page
from session_tokens.service.console.access import COOKIE, IDLE_S, RECENT_S
from session_tokens.service.console.app import HEADERS
from session_tokens.service.console.html import h
from session_tokens.service.console.overview import COUNT_MAX
from session_tokens.service_keys.keys import create_key, revoke_key
from tests.helpers.console_desk import PAGES, Desk, act, csrf_of, everything

ROOT = Path(__file__).parents[3]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE x",
    "{{7*7}}",
    "../../etc",
    "=1+1",
]


@pytest.mark.parametrize("path", [*PAGES, "/console/sessions/ses_nothing", "/console/tokens/tok_nothing"])
async def test_every_answer_carries_the_headers(desk: Desk, path: str) -> None:
    await everything(desk)
    for browser in (desk.browser(), await desk.entered()):
        response = await browser.get(path)

        assert response.status_code < 500
        for name, value in HEADERS.items():
            if not (name == "Cache-Control" and "/static/console" in path):
                assert response.headers[name] == value, name
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_the_cookie_is_for_this_host_alone(desk: Desk) -> None:
    await desk.entered()
    response = await desk.browser().post("/console/enter", data={"secret": desk.keys["admin"].secret})
    cookie = response.headers["set-cookie"]

    assert cookie.startswith(f"{COOKIE.name}=sts_")
    for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("path", PAGES[:15])
async def test_nobody_sees_anything_before_entering(desk: Desk, path: str) -> None:
    await everything(desk)
    text = (await desk.browser().get(path)).text.replace(f'value="{path}"', "")  # what was asked for, to go on with

    assert "alice" not in text
    assert "laptop" not in text


@pytest.mark.parametrize("role", ["verify", "issue", "transfer", "revoke"])
async def test_keys_of_programs_do_not_enter(desk: Desk, role: str) -> None:
    key = await create_key(desk.tokens.store, role)
    response = await desk.browser().post("/console/enter", data={"secret": key.secret})

    assert response.status_code == 401
    assert "set-cookie" not in response.headers


async def test_wrong_secrets_are_refused_and_throttled(desk: Desk) -> None:
    browser = desk.browser()
    answers = [(await browser.post("/console/enter", data={"secret": f"stk_{n}"})).status_code for n in range(25)]

    assert answers[0] == 401
    assert answers[-1] == 429


async def test_no_secret_is_on_any_page(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()
    paths = [*PAGES, f"/console/sessions/{made['session'].id}", f"/console/tokens/{made['token'].id}?value=shown"]
    text = "".join([(await browser.get(path)).text for path in paths])

    assert "canary-value" in text
    assert re.search(r"st[stk]_[0-9A-Za-z]{20,}", text) is None


async def test_a_value_is_shown_only_when_asked_for(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()

    assert "canary-value" not in (await browser.get(f"/console/tokens/{made['token'].id}")).text
    assert "canary-value" not in (await browser.get("/console/tokens")).text


async def test_visitors_are_shown_only_where_they_are_asked_for(desk: Desk) -> None:
    await everything(desk)
    visitor = (await desk.tokens.log_in(None)).record
    browser = await desk.entered()
    usual, wanted, counted = [
        (await browser.get(path)).text
        for path in ("/console/sessions", "/console/sessions?who=visitors", "/console/overview")
    ]

    assert visitor.id not in usual and "users and visitors" in usual
    assert visitor.id in wanted and "alice" in wanted
    assert "<strong>1</strong><span>Of visitors not logged in</span>" in counted


async def test_a_list_says_what_it_leaves_out(tmp_path: Path) -> None:
    async with await AsyncSessionTokens.open(f"sqlite:///{tmp_path}/tokens.db", sweep=False) as tokens:
        desk = Desk(tokens, ManualClock())
        made = await everything(desk)
        browser = await desk.entered()
        with closing(sqlite3.connect(tmp_path / "tokens.db")) as raw, raw:
            raw.execute("UPDATE sessions SET mac = '?' || mac WHERE id = ?", (made["other"].id,))
            raw.execute("UPDATE tokens SET mac = '?' || mac WHERE id = ?", (made["token"].id,))
        for path, left_out in (
            ("/console/sessions", "other"), ("/console/owners/bob", "other"), ("/console/tokens", "token"),
            ("/console/market", "token"), ("/console/overview", "other"), ("/console/overview", "token"),
            (f"/console/sessions/{made['session'].id}", "token"), ("/console/owners/alice", "token"),
        ):  # fmt: skip
            text = (await browser.get(path)).text
            assert "cannot be read" in text and made[left_out].id in text, path
            assert "session-tokens check" in text, path


async def test_the_overview_counts_so_far_and_says_so(desk: Desk) -> None:
    for number in range(COUNT_MAX):
        await desk.tokens.open_session(f"owner {number}")
    await desk.tokens.open_session("one more")
    browser = await desk.entered("operator")
    text = (await browser.get("/console/overview")).text

    assert "+</strong><span>Sessions alive</span>" in text
    assert f"The next to end of the {COUNT_MAX} that were opened last" in text


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_text(desk: Desk, text: str) -> None:
    session = await desk.tokens.open_session(text, label=text, user_agent=text)
    token = await desk.tokens.issue_token(session.id, text)
    browser = await desk.entered()
    pages = [
        "/console",
        "/console/sessions",
        f"/console/sessions/{session.id}",
        f"/console/tokens/{token.id}?value=shown",
    ]
    for path in [*pages, f"/console/owners/{quote(text, safe='')}"]:
        response = await browser.get(path)
        assert response.status_code == 200, path
        assert "<script>alert" not in response.text
        assert "<img src=x" not in response.text


async def test_acts_do_what_they_say(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()

    assert (await act(browser, f"/console/sessions/{made['session'].id}/detach")).status_code == 303
    detached = await desk.tokens.get_session(made["session"].id)
    assert detached is not None and detached.is_detached
    assert (await act(browser, f"/console/sessions/{made['session'].id}/attach")).status_code == 303
    assert (await act(browser, f"/console/sessions/{made['session'].id}/end")).status_code == 303
    assert await desk.tokens.get_session(made["session"].id) is None
    waiting = await browser.get("/console/unassigned")
    assert made["token"].id in waiting.text
    assert (await act(browser, f"/console/tokens/{made['token'].id}/end")).status_code == 303
    assert await desk.tokens.get_token(made["token"].id) is None


async def test_bulk_ends_ask_for_the_owner_to_be_typed(desk: Desk) -> None:
    await everything(desk)
    browser = await desk.entered()

    assert (await act(browser, "/console/owners/bob/end", typed="bo")).status_code == 422
    assert len((await desk.tokens.list_sessions("bob")).items) == 1
    assert (await act(browser, "/console/owners/bob/end", typed="bob")).status_code == 303
    assert (await desk.tokens.list_sessions("bob")).items == []
    assert (await act(browser, "/console/owners/bob/disable", typed="bob")).status_code == 303
    assert (await act(browser, "/console/owners/bob/enable")).status_code == 303
    assert await desk.tokens.list_disabled_owners() == Page([], None)


@pytest.mark.parametrize("owner", [".", ".."])
async def test_owners_that_are_parts_of_paths_have_a_page_and_acts(desk: Desk, owner: str) -> None:
    """A browser takes ``.`` and ``..`` out of a path, percent-encoded ones too; so they stand in the query."""
    await desk.tokens.open_session(owner)
    browser = await desk.entered()
    found = await browser.get("/console/find", params={"q": owner})
    page = await browser.get(found.headers["location"])
    listed = await browser.get("/console/sessions")
    end = re.search(r'action="([^"]+/end[^"]*)"', page.text)

    assert found.headers["location"] == f"/console/owners?owner={owner}"
    assert f'href="/console/owners?owner={owner}"' in listed.text
    assert end is not None
    assert (await act(browser, end[1], typed=owner)).headers["location"] == f"/console/owners?owner={owner}"
    assert (await desk.tokens.list_sessions(owner)).items == []


async def test_an_auditor_looks_and_ends_nothing(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered("audit")

    assert (await browser.get("/console/sessions")).status_code == 200
    assert (await act(browser, f"/console/sessions/{made['session'].id}/end")).status_code == 403
    assert (await act(browser, "/console/owners/alice/end", typed="alice")).status_code == 403
    assert await desk.tokens.get_session(made["session"].id) is not None


async def test_a_key_enters_from_its_networks_only(desk: Desk) -> None:
    """Also with a cookie that was taken from there."""
    issued = await create_key(desk.tokens.store, "operator", networks=["10.0.0.0/8"])

    def browser(source: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(desk.service, client=(source, 4711))
        return httpx.AsyncClient(transport=transport, base_url="https://desk.test")

    inside, outside = browser("10.1.2.3"), browser("203.0.113.9")
    refused = await outside.post("/console/enter", data={"secret": issued.secret})
    entered = await inside.post("/console/enter", data={"secret": issued.secret})
    outside.cookies.set(COOKIE.name, inside.cookies[COOKIE.name], domain="desk.test")

    assert (refused.status_code, entered.status_code) == (401, 303)
    assert "Secret of the service key" in (await outside.get("/console")).text
    assert "Sessions alive" in (await inside.get("/console")).text


async def test_the_page_of_keys_says_from_where_and_when_last(desk: Desk) -> None:
    await create_key(desk.tokens.store, "verify", networks=["10.0.0.0/8"])
    browser = await desk.entered("admin")
    await browser.get("/console")
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    page = (await browser.get("/console/keys")).text

    assert "10.0.0.0/8" in page and "everywhere" in page
    assert re.search(r"0 s ago</time></div></td><td[^>]*><div><time[^>]*>0 s ago</time>", page)
    assert re.search(r"0 s ago</time></div></td><td[^>]*><div><span[^>]*>never</span>", page)


async def test_an_operator_manages_no_keys(desk: Desk) -> None:
    await desk.entered("admin")
    browser = await desk.entered("operator")

    assert (await browser.get("/console/keys")).status_code == 403
    assert (await act(browser, f"/console/keys/{desk.keys['admin'].key.id}/revoke")).status_code == 403


async def test_destructive_acts_ask_for_a_recent_proof(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()
    desk.clock.advance(RECENT_S + 1)
    asked = await act(browser, f"/console/sessions/{made['session'].id}/end")
    wrong = await act(browser, f"/console/sessions/{made['session'].id}/end", proof="stk_wrong")
    kept = await desk.tokens.get_session(made["session"].id)
    old = browser.cookies[COOKIE.name]
    done = await act(browser, f"/console/sessions/{made['session'].id}/end", proof=desk.keys["admin"].secret)
    after = await act(browser, f"/console/sessions/{made['other'].id}/end")

    assert asked.status_code == 403 and "Prove your key" in asked.text
    assert wrong.status_code == 401 and "That is not the secret of your key." in wrong.text
    assert kept is not None
    assert done.status_code == 303
    assert await desk.tokens.get_session(made["session"].id) is None
    assert browser.cookies[COOKIE.name] != old and await desk.tokens.verify_session(old) is None
    assert after.status_code == 303  # it is proved for what comes next


async def test_a_console_session_ends_when_idle_and_with_its_key(desk: Desk) -> None:
    idle, cut = await desk.entered("admin"), await desk.entered("operator")
    await revoke_key(desk.tokens.store, desk.keys["operator"].key.id)
    assert "Secret of the service key" in (await cut.get("/console")).text
    desk.clock.advance(IDLE_S * 17 // 16 + 1)
    assert "Secret of the service key" in (await idle.get("/console")).text


async def test_leaving_kills_the_session(desk: Desk) -> None:
    browser = await desk.entered()
    kept = browser.cookies[COOKIE.name]
    assert (await act(browser, "/console/leave")).status_code == 303
    browser.cookies.set(COOKIE.name, kept, domain="desk.test")

    assert "Secret of the service key" in (await browser.get("/console")).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "none-such"),
    ],
)
async def test_another_site_does_nothing(desk: Desk, name: str, value: str) -> None:
    made = await everything(desk)
    browser = await desk.entered()
    fields = {"csrf": await csrf_of(browser)}
    response = await browser.post(f"/console/sessions/{made['session'].id}/end", data=fields, headers={name: value})

    assert response.status_code == 403
    assert await desk.tokens.get_session(made["session"].id) is not None


@pytest.mark.parametrize("token", ["", "0" * 64, None])
async def test_a_form_without_its_token_does_nothing(desk: Desk, token: str | None) -> None:
    made = await everything(desk)
    browser = await desk.entered()
    fields = {} if token is None else {"csrf": token}
    response = await browser.post(f"/console/sessions/{made['session'].id}/end", data=fields)

    assert response.status_code == 403
    assert await desk.tokens.get_session(made["session"].id) is not None


async def test_acts_are_no_links(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()

    assert (await browser.get(f"/console/sessions/{made['session'].id}/end")).status_code in (404, 405)
    assert (await browser.post("/console/sessions")).status_code == 405


async def test_find_leads_to_ids_and_owners_and_takes_no_secret(desk: Desk) -> None:
    made = await everything(desk)
    browser = await desk.entered()
    to_session = await browser.get("/console/find", params={"q": made["session"].id})
    await desk.tokens.open_session("alice/eve")
    to_owner = await browser.get("/console/find", params={"q": "alice/eve"})
    secret = await browser.get("/console/find", params={"q": made["session"].secret})

    assert to_session.headers["location"] == f"/console/sessions/{made['session'].id}"
    assert to_owner.headers["location"] == "/console/owners/alice%2Feve"
    assert secret.status_code == 422 and made["session"].secret not in secret.text


def test_vendored_files_are_what_their_checksums_say() -> None:
    folder = ROOT / "src/session_tokens/service/console/static/vendor"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}

    assert sums.keys() == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert {"htmx-LICENSE.txt", "uPlot-LICENSE.txt"} <= sums.keys()


def test_html_escapes_by_itself() -> None:
    made = h("a", "<b>", h("i", "x"), href='"', title=None, hidden=True)

    assert made == '<a href="&quot;" hidden>&lt;b&gt;<i>x</i></a>'


async def test_an_overview_that_renews_itself_keeps_nobody_in(desk: Desk) -> None:
    browser = await desk.entered()
    desk.clock.advance(IDLE_S // 2)
    renewed = await browser.get("/console/overview")
    desk.clock.advance(IDLE_S // 2 + IDLE_S // 16 + 1)

    assert renewed.status_code == 200
    assert (await browser.get("/console/overview")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/console", 405, "GET, HEAD"),
        ("TRACE", "/console/keys", 405, "GET, HEAD"),
        ("GET", "/console/leave", 405, "POST"),
        ("BREW", "/console/sessions", 405, "GET, HEAD"),
        ("GET", "/console/nothing/here", 404, None),
        ("POST", "/console/nothing", 404, None),
    ],
)
async def test_what_is_not_there_has_the_headers_too(
    desk: Desk, method: str, path: str, status: int, allow: str | None
) -> None:
    response = await (await desk.entered()).request(method, path)

    assert response.status_code == status
    assert response.headers.get("allow") == allow
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
