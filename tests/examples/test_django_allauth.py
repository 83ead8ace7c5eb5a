"""The Django site with allauth lists devices, logs out everywhere, and asks for a recent log-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from session_tokens import SessionTokens
from tests.helpers.running_example import RunningSite, Visitor

pytestmark = pytest.mark.server

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    with RunningSite("django_allauth", tmp_path_factory.mktemp("django")) as running:
        yield running


def post(client: httpx.Client, page: str, path: str | None = None, **fields: str) -> httpx.Response:
    """Send the form of a page, which holds Django's own token against forged requests."""
    found = TOKEN.search(client.get(page).text)
    assert found is not None
    return client.post(path or page, data={"csrfmiddlewaretoken": found[1], **fields})


@contextmanager
def user(site: RunningSite, device: str, name: str = "alice") -> Iterator[Visitor]:
    with site.browser(device) as client:
        post(client, "/accounts/login/", login=name, password=name)
        yield client
        post(client, "/", "/accounts/logout/")


def is_in(client: httpx.Client) -> bool:
    return client.get("/account/devices/").url.path == "/account/devices/"


def test_devices_are_shown_and_ended(site: RunningSite) -> None:
    with user(site, "Phone") as phone, user(site, "Laptop") as laptop, user(site, "Of Bob", "bob") as other:
        page = laptop.get("/account/devices/").text
        assert "Phone" in page and "Laptop" in page and "Of Bob" not in page and page.count("this device") == 1
        (path,) = re.findall(r'action="(/account/devices/ses_\w+/end/)"', page)
        post(other, "/account/devices/", path)
        assert is_in(phone)
        post(laptop, "/account/devices/", path)
        assert [is_in(each) for each in (phone, laptop, other)] == [False, True, True]


def test_everywhere_else_is_logged_out_at_once(site: RunningSite) -> None:
    with user(site, "Phone") as phone, user(site, "Laptop") as laptop, user(site, "Tablet") as tablet:
        post(laptop, "/account/devices/", "/account/devices/end-others/")
        assert [is_in(each) for each in (phone, laptop, tablet)] == [False, True, False]


def test_a_new_name_can_log_out_the_others(site: RunningSite) -> None:
    with user(site, "Phone") as phone, user(site, "Laptop") as laptop:
        assert "Other devices" not in post(laptop, "/account/name/", first_name="Al").text
        assert is_in(phone)
        saved = post(laptop, "/account/name/", first_name="Ally", log_out="on").text
        assert "Other devices that are logged out now: 1." in saved and "Ally" in saved
        assert not is_in(phone)


def test_what_a_visitor_counted_goes_with_them_under_a_new_secret(site: RunningSite) -> None:
    with site.browser("Phone") as phone:
        post(phone, "/")
        before = phone.cookies["sessionid"]
        post(phone, "/accounts/login/", login="bob", password="bob")
        assert "counted to 1" in phone.get("/").text
        assert phone.cookies["sessionid"] != before
        phone.cookies.set("sessionid", before, domain="127.0.0.1")
        assert not is_in(phone)


@pytest.mark.parametrize(("name", "password"), [("alice", "bob"), ("mallory", "mallory")])
def test_a_wrong_password_logs_nobody_in(site: RunningSite, name: str, password: str) -> None:
    with site.browser("Phone") as phone:
        assert "not correct" in post(phone, "/accounts/login/", login=name, password=password).text
        assert not is_in(phone)


def test_new_users_sign_up(site: RunningSite) -> None:
    with site.browser("Phone") as phone:
        secret = "kept in tests only 8"
        post(phone, "/accounts/signup/", username="carol", password1=secret, password2=secret)
        assert "logged in as carol" in phone.get("/account/devices/").text


def test_who_logged_in_long_ago_logs_in_again(tmp_path: Path) -> None:
    """In no circle of redirects: a millisecond is long ago here."""
    with (
        RunningSite("django_allauth", tmp_path, {"RECENT_LOGIN_MINUTES": "0.00002"}) as site,
        user(site, "Phone") as phone,
        SessionTokens.open(f"sqlite:///{tmp_path / 'sessions.db'}", sweep=False) as tokens,
    ):
        (before,) = tokens.list_sessions("1")
        asked = phone.get("/account/name/")
        assert (asked.url.path, asked.url.params["next"]) == ("/accounts/login/", "/account/name/")
        assert is_in(phone)  # nobody is logged out by this
        post(phone, "/accounts/login/", login="alice", password="alice")
        (after,) = tokens.list_sessions("1")

    assert after.id == before.id
    assert (after.authenticated_at or 0) > (before.authenticated_at or 0)


def test_it_runs_on_servers(tmp_path: Path, server_store: dict[str, str]) -> None:
    with (
        RunningSite("django_allauth", tmp_path, server_store) as site,
        user(site, "Phone") as phone,
        user(site, "Laptop") as laptop,
    ):
        post(laptop, "/account/devices/", "/account/devices/end-others/")
        assert [is_in(each) for each in (phone, laptop)] == [False, True]
