"""Cookies that are replaced in passing: two tabs go on, and a cookie that comes back late ends the session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp_session
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from werkzeug.test import EnvironBuilder

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, StoreUnavailable
from session_tokens.testing import ManualClock
from session_tokens.web.aiohttp import SessionTokensStorage, current_session, outages
from session_tokens.web.rotating import Rotating
from session_tokens.web.session import CookieChange, WebSession, drive, loading
from session_tokens.web.wsgi import SessionMiddleware, session_of
from tests.helpers.rotating_sites import NAMES, rotating_site
from tests.helpers.web_sites import Site, shown

pytestmark = pytest.mark.share(3)

EVERY_S, GRACE_S = 600, 60


@pytest.fixture(params=NAMES)
def site(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Site]:
    """Serve a site whose cookies are replaced every ten minutes."""
    options = {"rotate_every": EVERY_S, "rotation_grace": GRACE_S}
    with (
        SessionTokens.open("memory://", clock=clock, sweep=False) as tokens,
        rotating_site(request.param, tokens, options, "memory://") as site,
    ):
        yield site


def cookie_of(browser: httpx.Client | httpx.Response) -> str | None:
    return next(iter(browser.cookies.values()), None)


def test_two_tabs_that_come_with_one_old_cookie_get_one_new_one(site: Site, clock: ManualClock) -> None:
    with site.browser() as browser:
        browser.post("/put?a=1")
        browser.post("/log-in?name=ann")
        before = cookie_of(browser)
        browser.post("/put?b=2")
        assert cookie_of(browser) == before

        clock.advance(EVERY_S)
        finish = site.beside(browser, "POST", "/slow-put?late=3")
        first = browser.get("/show")
        second = finish()

        assert (first.status_code, second.status_code) == (200, 200)
        assert cookie_of(first) == cookie_of(second) == cookie_of(browser) != before
        user, fields = shown(browser)
        assert user == "ann"
        assert fields.items() >= {"a": "1", "b": "2", "late": "3", "note": "of the log-in"}.items()
        assert len(site.tokens.list_sessions(site.owner_of("ann")).items) == 1


def test_a_cookie_that_comes_back_after_its_grace_logs_everybody_of_that_session_out(
    site: Site, clock: ManualClock
) -> None:
    with site.browser() as browser, site.browser() as phone:
        browser.post("/log-in?name=ann")
        phone.post("/log-in?name=ann")
        stolen = dict(browser.cookies)
        (mine,) = {site.tokens.verify_session(str(cookie_of(browser)), touch=False).id}  # type: ignore[union-attr]
        clock.advance(EVERY_S)
        assert "ann" == shown(browser)[0]
        clock.advance(GRACE_S)
        assert "ann" == shown(browser)[0]

        with site.browser(stolen) as thief:
            assert (None, {}) == shown(thief)
        assert (None, {}) == shown(browser)
        assert "ann" == shown(phone)[0]
        assert "theft" == site.tokens.explain(mine).reason


@pytest.mark.parametrize("late_s", [GRACE_S - 1, GRACE_S], ids=["within its grace", "after its grace"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-put?late=3"), ("GET", "/slow-show")])
def test_a_request_that_was_under_way_when_its_cookie_was_replaced_is_no_thief(
    site: Site, clock: ManualClock, method: str, path: str, late_s: int
) -> None:
    with site.browser() as browser:
        browser.post("/log-in?name=ann")
        finish = site.beside(browser, method, path)
        clock.advance(EVERY_S)
        browser.get("/show")
        present = cookie_of(browser)
        clock.advance(late_s)
        late = finish()
        browser.cookies.extract_cookies(late)  # as browsers do, also of what it clears

        assert late.status_code == 200
        assert cookie_of(browser) == present
        clock.advance(GRACE_S)
        assert "ann" == shown(browser)[0]
        assert ("late" in shown(browser)[1]) == (method == "POST")


@pytest.mark.parametrize(("method", "path"), [("POST", "/slow-put?late=3"), ("GET", "/slow-show")])
def test_a_slow_request_puts_no_cookie_that_it_was_given_over_that_of_a_log_in(
    site: Site, clock: ManualClock, method: str, path: str
) -> None:
    with site.browser() as browser:
        browser.post("/put?a=1")
        clock.advance(EVERY_S)
        finish = site.beside(browser, method, path)
        browser.post("/log-in?name=ann")
        late = finish()
        browser.cookies.extract_cookies(late)

        assert late.status_code == 200
        assert "ann" == shown(browser)[0]


@pytest.mark.parametrize("how", ["fail", "status=500", "status=503"])
@pytest.mark.parametrize("before", ["/put?cart=pen", "/log-in?name=ann"])
def test_the_new_cookie_is_given_where_a_view_fails_too(site: Site, clock: ManualClock, how: str, before: str) -> None:
    with site.browser() as browser:
        browser.post(before)
        seen = shown(browser)
        clock.advance(EVERY_S)

        assert browser.post(f"/log-in?name=ann&{how}").status_code >= 500
        clock.advance(GRACE_S)
        with site.browser(dict(browser.cookies)) as again:  # servers close the connection of a view that fails
            assert shown(again) == seen


def test_the_new_cookie_is_given_where_a_log_in_is_refused_too(site: Site, clock: ManualClock) -> None:
    site.tokens.disable_owner(site.owner_of("bea"))
    with site.browser() as browser:
        browser.post("/put?cart=pen")
        clock.advance(EVERY_S)

        assert browser.post("/log-in?name=bea").status_code == 403
        clock.advance(GRACE_S)
        assert (None, "pen") == (shown(browser)[0], shown(browser)[1].get("cart"))


def test_the_new_cookie_is_given_where_the_fields_cannot_be_written_too(site: Site, clock: ManualClock) -> None:
    with site.browser() as browser:
        browser.post("/log-in?name=ann")
        for field in ("one", "two"):
            browser.post(f"/put?{field}={'x' * 7_000}")
        seen = shown(browser)
        clock.advance(EVERY_S)

        assert browser.post(f"/put?three={'x' * 7_000}").status_code == 500  # all of them are too much
        clock.advance(GRACE_S)
        with site.browser(dict(browser.cookies)) as again:
            assert shown(again) == seen


def test_the_new_cookie_is_given_where_they_cannot_be_written_as_a_late_answer_begins(clock: ManualClock) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        session_of(environ).update({f"field{number}": "x" * 7_000 for number in range(3)})
        start_response("200 OK", [])
        yield b"never sent"

    begun: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        begun.append((status, dict(headers)))

    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        issued = tokens.log_in("ann")
        clock.advance(EVERY_S)
        environ = EnvironBuilder(headers=[("Cookie", f"session={issued.secret}")]).get_environ()
        wrapped = SessionMiddleware(app, tokens, rotate_every=EVERY_S, rotation_grace=GRACE_S)
        with pytest.raises(InvalidInput, match="the session's data"):
            list(wrapped(environ, start_response))

    assert [status for status, _ in begun] == ["500 Internal Server Error"]
    assert begun[0][1]["set-cookie"].startswith("session=sts_")


def test_the_new_cookie_is_given_where_the_log_out_cannot_be_written(clock: ManualClock) -> None:
    """The session goes on, and so does the browser in it."""
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        session = drive(tokens, loading(WebSession, tokens.log_in("ann").secret))
        clock.advance(EVERY_S)
        drive(tokens, Rotating(EVERY_S, GRACE_S).take(session))
        session.logout()
        settling = session.settling()
        assert next(settling).name == "destroy_session"
        with pytest.raises(StoreUnavailable):
            settling.throw(StoreUnavailable("away"))

        assert drive(tokens, session.failing()) is CookieChange.SET
        assert tokens.verify_session(str(session.secret)) is not None


async def test_the_new_cookie_is_given_with_a_file_of_aiohttp_too(clock: ManualClock) -> None:
    async def file(request: web.Request) -> web.FileResponse:
        assert (await current_session(request)).owner == "ann"
        return web.FileResponse(__file__)

    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        app = web.Application(middlewares=[outages])
        storage = SessionTokensStorage(tokens, rotate_every=EVERY_S, rotation_grace=GRACE_S)
        aiohttp_session.setup(app, storage)
        app.router.add_get("/file", file)
        issued = await tokens.log_in("ann")
        async with TestClient(TestServer(app), cookies={"session": str(issued.secret)}) as client:
            given = []
            for _ in range(2):
                clock.advance(EVERY_S)
                answer = await client.get("/file")
                given.append((answer.status, answer.headers["Cache-Control"], "session" in answer.cookies))

    assert given == [(200, "no-store", True)] * 2


def test_a_log_in_kills_the_cookies_before_at_once(site: Site, clock: ManualClock) -> None:
    with site.browser() as browser:
        browser.post("/put?cart=pen")
        first = dict(browser.cookies)
        clock.advance(EVERY_S)
        browser.get("/show")
        second = dict(browser.cookies)
        browser.post("/log-in?name=ann")

        assert first != second
        for old in (first, second):
            with site.browser(old) as other:
                assert (None, {}) == shown(other)
        assert "ann" == shown(browser)[0]


@pytest.mark.parametrize(("every", "grace"), [(0, 60), (600, 0), (60, 60), (7200, 7200), (600, None)])
def test_what_can_never_be_right_is_refused(every: Any, grace: Any) -> None:
    with pytest.raises(InvalidInput, match=r"rotat|grace"):
        Rotating(every, grace)


def test_what_hinders_a_rotation_hinders_no_request(clock: ManualClock) -> None:
    """A session that ended after it was read, and a store that was closed: the cookie stays as it is."""
    rotating = Rotating(EVERY_S, GRACE_S)
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        opened_now = tokens.open_session("ann")
        clock.advance(EVERY_S)
        session = drive(tokens, loading(WebSession, opened_now.secret))
        tokens.destroy_session(opened_now.id)
        drive(tokens, rotating.take(session))
        assert (session.secret, session.has_moved) == (opened_now.secret, False)
    drive(tokens, rotating.take(session))
    assert not session.has_moved
