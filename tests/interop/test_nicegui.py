"""The page of docs/how-to/nicegui.md, with the NiceGUI that is published and a real browser."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext

from tests.helpers.project import ROOT
from tests.helpers.published import python_with
from tests.helpers.servers.chromium import chromium
from tests.helpers.servers.ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.server, pytest.mark.needs_chromium]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Serve the application of the page; return where it is."""
    block = re.search(r"^```py\n(.*?)^```$", (ROOT / "docs/how-to/nicegui.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "shop.py").write_text(block[1])
    python, port = python_with("nicegui==3.18.0"), free_port()
    command = [str(python), "-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=tmp_path) as serving:
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/openapi.json")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            serving.terminate()


def test_an_open_page_is_left_when_the_session_ends(site: str) -> None:
    with chromium() as browser:
        is_left(site, browser.new_context())


def is_left(site: str, context: BrowserContext) -> None:
    first, second = context.new_page(), context.new_page()
    context.request.post(f"{site}/log-in/ann", max_redirects=0)
    first.goto(site)
    first.get_by_text("hello ann, 1").wait_for()
    second.goto(site)
    second.get_by_text("hello ann, 2").wait_for()

    assert {"login", "session"} == {cookie["name"] for cookie in context.cookies()}
    context.request.post(f"{site}/log-out")
    for page in (first, second):
        page.get_by_text("You are logged out.").wait_for()
    first.goto(site)
    first.get_by_text("hello None, 1").wait_for()
