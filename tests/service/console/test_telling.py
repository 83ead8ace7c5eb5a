"""What is done in the console and refused there is in the log and among the counts, without an audit log."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from session_tokens.service.callers import FAILURES_PER_MINUTE_MAX
from session_tokens.service.console.access import COOKIE, RECENT_S
from session_tokens.service_keys.keys import create_key
from tests.helpers.console_desk import Desk


def acts(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    """Return act, outcome, key and subject of each line about the console."""
    return [
        (record.act, record.outcome, record.key_id, record.subject_id)  # type: ignore[attr-defined]
        for record in caplog.records
        if hasattr(record, "act")
    ]


async def counted(desk: Desk, name: str, **labels: str) -> float:
    """Return a count of the service, as its metrics show it."""
    auditor = await create_key(desk.tokens.store, "audit")
    async with desk.browser() as http:
        text = (await http.get("/metrics", headers={"Authorization": f"Bearer {auditor.secret}"})).text
    for line in text.splitlines():
        if line.startswith(name + "{") and all(f'{label}="{value}"' in line for label, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return 0.0


async def csrf_of(browser: httpx.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', (await browser.get("/console")).text)
    assert found is not None
    return found[1]


async def test_what_is_done_is_told_and_counted(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "session_tokens")
    browser = await desk.entered("admin")
    key_id = desk.keys["admin"].key.id
    alice, bob = await desk.tokens.open_session("alice", detachable=True), await desk.tokens.open_session("bob")
    token = await desk.tokens.issue_token(bob.session.id, "v")
    spare = await create_key(desk.tokens.store, "verify")
    csrf = await csrf_of(browser)
    for path, more in (
        (f"sessions/{alice.session.id}/detach", {}),
        (f"sessions/{alice.session.id}/attach", {}),
        (f"tokens/{token.token.id}/end", {}),
        (f"sessions/{alice.session.id}/end", {}),
        ("owners/bob/end", {"typed": "bob"}),
        ("owners/bob/disable", {"typed": "bob"}),
        ("owners/bob/disable", {"typed": "somebody else"}),
        ("owners/bob/enable", {}),
        ("owners/bob/enable", {}),
        ("owners/bob/end", {"typed": "bob"}),
        (f"tokens/{token.token.id}/end", {}),
        (f"keys/{spare.key.id}/revoke", {"confirmed": "yes"}),
        ("leave", {}),
    ):
        answer = await browser.post(f"/console/{path}", data={"csrf": csrf, **more})
        assert answer.status_code in (303, 422), path

    assert acts(caplog) == [
        ("enter", "done", key_id, None),
        ("detach", "done", key_id, alice.session.id),
        ("attach", "done", key_id, alice.session.id),
        ("end_token", "done", key_id, token.token.id),
        ("end_session", "done", key_id, alice.session.id),
        ("end_all", "done", key_id, None),
        ("disable", "done", key_id, None),
        ("disable", "not_done", key_id, None),
        ("enable", "done", key_id, None),
        ("enable", "nothing_to_do", key_id, None),
        ("end_all", "nothing_to_do", key_id, None),
        ("end_token", "nothing_to_do", key_id, token.token.id),
        ("revoke", "done", key_id, spare.key.id),
        ("leave", "done", key_id, None),
    ]
    assert await counted(desk, "session_tokens_console_acts_total", act="disable", outcome="done") == 1
    assert await counted(desk, "session_tokens_console_acts_total", act="disable", outcome="not_done") == 1
    assert await counted(desk, "session_tokens_console_acts_total", act="enable", outcome="nothing_to_do") == 1
    assert (
        await counted(desk, "session_tokens_http_requests_total", route="/console/enter", method="POST", status="303")
        == 1
    )
    assert await counted(desk, "session_tokens_http_requests_total", route="/console", method="GET") >= 1
    assert desk.keys["admin"].secret not in caplog.text and "bob" not in caplog.text


async def test_what_is_refused_is_told_and_counted(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    browser, operator = await desk.entered("admin"), await desk.entered("audit")
    ids = {role: key.key.id for role, key in desk.keys.items()}
    session = await desk.tokens.open_session("alice")
    csrf, operators = await csrf_of(browser), await csrf_of(operator)
    caplog.clear()
    caplog.set_level("INFO", "session_tokens")
    end = f"/console/sessions/{session.session.id}/end"
    await browser.post(end, data={"csrf": "0" * 64})
    await browser.post(end)
    await browser.post(end, data={"csrf": csrf}, headers={"Origin": "https://evil.test"})
    await operator.post(end, data={"csrf": operators})
    async with desk.browser() as nobody:
        await nobody.post(end, data={"csrf": csrf})
        await nobody.post("/console/enter", data={"secret": "junk"})
        await nobody.post("/console/enter", data={"secret": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    desk.clock.advance(301)
    await browser.post(end, data={"csrf": csrf})

    assert acts(caplog) == [
        ("end_session", "csrf_refused", ids["admin"], session.session.id),
        ("end_session", "csrf_refused", ids["admin"], session.session.id),
        ("end_session", "foreign_site", None, session.session.id),
        ("end_session", "role_refused", ids["audit"], session.session.id),
        ("end_session", "not_entered", None, session.session.id),
        ("enter", "key_refused", None, None),
        ("enter", "foreign_site", None, None),
        ("end_session", "proof_asked", ids["admin"], session.session.id),
    ]
    assert await counted(desk, "session_tokens_console_acts_total", act="end_session", outcome="csrf_refused") == 2
    assert await desk.tokens.verify_session(session.secret) is not None


async def test_proving_a_key_is_throttled(desk: Desk) -> None:
    """A right secret goes through all the same: nobody locks an operator out by failing in their name."""
    browser = await desk.entered("admin")
    session = await desk.tokens.open_session("ann")
    end = f"/console/sessions/{session.id}/end"
    desk.clock.advance(RECENT_S + 1)
    csrf = await csrf_of(browser)
    answers = [
        await browser.post(end, data={"csrf": csrf, "proof": f"wrong {number}"})
        for number in range(FAILURES_PER_MINUTE_MAX + 5)
    ]
    at_the_entrance = await browser.post("/console/enter", data={"secret": "wrong"})
    right = await browser.post(end, data={"csrf": csrf, "proof": desk.keys["admin"].secret})

    assert [answer.status_code for answer in answers] == [401] * FAILURES_PER_MINUTE_MAX + [429] * 5
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert at_the_entrance.status_code == 429
    assert right.status_code == 303


async def test_entering_again_ends_the_console_session_before(desk: Desk) -> None:
    browser = await desk.entered("admin")
    former = browser.cookies[COOKIE.name]
    elsewhere = await desk.entered("admin")
    wrong = await browser.post("/console/enter", data={"secret": "wrong"})
    kept = await desk.tokens.verify_session(former, touch=False)
    again = await browser.post("/console/enter", data={"secret": desk.keys["admin"].secret})
    sessions = await desk.tokens.list_sessions(f"console:{desk.keys['admin'].key.id}")

    assert (wrong.status_code, again.status_code) == (401, 303)
    assert kept is not None
    assert await desk.tokens.verify_session(former) is None
    assert browser.cookies[COOKIE.name] != former
    assert len(sessions.items) == 2  # that of the other browser, and the new one
    assert "Overview" in (await elsewhere.get("/console")).text


async def test_entering_ends_no_session_of_an_application(desk: Desk) -> None:
    await desk.entered("admin")
    alice = await desk.tokens.open_session("alice")
    async with desk.browser() as browser:
        browser.cookies.set(COOKIE.name, alice.secret, domain="desk.test")
        await browser.post("/console/enter", data={"secret": desk.keys["admin"].secret})

    assert await desk.tokens.verify_session(alice.secret) is not None
