"""Debian's Chromium, driven by Playwright: how it is started, and the looks in which pages are seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no stubs
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@contextmanager
def chromium(*arguments: str, keeps_pages: bool = False) -> Iterator[Browser]:
    """Start it, with further arguments, and close it.

    Args:
        arguments: of the program.
        keeps_pages: whether pages are kept whole for going back, as browsers of people do; Playwright switches it off.
    """
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[*ARGUMENTS, *arguments],
            ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else None,
        )
        yield started
        started.close()


def press(button: Locator) -> None:
    """Click what leads to a page, and return when that page is there; a click alone returns on the one before."""
    with button.page.expect_navigation():
        button.click()


def faults_of(page: Page) -> list[str]:
    """Return what keeps people from using the page: what axe finds, and whether it is wider than the screen."""
    found = [f"{broken['id']}: {broken['nodes'][0]['html']}" for broken in Axe().run(page).response["violations"]]
    is_narrow = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    return found if is_narrow else [*found, "wider than the screen"]
