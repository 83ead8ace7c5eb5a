"""What the console says of offers, loans, counted tokens and the pool, and what it does about them."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import httpx
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.rules.loans import loan_ids
from session_tokens.testing import ManualClock
from tests.helpers.console_desk import Desk, act
from tests.helpers.sqlite_files import behind


async def said(browser: httpx.AsyncClient, answer: httpx.Response) -> str:
    """Return the text of the page to which an act leads."""
    assert answer.status_code == 303, answer.text
    return unescape((await browser.get(answer.headers["location"])).text)


def fact(page: str, name: str) -> str:
    """Return what a page says under a name."""
    return page.partition(f"<dt>{name}</dt>")[2].partition("<dd>")[2].partition("</dd>")[0]


async def test_the_page_of_a_token_says_who_may_use_or_take_it(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann")
    token = await desk.tokens.issue_token(session.id, transferable=True, uses=3, tag="seats")
    await desk.tokens.offer_token(token.id, price=5, currency="EUR", to="carol")
    for borrower, until in (("bob", 60), ("dan", 5), ("eve", 60)):
        await desk.tokens.lend_token(token.id, borrower=borrower, until=until)
    await desk.tokens.recall_token(token.id, borrower="eve")
    desk.clock.advance(5)
    browser = await desk.entered("audit")
    page = (await browser.get(f"/console/tokens/{token.id}")).text

    assert fact(page, "Lent to") == "bob"
    assert (fact(page, "Offered to"), fact(page, "Price"), fact(page, "Uses left")) == ("carol", "5 EUR", "3")
    assert "Recall" not in page and "Withdraw" not in page and "Take it" not in page
    assert token.id in (await browser.get("/console/market?tag=seats")).text


async def test_an_admin_withdraws_recalls_and_takes_a_token_from_its_owner(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann")
    token = await desk.tokens.issue_token(session.id, transferable=True)
    await desk.tokens.offer_token(token.id, price=5)
    loan = await desk.tokens.lend_token(token.id, borrower="bob", until=60)
    admin = await desk.entered()
    at = f"/console/tokens/{token.id}"
    page = (await admin.get(at)).text
    assert all(words in page for words in ("Withdraw the offer", "Recall all loans", "Take it from its owner"))

    assert "Withdrew the offer" in await said(admin, await act(admin, f"{at}/withdraw"))
    assert "Recalled it" in await said(admin, await act(admin, f"{at}/recall"))
    assert await desk.tokens.verify_token(loan.secret) is None
    assert await desk.tokens.verify_token(token.secret) is not None
    stale = await act(admin, f"{at}/release", owner="bob")
    assert (stale.status_code, "does not own" in stale.text or "owner" in stale.text) == (409, True)
    taken = await said(admin, await act(admin, f"{at}/release", owner="ann"))

    assert "Took it from ann" in taken and fact(taken, "Lent to") == '<span class="muted">none</span>'
    assert await desk.tokens.verify_token(token.secret) is None
    assert token.id in (await admin.get("/console/unassigned")).text
    assert "Withdraw the offer" not in taken and "Take it from its owner" not in taken


async def test_what_a_leaving_owner_has_is_handed_over_when_they_are_typed(desk: Desk) -> None:
    session = await desk.tokens.open_session("ann of the attic")
    for _ in range(3):
        await desk.tokens.issue_token(session.id, transferable=True)
    admin = await desk.entered()
    page = "/console/owners/ann%20of%20the%20attic"
    mistyped = await act(admin, f"{page}/hand-over", receiver="bob", typed="ann")
    nobody = await act(admin, f"{page}/hand-over", receiver="console:x", typed="ann of the attic")
    before = len(await desk.tokens.list_tokens(owner="bob"))
    done = await said(admin, await act(admin, f"{page}/hand-over", receiver="bob", typed="ann of the attic"))
    again = await said(admin, await act(admin, f"{page}/hand-over", receiver="bob", typed="ann of the attic"))

    assert "Hand over" in (await admin.get(page)).text
    assert (mistyped.status_code, nobody.status_code, before) == (422, 422, 0)
    assert "Handed 3 tokens of ann of the attic over to bob" in done
    assert "Nothing was done: ann of the attic has no token to hand over." in again
    assert len(await desk.tokens.list_tokens(owner="bob")) == 3


@pytest.mark.parametrize("role", ["operator", "audit"])
async def test_nobody_else_does_any_of_it(desk: Desk, role: str) -> None:
    session = await desk.tokens.open_session("ann")
    token = await desk.tokens.issue_token(session.id, transferable=True)
    await desk.tokens.offer_token(token.id, price=5)
    loan = await desk.tokens.lend_token(token.id, borrower="bob", until=60)
    browser = await desk.entered(role)
    for path, fields in (
        (f"/console/tokens/{token.id}/withdraw", {}),
        (f"/console/tokens/{token.id}/recall", {}),
        (f"/console/tokens/{token.id}/release", {"owner": "ann"}),
        ("/console/owners/ann/hand-over", {"receiver": "bob", "typed": "ann"}),
    ):
        assert (await act(browser, path, **fields)).status_code == 403, path
    held = await desk.tokens.get_token(token.id)

    assert held is not None and (held.owner, held.is_sellable) == ("ann", True)
    assert await desk.tokens.verify_token(loan.secret) is not None


async def test_a_loan_that_cannot_be_read_hides_no_page(tmp_path: Path) -> None:
    path, clock = tmp_path / "sessions.db", ManualClock()
    async with await AsyncSessionTokens.open(f"sqlite:///{path}", clock=clock, sweep=False) as tokens:
        token = await tokens.issue_token((await tokens.open_session("ann")).id, transferable=True)
        for borrower in ("bob", "carol"):
            await tokens.lend_token(token.id, borrower=borrower, until=60)
        held = await tokens.get_token(token.id)
        assert held is not None
        damaged, _ = loan_ids(held)
        behind(path, "UPDATE tokens SET mac = '?' || mac WHERE id = ?", damaged)
        page = (await (await Desk(tokens, clock).entered()).get(f"/console/tokens/{token.id}")).text

    assert fact(page, "Lent to") == f"somebody whose loan {damaged} cannot be read, carol"
