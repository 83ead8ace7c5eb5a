"""Our cookie in a real browser, of every framework: its flags, two tabs, and frames within other sites."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import pytest
from django.test.utils import override_settings
from playwright.sync_api import Browser, BrowserContext, Page

from session_tokens import SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web.django.opened import opened
from tests.helpers import django_project, django_sites
from tests.helpers.servers.certificates import Authority, Certificate
from tests.helpers.servers.chromium import chromium
from tests.helpers.web_sites import Gate, flask_site, serving, starlette_site

pytestmark = [pytest.mark.needs_chromium, pytest.mark.process]

FRAMEWORKS = ["flask", "starlette", "django", "django-ours"]
Scheme = Literal["http", "https"]
assert django_project  # it makes the settings

NAMES = {
    ("flask", "http"): "session", ("flask", "https"): "__Host-session",
    ("starlette", "http"): "session", ("starlette", "https"): "__Host-session",
    ("django", "http"): "sessionid", ("django", "https"): "sessionid",
    ("django-ours", "http"): "sessionid", ("django-ours", "https"): "__Host-sessionid",
}  # fmt: skip
PARTITIONED: dict[str, dict[str, Any]] = {
    "flask": {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": True},
    "starlette": {"partitioned": True, "same_site": "none"},
    "django-ours": {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP *.example 127.0.0.1") as started:
        yield started


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("certificates"), "browser").issue("*.example", "127.0.0.1")


def beside(call: Callable[[], None]) -> None:
    """Call on a thread: Playwright has an event loop on this one, which Django minds."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


@contextmanager
def site(framework: str, certificate: Certificate | None, **options: Any) -> Iterator[str]:
    """Serve the small site; the answer is its port."""
    gates: list[Gate] = []
    with ExitStack() as stack:
        if framework.startswith("django"):
            if certificate is not None:
                options.setdefault("SESSION_COOKIE_SECURE", True)
            stack.enter_context(
                override_settings(ROOT_URLCONF="tests.helpers.django_sites", ALLOWED_HOSTS=["*"], **options)
            )
            opened.close()
            stack.callback(opened.close)
            stack.callback(beside, django_sites.forget_users)
            app = django_sites.made(is_asgi=False, is_ours="ours" in framework)
        else:
            tokens = stack.enter_context(SessionTokens.open("memory://"))
            make = flask_site if framework == "flask" else starlette_site
            if framework == "flask":
                options.setdefault("SESSION_COOKIE_SAMESITE", "Lax")
            app = make(tokens, gates, **options)
        url = stack.enter_context(serving(app, is_asgi=framework == "starlette", certificate=certificate))
        yield url.rpartition(":")[2]


EVERYWHERE = [(framework, scheme) for framework in FRAMEWORKS for scheme in ("http", "https")]
ON_HTTPS = [(framework, "https") for framework in FRAMEWORKS]


@pytest.fixture
def shop(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[str, Scheme, BrowserContext]]:
    """Give the framework of a site that is served, the scheme, and a browser on it."""
    framework, scheme = request.param
    certificate = request.getfixturevalue("certificate") if scheme == "https" else None
    with site(framework, certificate) as port:
        context = browser.new_context(base_url=f"{scheme}://shop.example:{port}", ignore_https_errors=True)
        yield framework, scheme, context
        context.close()


def post(page: Any, path: str) -> int:
    """Send a request as a script of the page does, and return the status."""
    status: int = page.evaluate("path => fetch(path, {method: 'POST'}).then(answer => answer.status)", path)
    return status


def shown(page: Page) -> tuple[Any, Any]:
    page.goto("/show")
    body = json.loads(page.locator("body").inner_text())
    return body["user"], body["fields"]


@pytest.mark.share(2)
@pytest.mark.parametrize("shop", EVERYWHERE, indirect=True, ids="-on-".join)
def test_the_browser_keeps_our_cookie_as_it_should(shop: tuple[str, Scheme, BrowserContext]) -> None:
    framework, scheme, context = shop
    page = context.new_page()
    page.goto("/untouched")
    assert context.cookies() == []
    assert post(page, "/put?cart=apple") == 200
    (visitor,) = context.cookies()
    assert post(page, "/log-in?name=ann") == 200
    (cookie,) = context.cookies()

    assert cookie["name"] == NAMES[framework, scheme]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (scheme == "https", True, "Lax")
    assert (cookie["path"], cookie["domain"]) == ("/", "shop.example")
    assert (cookie["expires"] == -1) == (not framework.startswith("django"))  # Django's lasts SESSION_COOKIE_AGE
    assert page.evaluate("document.cookie") == ""
    assert cookie["value"] != visitor["value"]
    assert shown(page) == ("ann", {"cart": "apple", "note": "of the log-in"})

    thief = context.browser.new_context(ignore_https_errors=True) if context.browser else None
    assert thief is not None
    thief.add_cookies([{"name": cookie["name"], "value": visitor["value"], "url": page.url}])
    stolen = thief.new_page()
    stolen.goto(page.url)
    assert json.loads(stolen.locator("body").inner_text()) == {"user": None, "fields": {}}
    thief.close()


@pytest.mark.parametrize("shop", EVERYWHERE, indirect=True, ids="-on-".join)
def test_after_the_log_out_no_cookie_is_left(shop: tuple[str, Scheme, BrowserContext]) -> None:
    _, _, context = shop
    page = context.new_page()
    page.goto("/untouched")
    post(page, "/log-in?name=ann")
    assert post(page, "/log-out") == 200
    assert context.cookies() == []
    assert shown(page) == (None, {})


@pytest.mark.parametrize("shop", ON_HTTPS, indirect=True, ids="-on-".join)
def test_two_tabs_keep_what_each_put_and_end_together(shop: tuple[str, Scheme, BrowserContext]) -> None:
    _, _, context = shop
    one, two = context.new_page(), context.new_page()
    one.goto("/untouched")
    two.goto("/untouched")
    post(one, "/log-in?name=ann")
    post(one, "/put?a=1")
    post(two, "/put?b=2")
    assert shown(one) == shown(two) == ("ann", {"note": "of the log-in", "a": "1", "b": "2"})

    assert post(one, "/log-out") == 200
    assert shown(two) == (None, {})
    post(two, "/put?late=1")  # a visitor's: nothing of ann's comes back
    assert shown(one) == (None, {"late": "1"})


@contextmanager
def framed(page: Page, top: str, inside: str) -> Iterator[Any]:
    """Open a page of one site that frames one of another; give the frame."""
    page.goto(f"{top}/untouched")
    page.evaluate(
        """address => new Promise(done => {
            const frame = document.createElement('iframe');
            frame.onload = done; frame.src = address; document.body.append(frame);
        })""",
        inside,
    )
    yield page.frames[1]


def told(frame: Any) -> Any:
    answer = frame.evaluate("fetch('/show').then(answer => answer.json())")
    return answer["user"], answer["fields"]


@pytest.mark.parametrize("framework", PARTITIONED)
def test_each_site_that_frames_ours_has_a_partitioned_session(
    framework: str, browser: Browser, certificate: Certificate
) -> None:
    with site(framework, certificate, **PARTITIONED[framework]) as port:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        one, two, ours = (f"https://{name}.example:{port}" for name in ("one", "two", "shop"))
        with framed(page, one, f"{ours}/untouched") as frame:
            assert post(frame, "/log-in?name=ann") == 200
            assert told(frame)[0] == "ann"
        with framed(page, two, f"{ours}/untouched") as frame:
            assert told(frame) == (None, {})
            assert post(frame, "/put?cart=pear") == 200
            assert told(frame) == (None, {"cart": "pear"})
        with framed(page, one, f"{ours}/untouched") as frame:
            assert told(frame)[0] == "ann"
            assert post(frame, "/log-out") == 200
            assert told(frame) == (None, {})
        with framed(page, two, f"{ours}/untouched") as frame:
            assert told(frame) == (None, {"cart": "pear"})  # the other site's goes on
        page.goto(f"{ours}/show")
        assert json.loads(page.locator("body").inner_text()) == {"user": None, "fields": {}}
        cookies = context.cookies()
        assert {cookie["partitionKey"] for cookie in cookies} == {"https://two.example"}
        assert all(cookie["secure"] and cookie["sameSite"] == "None" for cookie in cookies)
        context.close()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_it_a_frame_knows_nobody(framework: str, browser: Browser, certificate: Certificate) -> None:
    with site(framework, certificate) as port:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        ours = f"https://shop.example:{port}"
        page.goto(f"{ours}/untouched")
        post(page, "/log-in?name=ann")
        with framed(page, f"https://one.example:{port}", f"{ours}/untouched") as frame:
            assert told(frame) == (None, {})
        page.goto(f"{ours}/show")
        assert json.loads(page.locator("body").inner_text())["user"] == "ann"
        context.close()


@pytest.mark.parametrize("shop", ON_HTTPS, indirect=True, ids="-on-".join)
def test_a_page_of_another_site_logs_nobody_in_or_out(shop: tuple[str, Scheme, BrowserContext]) -> None:
    """A form of another site is sent by the browser; what is safe is that nothing of ours happens."""
    framework, scheme, context = shop
    page = context.new_page()
    page.goto("/untouched")
    post(page, "/log-in?name=ann")
    there = page.url.replace("/untouched", "/log-out")
    page.goto(page.url.replace("shop.example", "evil.example"))
    page.evaluate(
        """address => {
            const form = document.createElement('form');
            form.method = 'post'; form.action = address; document.body.append(form); form.submit();
        }""",
        there,
    )
    page.wait_for_url(there)

    assert shown(page)[0] == "ann", (framework, scheme)


@pytest.mark.parametrize("framework", ["flask", "starlette"])
def test_a_tab_that_holds_the_cookie_before_goes_on_and_a_thief_ends_it_for_all(
    framework: str, browser: Browser
) -> None:
    clock, gates = ManualClock(), list[Gate]()
    options: dict[str, Any] = {"rotate_every": 600, "rotation_grace": 60}
    with ExitStack() as stack:
        tokens = stack.enter_context(SessionTokens.open("memory://", clock=clock, sweep=False))
        is_flask = framework == "flask"
        app = flask_site(tokens, gates, options=options) if is_flask else starlette_site(tokens, gates, **options)
        address = stack.enter_context(serving(app, is_asgi=not is_flask))
        context, thief = (browser.new_context(base_url=address) for _ in range(2))
        stack.callback(context.close)
        stack.callback(thief.close)
        one, two = context.new_page(), context.new_page()
        for page in (one, two):
            page.goto("/untouched")
        assert post(one, "/log-in?name=ann") == 200
        (before,) = context.cookies()
        (session,) = tokens.list_sessions("ann")

        clock.advance(600)
        gates[:] = [Gate()]
        two.evaluate("() => { window.late = fetch('/slow-put?late=3', {method: 'POST'}).then(told => told.status) }")
        assert gates[0].entered.wait(30), "the slow request did not come to its gate"
        assert shown(one) == ("ann", {"note": "of the log-in"})
        (renewed,) = context.cookies()
        gates[0].opened.set()
        assert two.evaluate("() => window.late") == 200
        assert context.cookies() == [renewed] and renewed["value"] != before["value"]
        assert shown(one) == shown(two) == ("ann", {"note": "of the log-in", "late": "3"})
        assert [each.id for each in tokens.list_sessions("ann")] == [session.id]

        clock.advance(60)
        assert shown(two)[0] == "ann"
        thief.add_cookies([{"name": before["name"], "value": before["value"], "url": address}])
        assert shown(thief.new_page()) == (None, {})
        assert shown(one) == shown(two) == (None, {})
        assert tokens.explain(session.id).reason == "theft"
