"""The sites of the examples in a browser that keeps pages: going back after the log-out shows nothing of before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.helpers.running_example import RunningSite
from tests.helpers.servers.chromium import chromium, press

pytestmark = [pytest.mark.needs_chromium, pytest.mark.process]

SITES = {  # where one logs in, how, the page with the devices, and one to go on to from where the log-in leads
    "flask_devices": ("/log-in", "Name", "Log in", "/devices", "/"),
    "fastapi_tickets": ("/log-in", "Name", "Log in", "/devices", "/devices"),
    "django_allauth": ("/accounts/login/", "Username", "Sign In", "/account/devices/", "/account/devices/"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(keeps_pages=True) as started:
        yield started


def log_in(page: Page, example: str) -> None:
    path, label, button, *_ = SITES[example]
    page.goto(path)
    page.get_by_label(label).fill("alice")
    page.get_by_label("Password").fill("alice")
    press(page.get_by_role("button", name=button))


@pytest.mark.share(3)
@pytest.mark.parametrize("example", SITES)
def test_going_back_and_forward_after_the_log_out_shows_a_visitor(
    example: str, browser: Browser, tmp_path: Path
) -> None:
    *_, devices, beside = SITES[example]
    with RunningSite(example, tmp_path) as site:
        context = browser.new_context(base_url=site.url)
        page, other = context.new_page(), context.new_page()
        log_in(page, example)
        assert page.get_by_role("button", name="alice").is_visible()
        page.goto(beside)
        assert page.get_by_role("button", name="alice").is_visible()
        other.goto(devices)
        press(other.get_by_role("button", name="Log alice out"))
        other.get_by_role("link", name="Log in").wait_for()

        assert page.get_by_role("button", name="alice").is_visible()  # as it was drawn; no script looks again
        for move in (page.go_back, page.go_forward, page.reload):
            move(wait_until="commit")
            page.wait_for_function("document.readyState === 'complete'")
            assert page.locator(".badge").count() == 0, move.__name__
            assert page.get_by_role("button", name="alice").count() == 0, move.__name__
        context.close()
