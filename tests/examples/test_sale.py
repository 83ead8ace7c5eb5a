"""A ticket of the shop is sold between two browsers, and its drawn code opens the door for its buyer alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.helpers.running_example import RunningSite
from tests.helpers.servers.chromium import chromium, press

pytestmark = [pytest.mark.needs_chromium, pytest.mark.server]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def at_home(browser: Browser, site: RunningSite, name: str) -> Page:
    """Return the page of somebody who is logged in, in a browser with cookies of its own."""
    page = browser.new_context(base_url=site.url).new_page()
    page.goto("/log-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(name)
    press(page.get_by_role("button", name="Log in"))
    return page


def drawn_code(page: Page) -> str:
    """Return what a reader makes of the code on the screen."""
    press(page.get_by_role("button", name="Show code"))
    picture = Image.open(io.BytesIO(page.get_by_role("img", name="drawn").screenshot()))
    (found,) = zxingcpp.read_barcodes(picture)
    return str(found.text)


def at_the_door(page: Page, code: str) -> None:
    page.goto("/gate")
    page.get_by_label("Code of the ticket").fill(code)
    press(page.get_by_role("button", name="Admit"))


def test_a_ticket_is_sold_between_two_browsers(browser: Browser, tmp_path: Path) -> None:
    with RunningSite("fastapi_tickets", tmp_path) as site:
        alice, bob, door = (at_home(browser, site, name) for name in ("alice", "bob", "alice"))
        alice.goto("/")
        press(alice.get_by_role("button", name="Buy").first)
        sold = drawn_code(alice)
        alice.goto("/tickets")
        alice.get_by_label("Price of seat").fill("19.90")
        press(alice.get_by_role("button", name="Offer"))
        bob.goto("/")
        press(bob.locator("li", has_text="sold by alice").get_by_role("button", name="Buy"))
        expect(bob.get_by_text("is yours for 19.90 EUR")).to_be_visible()

        at_the_door(door, sold)
        expect(door.get_by_text("opens no door")).to_be_visible()
        at_the_door(door, drawn_code(bob))
        expect(door.get_by_text("Come in")).to_be_visible()
        for page in (alice, bob, door):
            page.context.close()
