"""A site moves from Flask-Session to ours while requests run, on real servers: nobody is logged out, nobody comes back.

What is shown is printed: ``TESTS_EFFORT=prove pytest -s tests/web/moving_in/test_while_requests_run.py``.
"""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from tests.helpers.effort import PROVING
from tests.helpers.project import ROOT
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = [pytest.mark.server, pytest.mark.process]

USERS = 10_000 if PROVING else 120
THREADS = 8
START_TIMEOUT_S = 60
VISITS = 4

Start = Callable[..., int]


@pytest.fixture
def start(valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a server of the shop and returns its port; ``None`` ends the first one."""
    running: list[subprocess.Popen[str]] = []
    prefix = f"w{uuid.uuid4().hex[:10]}:"
    url = valkey_server.url.replace("valkey://", "redis://")

    def begin(which: str | None) -> int:
        if which is None:
            running[0].terminate()
            return running[0].wait(30)
        words = ["-m", "tests.helpers.moving_shop", which, url, prefix, f"sqlite:///{tmp_path / 'st.db'}"]
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_TIMEOUT_S)[0], "the server does not begin"
        return int(process.stdout.readline())

    yield begin
    for process in running:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


class Lines(threading.local):
    """The connections of one thread, which are kept."""

    def __init__(self) -> None:
        self.to: dict[int, HTTPConnection] = {}


class Browser:
    """One user's: it sends all its cookies to whichever server its request is led to."""

    lines = Lines()
    requests = 0

    def __init__(self, user: str) -> None:
        self.user, self.cookies = user, dict[str, str]()

    def get(self, port: int, path: str) -> bytes:
        line = self.lines.to.get(port)
        if line is None:
            line = self.lines.to[port] = HTTPConnection("127.0.0.1", port, timeout=60)
        line.request("GET", path, headers={"Cookie": "; ".join(f"{name}={it}" for name, it in self.cookies.items())})
        answer = line.getresponse()
        body = answer.read()
        assert answer.status == 200, (self.user, path, answer.status)
        for header in answer.headers.get_all("Set-Cookie", []):
            for name, cookie in SimpleCookie(header).items():
                if cookie.value:
                    self.cookies[name] = cookie.value
                else:
                    self.cookies.pop(name, None)
        Browser.requests += 1
        return body

    def seen(self, port: int) -> str | None:
        """Return who is logged in by what the server says."""
        user: str | None = json.loads(self.get(port, "/show"))["user"]
        return user


def test_nobody_is_logged_out_and_nobody_who_left_comes_back(start: Start, tmp_path: Path) -> None:
    before, *after = (start(which) for which in ("before", "after", "after"))
    browsers = [Browser(f"user{number}") for number in range(USERS)]
    leaving, left_before = browsers[::10], browsers[1::20]
    wrong: list[object] = []

    def note(browser: Browser, port: int, expected: str | None, when: str) -> None:
        seen = browser.seen(port)
        if seen != expected:
            wrong.append((when, browser.user, seen))

    def visit(number: int) -> None:
        browser, dice = browsers[number], random.Random(number)
        if number >= USERS // 2:  # the others were there before
            browser.get(before, f"/log-in/{browser.user}")
        if browser in gone_before:
            cookies = dict(browser.cookies)
            browser.get(before, "/clear")
            browser.cookies = cookies  # somebody kept them
            return note(browser, dice.choice(after), None, "left before")
        for _ in range(VISITS):
            note(browser, dice.choice([before, *after]), browser.user, "stays")
        if browser in gone:
            note(browser, after[0], browser.user, "stays")
            cookies = dict(browser.cookies)
            browser.get(after[0], "/log-out")
            for kept in (browser.cookies, cookies, {"session": cookies["session"]}):
                browser.cookies = dict(kept)
                note(browser, after[1], None, "left")
            browser.seen(before)  # which writes its record again
            note(browser, after[0], None, "left")
        return None

    gone, gone_before = set(leaving), set(left_before)
    began_s = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda browser: browser.get(before, f"/log-in/{browser.user}"), browsers[: USERS // 2]))
        list(pool.map(visit, range(USERS)))
        start(None)
        for browser in browsers:
            expected = None if browser in gone | gone_before else browser.user
            pool.submit(note, browser, after[number_of(browser) % 2], expected, "at the end").result()
    took_s = time.monotonic() - began_s
    owners = owners_in(f"sqlite:///{tmp_path / 'st.db'}")
    stay = sorted(browser.user for browser in browsers if browser not in gone | gone_before)
    left = len(gone | gone_before)
    sys.stdout.write(f"\n{USERS} users, {left} of them left, {Browser.requests} requests, {took_s:.0f} s\n")

    assert [] == wrong[:10]
    assert stay == sorted(owners)


def number_of(browser: Browser) -> int:
    return int(browser.user.removeprefix("user"))


def owners_in(store: str) -> list[str]:
    """Return whose sessions live in the store, each as often as they have one."""
    found: list[str] = []
    with SessionTokens.open(store) as st:
        after = None
        while True:
            page = st.list_sessions(after=after, limit=500)
            found += [session.owner for session in page]
            if (after := page.after) is None:
                return found
