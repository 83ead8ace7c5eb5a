"""The Flask site with Flask-Login shows devices and ends them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.running_example import RunningSite

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    with RunningSite("flask_devices", tmp_path_factory.mktemp("flask")) as running:
        yield running


def log_in(client: httpx.Client, name: str = "alice", **more: str) -> str:
    return client.post("/log-in", data={"name": name, "password": name, **more}).text


def test_devices_are_shown_and_ended(site: RunningSite) -> None:
    with site.browser("Phone") as phone, site.browser("Laptop") as laptop:
        phone.post("/visit")
        log_in(phone, remember="on")
        assert "counted to 1" in phone.get("/").text
        shown = log_in(laptop)
        assert "Phone" in shown and "Laptop" in shown and shown.count("this device") == 1
        assert "logged out now: 1." in laptop.post("/devices/end-others").text
        assert "Phone" not in laptop.get("/devices").text
        assert phone.get("/devices").url.path == "/log-in"
        assert "logged out of this device" in laptop.post("/log-out").text


def test_only_a_remembered_log_in_outlives_the_browser(site: RunningSite) -> None:
    with site.browser("Kept") as kept, site.browser("Closed") as closed:
        log_in(kept, remember="on")
        log_in(closed)
        ages = [next(iter(each.cookies.jar)).expires for each in (kept, closed)]
        assert ages[0] is not None and ages[1] is None
        assert [cookie.name for cookie in kept.cookies.jar] == ["session"]  # and no second one
        for each in (kept, closed):
            each.post("/log-out")


@pytest.mark.parametrize(("name", "password"), [("alice", "bob"), ("mallory", "bob"), ("", "")])
def test_a_wrong_password_logs_nobody_in(site: RunningSite, name: str, password: str) -> None:
    with site.browser("Phone") as phone:
        assert "do not belong together" in phone.post("/log-in", data={"name": name, "password": password}).text
        assert phone.get("/devices").url.path == "/log-in"


def test_nobody_ends_the_device_of_another(site: RunningSite) -> None:
    with site.browser("Phone") as phone, site.browser("Tablet") as tablet, site.browser("Of Bob") as other:
        log_in(phone)
        log_in(other, "bob")
        page = log_in(tablet)
        path = next(part.split('"')[0] for part in page.split('action="')[1:] if "/end" in part and "ses_" in part)
        other.post(path)
        assert phone.get("/devices").url.path == "/devices"


def test_no_page_is_kept_for_going_back(site: RunningSite) -> None:
    with site.browser("Phone") as phone:
        log_in(phone)
        assert phone.get("/devices").headers["Cache-Control"] == "no-store"


def test_it_runs_on_servers(tmp_path: Path, server_store: dict[str, str]) -> None:
    with (
        RunningSite("flask_devices", tmp_path, server_store) as site,
        site.browser("Phone") as phone,
        site.browser("Laptop") as laptop,
    ):
        log_in(phone)
        log_in(laptop)
        assert "logged out now: 1." in laptop.post("/devices/end-others").text
        assert phone.get("/devices").url.path == "/log-in"
