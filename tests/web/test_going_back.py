"""A page of a user that says ``no-store`` is not shown again by going back after the log-out, one without it is.

Browsers keep whole pages for going back and ask nobody when they show them; ``Vary: Cookie`` and cookies that are gone
change nothing about that. Where a redirect of the log-in led to a page, ``no-store`` is not enough in Chromium, and the
log-out says ``Clear-Site-Data``. It is what the how-to pages tell an application to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web.asgi import SessionMiddleware
from tests.helpers.servers.certificates import Authority, Certificate
from tests.helpers.servers.chromium import chromium
from tests.helpers.web_sites import serving

pytestmark = [pytest.mark.needs_chromium, pytest.mark.process]

PAGE = """<!doctype html><title>page</title><p id="who">%s</p>
<script>addEventListener("pageshow", event => { window.wasKept = event.persisted })</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP *.example 127.0.0.1", keeps_pages=True) as started:
        yield started


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("certificates"), "browser").issue("*.example", "127.0.0.1")


@pytest.fixture(params=["http", "https"])
def site(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[str]:
    async def plain(request: Any) -> Response:
        return HTMLResponse(PAGE % request.session.owner)

    async def private(request: Any) -> Response:
        return HTMLResponse(PAGE % request.session.owner, headers={"Cache-Control": "no-store"})

    async def log_in(request: Any) -> Response:
        request.session.login("ann")
        return RedirectResponse("/private", 303) if request.method == "POST" else HTMLResponse(PAGE % "in")

    async def log_out(request: Any) -> Response:
        request.session.logout()
        clears = {"Clear-Site-Data": '"cache"'} if "clears" in request.query_params else None
        return HTMLResponse(PAGE % "out", headers=clears)

    async def elsewhere(_: Any) -> Response:
        return HTMLResponse(PAGE % "elsewhere")

    views = (plain, private, log_in, log_out, elsewhere)
    paths = {"/" + view.__name__.replace("_", "-"): view for view in views}
    app = Starlette(routes=[Route(path, view, methods=["GET", "POST"]) for path, view in paths.items()])
    with SessionTokens.open("memory://") as tokens:
        app.add_middleware(SessionMiddleware, store=AsyncSessionTokens(tokens.store))
        with serving(app, is_asgi=True, certificate=certificate if request.param == "https" else None) as url:
            yield f"{request.param}://shop.example:{url.rpartition(':')[2]}"


def who(page: Page) -> str:
    return page.locator("#who").inner_text()


@pytest.mark.share(3)
@pytest.mark.parametrize("is_elsewhere", [False, True])
@pytest.mark.parametrize("path", ["/plain", "/private"])
def test_going_back_after_the_log_out(browser: Browser, site: str, path: str, is_elsewhere: bool) -> None:
    context = browser.new_context(base_url=site, ignore_https_errors=True)
    page, other = context.new_page(), context.new_page()
    page.goto("/log-in")
    page.goto(path)
    assert who(page) == "ann"
    page.goto("/elsewhere")
    (other if is_elsewhere else page).goto("/log-out")
    assert context.cookies() == []
    page.evaluate("steps => { setTimeout(() => history.go(steps)) }", -1 if is_elsewhere else -2)
    page.wait_for_url("**" + path, wait_until="commit")

    is_kept = path == "/plain"
    page.wait_for_function(f"window.wasKept === {str(is_kept).lower()}")
    assert who(page) == ("ann" if is_kept else "None")
    page.reload()
    assert who(page) == "None"
    context.close()


@pytest.mark.parametrize("site", ["https"], indirect=True)  # by http the header is not heeded
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_going_back_to_where_the_log_in_led(browser: Browser, site: str, is_elsewhere: bool) -> None:
    context = browser.new_context(base_url=site, ignore_https_errors=True)
    page, other = context.new_page(), context.new_page()
    page.goto("/elsewhere")
    page.evaluate("""() => {
        const form = document.createElement("form")
        form.method = "post"; form.action = "/log-in"; document.body.append(form); form.submit()
    }""")
    page.wait_for_url("**/private")
    assert who(page) == "ann"
    page.goto("/elsewhere")
    (other if is_elsewhere else page).goto("/log-out?clears=1")
    page.evaluate("steps => { setTimeout(() => history.go(steps)) }", -1 if is_elsewhere else -2)
    page.wait_for_url("**/private", wait_until="commit")

    page.wait_for_function("window.wasKept === false")
    assert who(page) == "None"
    context.close()
