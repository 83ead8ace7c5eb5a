"""The example of a Flask site with devices runs by its one command, and does what it shows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "examples" / "flask_devices" / "app.py"), str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ}, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        until_s = time.monotonic() + 30
        while True:
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < until_s
                time.sleep(0.05)
        yield url
        process.terminate()


def browser(site: str, name: str) -> httpx.Client:
    return httpx.Client(base_url=site, headers={"User-Agent": name}, follow_redirects=True)


def log_in(client: httpx.Client, **more: str) -> str:
    return client.post("/log-in", data={"name": "alice", "password": "alice", **more}).text


def test_devices_are_shown_and_ended(site: str) -> None:
    with browser(site, "Phone") as phone, browser(site, "Laptop") as laptop:
        phone.post("/visit")
        log_in(phone, remember="on")
        assert "counted to 1" in phone.get("/").text
        shown = log_in(laptop)
        assert "Phone" in shown and "Laptop" in shown and shown.count("this device") == 1
        assert "1 other devices" in laptop.post("/devices/end-others").text
        assert "Phone" not in laptop.get("/devices").text
        assert phone.get("/devices").url.path == "/log-in"
        assert "logged out of this device" in laptop.post("/log-out").text


@pytest.mark.parametrize(("name", "password"), [("alice", "bob"), ("mallory", "bob"), ("", "")])
def test_a_wrong_password_logs_nobody_in(site: str, name: str, password: str) -> None:
    with browser(site, "Phone") as phone:
        assert "do not belong together" in phone.post("/log-in", data={"name": name, "password": password}).text
        assert phone.get("/devices").url.path == "/log-in"


def test_nobody_ends_the_device_of_another(site: str) -> None:
    with browser(site, "Phone") as phone, browser(site, "Of Bob") as other:
        page = log_in(phone)
        assert "Phone" in page
        other.post("/log-in", data={"name": "bob", "password": "bob"})
        log_in(phone)
        with browser(site, "Tablet") as tablet:
            page = log_in(tablet)
            path = next(part.split('"')[0] for part in page.split('action="')[1:] if "/end" in part and "ses_" in part)
            other.post(path)
        assert phone.get("/devices").url.path == "/devices"
