"""Recent activity: it survives a restart where an audit log is kept, and says so where none is."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from session_tokens import AsyncSessionTokens
from session_tokens.audit.log import Audit
from session_tokens.events import KINDS
from session_tokens.rules.audit import STARTED
from session_tokens.service.console.activity import WORDS
from session_tokens.testing import ManualClock
from tests.helpers.console_desk import Desk


async def page(desk: Desk, path: str, role: str = "admin") -> str:
    return unescape((await (await desk.entered(role)).get(path)).text)


async def test_activity_survives_a_restart_where_an_audit_log_is_kept(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/tokens.db", ManualClock()
    async with await AsyncSessionTokens.open(url, clock=clock, sweep=False, audit=Audit()) as tokens:
        ann = await tokens.open_session("ann")
        bob = await tokens.open_session("bob")
        await tokens.destroy_session(bob.id, reason="theft")
    clock.advance(120)
    async with await AsyncSessionTokens.open(url, clock=clock, sweep=False, audit=Audit()) as tokens:
        desk = Desk(tokens, clock)
        overview = await page(desk, "/console/overview")
        operators = await page(desk, "/console/overview", "operator")
        session = await page(desk, f"/console/sessions/{ann.id}")
        owner = await page(desk, "/console/owners/ann")

    for shown in (overview, operators):
        assert re.search(r"session ended</strong>.*\(theft\)", shown)
        assert "opened <b>2</b>" in shown and "ended <b>1</b>" in shown
        assert "what the audit log says, then what this service commits" in shown
    assert "key made" not in operators  # whose role may not read the log
    assert "session opened" in session and "From the audit log." in session
    assert "session opened" in owner


async def test_without_an_audit_log_it_says_since_when_it_saw(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    overview = await page(desk, "/console/overview")
    session = await page(desk, f"/console/sessions/{ann.id}")

    assert "no audit log is kept, so that a restart begins anew" in overview
    assert "opened <b>1</b>" in overview  # and not the console's own
    assert "session opened" in session
    assert "No audit log is kept: this is what this service saw since it started at" in session


async def test_the_audit_log_is_narrowed(tmp_path: Path) -> None:
    clock = ManualClock()
    url = f"sqlite:///{tmp_path}/tokens.db"
    async with await AsyncSessionTokens.open(url, clock=clock, sweep=False, audit=Audit()) as tokens:
        for owner in ("ann", "bob"):
            await tokens.open_session(owner)
        await tokens.destroy_sessions("ann")
        desk = Desk(tokens, clock)
        ended = await page(desk, "/console/audit?kind=session_ended")
        bobs = await page(desk, "/console/audit?owner=bob")
        none = await page(desk, "/console/audit?actor=key_nobody")

    assert "1 entry" in ended and ">ann</a>" in ended
    assert "1 entry" in bobs and ">ann</a>" not in bobs
    assert "No such entry." in none


async def test_times_are_written_as_the_browser_asks(desk: Desk) -> None:
    await desk.tokens.open_session("ann")
    browser = await desk.entered()
    ago = (await browser.get("/console/sessions")).text
    browser.cookies.set("console-times", "utc", domain="desk.test", path="/console")
    exact = (await browser.get("/console/sessions")).text

    assert re.search(r"<time[^>]*>0 s ago</time>", ago)
    assert re.search(r"<time[^>]*>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time>", exact)
    assert '<option value="utc" selected>' in exact


async def test_what_this_process_saw_of_an_owner_names_them_no_more_when_they_are_forgotten(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann of the attic")
    token = await desk.tokens.issue_token(session.id, 1, transferable=True)
    await desk.tokens.transfer_token(token.id, giver="ann of the attic", receiver="bob")
    await desk.tokens.disable_owner("ann of the attic")
    browser = await desk.entered()
    before = (await browser.get("/console")).text
    pseudonym = (await desk.tokens.forget_owner("ann of the attic")).pseudonym
    pages = ["/console", f"/console/sessions/{session.id}", f"/console/tokens/{token.id}", "/console/owners/bob"]
    after = [(await browser.get(path)).text for path in pages]
    nobody = await browser.get("/console/owners/ann%20of%20the%20attic")
    await desk.tokens.open_session("ann of the attic")
    anew = (await browser.get("/console")).text

    assert "ann of the attic" in before
    assert [] == [path for path, text in zip(pages, after, strict=True) if "ann of the attic" in text]
    assert pseudonym in after[0] and "owner forgotten" in after[0]
    assert 404 == nobody.status_code and "Nothing is known under that." in nobody.text
    assert "ann of the attic" in anew


def test_all_that_is_told_has_its_words() -> None:
    assert {*KINDS, STARTED} == set(WORDS)
