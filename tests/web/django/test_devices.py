"""The application: a user's devices, recent log-ins, the command of manage.py, and the checks of the settings."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import modify_settings, override_settings

from session_tokens.web.django import SessionStore, asessions_of, sessions_of
from session_tokens.web.django.checks import DJANGOS, MIDDLEWARE, check_settings
from session_tokens.web.django.opened import BlockingSessions, opened
from session_tokens.web.django.views import end_all_others

PAGE = "/account/devices/"


@pytest.fixture
def ann(tokens: BlockingSessions) -> Iterator[Any]:
    user = get_user_model().objects.create_user("ann", password="old")
    yield user
    get_user_model().objects.all().delete()
    connection.close()


def browser(name: str = "ann", agent: str = "Firefox") -> Client:
    client = Client(headers={"User-Agent": agent})
    client.get(f"/log-in?name={name}")
    return client


def test_the_page_shows_each_device_and_this_one(tokens: BlockingSessions, ann: Any) -> None:
    here = browser(agent="<b>Firefox</b>")
    browser(agent="Epiphany")
    page = here.get(PAGE).content.decode()

    assert "&lt;b&gt;Firefox&lt;/b&gt;" in page
    assert "Epiphany" in page
    assert page.count("this device") == 1
    assert page.count("127.0.0.1") == 2
    assert "std_" not in page
    assert Client().get(PAGE).headers["Location"].startswith("/accounts/login/")


def test_one_device_is_logged_out_and_another_users_never(tokens: BlockingSessions, ann: Any) -> None:
    bob = get_user_model().objects.create_user("bob", password="old")
    here, there, other = browser(), browser(), browser("bob")
    assert here.get(f"{PAGE}{there.session.id}/end/").status_code == 405
    here.post(f"{PAGE}{there.session.id}/end/")
    here.post(f"{PAGE}{other.session.id}/end/")

    assert there.get("/show").json()["user"] == ""
    assert other.get("/show").json()["user"] == "bob"
    assert here.get("/show").json()["user"] == "ann"
    assert len(sessions_of(bob)) == 1


def test_all_others_are_logged_out(tokens: BlockingSessions, ann: Any) -> None:
    here, others = browser(), [browser(), browser()]
    here.post(f"{PAGE}end-others/")

    assert [other.get("/show").json()["user"] for other in others] == ["", ""]
    assert here.get("/show").json()["user"] == "ann"


def test_who_has_been_logged_out_meanwhile_logs_nobody_else_out(tokens: BlockingSessions, ann: Any) -> None:
    here, other = browser(), browser()
    request = RequestFactory().post(f"{PAGE}end-others/")
    request.session, request.user = SessionStore(here.session.session_key), ann
    assert request.session["_auth_user_id"] == str(ann.pk)
    tokens.destroy_session(here.session.session_key)
    answer = end_all_others(request)

    assert (answer.status_code, answer.headers["Location"]) == (302, PAGE)
    assert other.get("/show").json()["user"] == "ann"


def test_sessions_with_the_password_of_before_are_not_listed(tokens: BlockingSessions, ann: Any) -> None:
    here = browser()
    browser()
    here.get("/change-password?new=new")
    ann.refresh_from_db()

    assert [session.id for session in sessions_of(ann)] == [here.session.id]


@pytest.mark.parametrize("view", ["/delete-account", "/delete-account-async"])
async def test_what_needs_a_recent_log_in_asks_for_one(tokens: BlockingSessions, view: str) -> None:
    ann = await get_user_model().objects.acreate_user("ann", password="old")
    try:
        client = AsyncClient()
        assert (await client.get(view)).headers["Location"] == f"/accounts/login/?next={view}"
        await client.get("/log-in-async?name=ann")
        assert (await client.get(view)).status_code == 200
        (session,) = await asessions_of(ann)
        while tokens.store.clock.now() <= session.authenticated_at + 2:
            pass
        assert (await client.get(view + "?minutes=0.00002")).status_code == 302
    finally:
        await ann.adelete()


def test_the_command_lists_and_ends(tokens: BlockingSessions, ann: Any) -> None:
    first, second, third = browser(), browser(), browser()
    said = io.StringIO()
    call_command("session_tokens", "list", "ann", "--json", stdout=said)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    ended = first.session.id
    call_command("session_tokens", "end", ended, stdout=said)

    assert {line["id"] for line in lines} >= {second.session.id, third.session.id}
    assert "std_" not in said.getvalue()
    assert first.get("/show").json()["user"] == ""
    call_command("session_tokens", "end", "--user", "ann", stdout=said)
    assert sessions_of(ann) == []
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("session_tokens", "list", "nobody")
    with pytest.raises(CommandError, match="name sessions"):
        call_command("session_tokens", "end")
    with pytest.raises(CommandError, match=f"no living session: {ended}"):
        call_command("session_tokens", "end", ended)
    with pytest.raises(CommandError) as refused:
        call_command("session_tokens", "end", "std_some-secret")
    assert "std_" not in str(refused.value)


def test_the_command_tells_an_outage_in_a_line(ann: Any) -> None:
    with override_settings(SESSION_TOKENS_STORE="redis://127.0.0.1:1/0", SESSION_TOKENS={"pepper": bytes(32)}):
        for act in (["list", "ann"], ["end", "--user", "ann"]):
            with pytest.raises(CommandError, match="cannot be reached"):
                call_command("session_tokens", *act)
    opened.close()


def test_the_command_tells_in_a_line_that_a_pepper_is_missing(ann: Any) -> None:
    without = override_settings(SESSION_TOKENS_STORE="redis://127.0.0.1:1/0")
    with without, pytest.raises(CommandError, match="pepper"):
        call_command("session_tokens", "list", "ann")
    opened.close()


@pytest.mark.parametrize(("trusted", "address"), [(["127.0.0.0/8"], "203.0.113.9"), ([], "127.0.0.1")])
def test_a_proxy_is_believed_if_it_is_trusted(ann: Any, trusted: list[str], address: str) -> None:
    with override_settings(SESSION_TOKENS={"trusted_proxies": trusted}):
        Client(headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}).get("/log-in?name=ann")

        assert [address] == [session.address for session in sessions_of(ann)]


def ids() -> list[str | None]:
    return [message.id for message in check_settings(None)]


def test_the_checks_say_what_cannot_work(tmp_path: Any) -> None:
    durable = override_settings(SESSION_TOKENS_STORE=f"sqlite:///{tmp_path / 's.db'}")
    with durable:
        assert ids() == []
        with override_settings(SESSION_TOKENS_STORE=None):
            assert ids() == ["session_tokens.E001"]
        for wrong in ({"max_age": -1}, {"trusted_proxies": ["nowhere"]}, {"trusted_proxies": "10.0.0.0/8"}):
            with override_settings(SESSION_TOKENS=wrong):
                assert ids() == ["session_tokens.E001"]
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db"):
            assert ids() == ["session_tokens.W001"]
        for url in ("nowhere://host", "redis://host:port/0"):
            with override_settings(SESSION_TOKENS_STORE=url):
                assert ids() == ["session_tokens.E001"]
        with override_settings(SESSION_TOKENS_STORE="redis://127.0.0.1:1/0"):
            assert ids() == ["session_tokens.W006"]
            with override_settings(SESSION_TOKENS={"pepper": bytes(32)}):
                assert ids() == []
            with override_settings(SESSION_TOKENS={"pepper": b"short"}):
                assert ids() == ["session_tokens.E001"]
        with override_settings(SESSION_TOKENS_STORE="memory://"):
            assert ids() == ["session_tokens.W003"]
        with override_settings(SESSION_SERIALIZER="some.PickleSerializer"):
            assert ids() == ["session_tokens.W004"]
    assert not (tmp_path / "s.db").exists()


def test_a_key_file_that_this_user_cannot_read_stops_no_other_command(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(tmp_path / "where-it-is-served.key"))
    for url in ("redis://127.0.0.1:1/0", f"sqlite:///{tmp_path / 's.db'}"):
        with override_settings(SESSION_TOKENS_STORE=url):
            (said,) = check_settings(None)
            assert (said.id, said.is_serious()) == ("session_tokens.W006", False)
            assert "where-it-is-served.key" in said.msg
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "abc")
    with override_settings(SESSION_TOKENS_STORE="redis://127.0.0.1:1/0"):
        assert ids() == ["session_tokens.E001"]


def test_a_package_that_keeps_keys_is_named_with_the_remedy(tmp_path: Any) -> None:
    (tmp_path / "qsessions").mkdir()
    (tmp_path / "qsessions" / "__init__.py").write_text("")
    with pytest.MonkeyPatch.context() as patch, override_settings(SESSION_TOKENS_STORE="sqlite:///s.db"):
        patch.syspath_prepend(tmp_path)
        with modify_settings(INSTALLED_APPS={"append": "qsessions"}):
            (message,) = check_settings(None)
            assert message.id == "session_tokens.W002"
            assert "qsessions" in message.msg
            assert MIDDLEWARE in str(message.hint)
            with modify_settings(MIDDLEWARE={"append": MIDDLEWARE}):
                assert ids() == []


def test_a_table_of_the_site_that_keeps_keys_is_named_too(tmp_path: Any) -> None:
    (tmp_path / "carts").mkdir()
    (tmp_path / "carts" / "__init__.py").write_text("")
    (tmp_path / "carts" / "models.py").write_text(
        "from django.db import models\n\n"
        "class Cart(models.Model):\n    session_key = models.CharField(max_length=40)\n\n"
        "class Pen(models.Model):\n    cart = models.ForeignKey(Cart, models.CASCADE)\n"
    )
    with pytest.MonkeyPatch.context() as patch, override_settings(SESSION_TOKENS_STORE="sqlite:///s.db"):
        patch.syspath_prepend(tmp_path)
        with modify_settings(INSTALLED_APPS={"append": "carts"}):
            (message,) = check_settings(None)
            assert message.id == "session_tokens.W002"
            assert message.msg.startswith("a table of carts.Cart keeps")
            with modify_settings(MIDDLEWARE={"append": MIDDLEWARE}):
                assert ids() == []


STRONG = "urn:example:strong"


@pytest.mark.parametrize("ours", [False, True])
def test_a_view_may_want_a_log_in_that_proved_more(tokens: BlockingSessions, ann: Any, ours: bool) -> None:
    with modify_settings(MIDDLEWARE={"prepend": MIDDLEWARE, "remove": DJANGOS} if ours else {"remove": "nothing"}):
        client = Client()
        client.get("/log-in?name=ann&acr=urn:example:weak")
        weak = client.get("/transfer-money")
        key = client.session.session_key
        client.get(f"/prove?acr={STRONG}")
        (session,) = sessions_of(ann)

        assert weak.status_code == 302
        assert client.get("/transfer-money").status_code == 200
        assert (session.acr, session.amr) == (STRONG, ("otp",))
        assert (client.session.session_key == key) is not ours, "with ours the secret is a new one"
