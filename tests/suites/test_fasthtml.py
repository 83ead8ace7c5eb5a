"""FastHTML: the line by which it takes our middleware, in an environment of its own, for it brings much along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.effort import INSISTING
from tools.suites.running import ROOT, SuiteMissing, environment_of

PLACE = Path(sys.prefix) / "suites" / "fasthtml"

PROGRAM = """
from functools import partial

from fasthtml.common import FastHTML
from starlette.testclient import TestClient

from session_tokens.web.asgi import SessionMiddleware

app = FastHTML(sess_cls=partial(SessionMiddleware, store="memory://"))
rt = app.route


@rt("/put")
def post(session):
    session.setdefault("cart", []).append("pen")
    return "put"


@rt("/log-in")
def post(session):
    session.login("ann")
    return "in"


@rt("/show")
def get(session):
    return f"{session.owner} {session.get('cart')}"


@rt("/log-out")
def post(session):
    session.logout()
    return "out"


with TestClient(app, base_url="https://shop.example") as browser:
    browser.post("/put")
    assert "sts_" in next(iter(browser.cookies.values())), browser.cookies
    before = dict(browser.cookies)
    browser.post("/log-in")
    assert before != dict(browser.cookies)
    browser.post("/put")
    assert "ann ['pen', 'pen']" in browser.get("/show").text, browser.get("/show").text
    browser.post("/log-out")
    assert "None None" in browser.get("/show").text
print("all of it")
"""


@pytest.mark.process
def test_fasthtml_takes_our_middleware(tmp_path: Path) -> None:
    try:
        python = environment_of(PLACE / "environment", sys.executable, "python-fasthtml>=0.12", "httpx")
    except SuiteMissing as missing:
        if INSISTING:
            raise
        pytest.skip(str(missing))
    run = subprocess.run(
        [python, "-c", PROGRAM],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert "all of it\n" == run.stdout, run.stderr
