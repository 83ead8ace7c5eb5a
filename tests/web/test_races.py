"""The races of browsers that other session libraries lose: every framework, on every store, on real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test.utils import override_settings

from session_tokens import SessionTokens
from session_tokens.web.django.opened import opened
from tests.helpers import django_project as _  # noqa: F401  # it makes the settings
from tests.helpers import django_sites
from tests.helpers.more_sites import aiohttp_site, bottle_site, litestar_site, quart_site, serving_aiohttp
from tests.helpers.servers import postgres, valkey
from tests.helpers.servers.proxy import Proxy, always, proxy_to
from tests.helpers.web_sites import PEPPER, Gate, Site, flask_site, serving, shown, starlette_site

pytestmark = pytest.mark.share(6)

MADE: dict[str, Callable[[SessionTokens, list[Gate]], Any]] = {
    "flask": flask_site,
    "starlette": starlette_site,
    "quart": quart_site,
    "litestar": litestar_site,
    "aiohttp": aiohttp_site,
    "bottle": bottle_site,
}
OF_WSGI = ("flask", "bottle")
FRAMEWORKS = [*MADE, "django", "django-ours", "django-async", "django-ours-async"]
STORES = ["memory", "sqlite", "postgres", "valkey"]


def url_of(store: str, folder: Path, stack: ExitStack, proxies: list[Proxy]) -> str:
    """Return the address of an empty store; that of a server leads through a proxy."""
    if store in ("memory", "sqlite"):
        return "memory://" if store == "memory" else f"sqlite:///{folder / 'site.db'}?synchronous=OFF"
    if store == "postgres":
        server = postgres.shared_server()
        direct = server.new_database()
        stack.callback(server.drop_database, direct)
        before, _, database = direct.rpartition("/")
        port, rest = before.rpartition(":")[2], f"/{database}?timeout=5"
    else:
        before, _, rest = f"{valkey.shared_server().url}?namespace={folder.name}".rpartition("/")
        port, rest = before.rpartition(":")[2], f"/{rest}"
    proxy = stack.enter_context(proxy_to(int(port)))
    proxies.append(proxy)
    return f"{before.removesuffix(port)}{proxy.port}{rest}"


ON_SERVERS = [(framework, store) for framework in FRAMEWORKS for store in STORES if store in ("postgres", "valkey")]
"""Where there is something between a site and its store that can fail."""


@pytest.fixture(scope="module", params=[(f, s) for f in FRAMEWORKS for s in STORES], ids="-on-".join)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Any]]:
    """Serve a site; beside it, the proxy to its store, where that is a server."""
    framework, store = request.param
    gates: list[Gate] = django_sites.GATES if framework.startswith("django") else []
    proxies: list[Proxy] = []
    with ExitStack() as stack:
        url = url_of(store, tmp_path_factory.mktemp("site"), stack, proxies)
        owner_of: Callable[[str], str]
        if framework.startswith("django"):
            project = {"SESSION_TOKENS_STORE": url, "SESSION_TOKENS": {"pepper": PEPPER}, "ALLOWED_HOSTS": ["*"]}
            stack.enter_context(override_settings(ROOT_URLCONF="tests.helpers.django_sites", **project))
            opened.close()
            stack.callback(opened.close)
            stack.callback(django_sites.forget_users)
            tokens: SessionTokens = opened.blocking()
            is_asgi = framework.endswith("async")
            app = django_sites.made(is_asgi=is_asgi, is_ours="ours" in framework)
            address = stack.enter_context(serving(app, is_asgi=is_asgi)) + ("/async" if is_asgi else "")
            owner_of = django_sites.owner_of
        else:
            tokens = stack.enter_context(SessionTokens.open(url, pepper=None if store == "memory" else PEPPER))
            app = MADE[framework](tokens, gates)
            served = serving_aiohttp(app) if framework == "aiohttp" else serving(app, is_asgi=framework not in OF_WSGI)
            address = stack.enter_context(served)
            owner_of = lambda name: name  # noqa: E731
        yield Site(address, tokens, gates, owner_of), (proxies[0] if proxies else None)


@pytest.fixture
def site(served: tuple[Site, Any]) -> Site:
    return served[0]


def living(site: Site, name: str) -> int:
    return len(site.tokens.list_sessions(site.owner_of(name)).items)


def secret_of(browser: httpx.Client) -> str:
    return next(iter(browser.cookies.values()))


def test_anonymous_requests_make_no_record(site: Site) -> None:
    opening: list[str] = []
    stop = site.tokens.subscribe(lambda event: opening.append(event.kind))
    with site.browser() as browser:
        answers = [browser.get("/untouched"), browser.get("/show"), browser.post("/put"), browser.post("/log-out")]
    stop()

    assert [200] * 4 == [answer.status_code for answer in answers]
    assert [] == [answer.headers["set-cookie"] for answer in answers if "set-cookie" in answer.headers]
    assert [] == opening


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-put?late=1"), ("GET", "/slow-show")])
def test_a_log_out_beside_a_slow_request_is_never_revived(site: Site, method: str, path: str) -> None:
    with site.browser() as browser:
        browser.post("/put?a=1")
        browser.post("/log-in?name=ann")
        thief = dict(browser.cookies)
        finish = site.beside(browser, method, path)
        browser.post("/log-out")
        late = finish()

        assert late.status_code in (200, 400)  # 400: Django's own middleware, of what it could not save
        assert (None, {}) == shown(browser)
        assert 0 == living(site, "ann")
        with site.browser(thief) as stolen:
            assert (None, {}) == shown(stolen)


def test_two_requests_that_change_different_fields_both_survive(site: Site) -> None:
    with site.browser() as browser:
        browser.post("/put?a=1")
        finish = site.beside(browser, "POST", "/slow-put?late=2")
        browser.post("/put?b=3")

        assert 200 == finish().status_code
        assert (None, {"a": "1", "b": "3", "late": "2"}) == shown(browser)


def test_a_slow_request_puts_no_dead_cookie_over_that_of_a_log_in(site: Site) -> None:
    with site.browser() as browser:
        browser.post("/put?a=1")
        finish = site.beside(browser, "POST", "/slow-put?late=2")
        browser.post("/log-in?name=bea")
        late = finish()

        assert late.status_code in (200, 400)
        assert not [value for value in late.headers.get_list("set-cookie") if "sts_" in value or "std_" in value]
        browser.cookies.extract_cookies(late)  # also takes away what it clears
        assert "bea" == shown(browser)[0]


def test_a_chosen_cookie_is_never_adopted(site: Site) -> None:
    with site.browser() as browser, SessionTokens.open("memory://") as elsewhere:
        browser.post("/put?a=1")
        (name, given), chosen = next(iter(browser.cookies.items())), elsewhere.open_session("eve").secret
        for secret in (chosen, given[:-1] + ("A" if given[-1] != "A" else "B"), "x" * 40, ""):
            with site.browser({name: secret}) as victim:
                victim.post("/put?cart=mine")
                victim.post("/log-in?name=cat")
                assert secret not in victim.cookies.values()
                assert "cat" == shown(victim)[0]
            with site.browser({name: secret}) as attacker:
                assert (None, {}) == shown(attacker)


def test_the_old_cookie_is_dead_after_a_log_in_and_the_cart_is_kept(site: Site) -> None:
    with site.browser() as browser:
        browser.post("/put?cart=pen")
        before = dict(browser.cookies)
        browser.post("/log-in?name=dan")

        assert before != dict(browser.cookies)
        assert ("dan", {"cart": "pen", "note": "of the log-in"}) == shown(browser)
        with site.browser(before) as old:
            assert (None, {}) == shown(old)


@pytest.mark.parametrize("how", ["status=500", "status=503", "fail"])
def test_a_log_in_that_fails_loses_no_cart(site: Site, how: str) -> None:
    with site.browser() as browser:
        browser.post("/put?cart=pen")
        failed = browser.post(f"/log-in?name=eli&{how}")

        assert failed.status_code >= 500
        user, fields = shown(browser)
        assert "pen" == fields["cart"]
        assert user in (None, "eli") and living(site, "eli") == (user is not None)


@pytest.mark.parametrize("how", ["status=500", "fail"])
def test_a_log_out_that_fails_logs_out(site: Site, how: str) -> None:
    with site.browser() as browser:
        browser.post("/log-in?name=fay")
        thief = dict(browser.cookies)
        browser.post(f"/log-out?{how}")

        with site.browser(thief) as stolen:
            assert (None, {}) == shown(stolen)
        assert 0 == living(site, "fay")


def test_many_tabs_at_once_lose_nothing(site: Site) -> None:
    with site.browser() as browser:
        browser.post("/put?tab=0")
        threads = [
            threading.Thread(target=lambda n=n: httpx.post(f"{site.url}/put?f{n}=x", cookies=browser.cookies))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert {f"f{n}" for n in range(8)} <= set(shown(browser)[1])


@pytest.mark.parametrize("served", ON_SERVERS, indirect=True, ids="-on-".join)
def test_an_outage_logs_nobody_out_and_is_over_when_the_store_is_back(served: tuple[Site, Any]) -> None:
    site, proxy = served
    with site.browser() as browser:
        browser.post("/put?a=1")
        browser.post("/log-in?name=gus")
        secret = secret_of(browser)
        slow = site.beside(browser, "POST", "/slow-put?late=1")
        proxy.request_fate, proxy.refusing = always("drop"), True
        answers = [browser.get("/show"), browser.post("/put?b=2"), browser.post("/log-out"), slow()]
        untouched = browser.get("/untouched")
        proxy.heal()

        assert [500 <= answer.status_code <= 503 for answer in answers] == [True] * 4
        assert not [answer for answer in answers if "set-cookie" in answer.headers]
        assert secret == secret_of(browser) and untouched.status_code in (200, 503)
        until_s = time.monotonic() + 60
        while browser.get("/show").status_code != 200 and time.monotonic() < until_s:
            time.sleep(0.05)  # as a browser that is told Retry-After
        assert "gus" == shown(browser)[0]
