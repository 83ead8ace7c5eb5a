"""The sites of the examples in a real browser: everyone can use every page, large and small, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.helpers.effort import PROVING
from tests.helpers.running_example import SECRET, RunningSite
from tests.helpers.servers.chromium import SIZES, chromium, faults_of, press

pytestmark = [pytest.mark.needs_chromium, pytest.mark.server]

Seen = Callable[[], None]
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
"""A size has one of them, and both where everything is proven."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def flask_devices(page: Page, seen: Seen) -> None:
    page.goto("/")
    press(page.get_by_role("button", name="Count"))
    seen()
    page.goto("/devices")
    seen()
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("wrong")
    press(page.get_by_role("button", name="Log in"))
    seen()
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("alice")
    press(page.get_by_role("button", name="Log in"))
    seen()


def fastapi_tickets(page: Page, seen: Seen) -> None:
    page.goto("/tickets")
    seen()
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("alice")
    press(page.get_by_role("button", name="Log in"))
    seen()
    page.goto("/")
    seen()
    press(page.get_by_role("button", name="Buy").first)
    page.get_by_label("Price of seat").fill("19.90")
    press(page.get_by_role("button", name="Offer"))
    seen()
    press(page.get_by_role("button", name="Show code"))
    seen()
    page.goto("/gate")
    page.get_by_label("Code of the ticket").fill("stt_wrong")
    press(page.get_by_role("button", name="Admit"))
    seen()
    page.goto("/devices")
    seen()


def django_allauth(page: Page, seen: Seen) -> None:
    page.goto("/")
    seen()
    page.goto("/accounts/signup/")
    seen()
    page.goto("/account/name/")
    seen()
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("alice")
    press(page.get_by_role("button", name="Sign In"))
    page.get_by_label("Name").fill("Alice")
    press(page.get_by_role("button", name="Save"))
    seen()
    page.goto("/account/devices/")
    seen()


@pytest.mark.share(3)
@pytest.mark.parametrize("tour", [flask_devices, fastapi_tickets, django_allauth], ids=lambda tour: tour.__name__)
def test_everyone_can_use_every_page(browser: Browser, tmp_path: Path, tour: Callable[[Page, Seen], None]) -> None:
    with RunningSite(tour.__name__, tmp_path) as site:
        page = browser.new_context(base_url=site.url).new_page()

        def seen() -> None:
            assert SECRET.search(page.content()) is None, page.url
            for number, (width, height) in enumerate(SIZES.values()):
                page.set_viewport_size({"width": width, "height": height})
                for scheme in SCHEMES if PROVING else SCHEMES[number % 2 :][:1]:
                    page.emulate_media(color_scheme=scheme)
                    assert faults_of(page) == [], page.url
                    assert len(page.screenshot()) > 5_000  # not blank

        tour(page, seen)
        page.context.close()
