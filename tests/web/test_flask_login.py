"""Flask-Login, the real one, on sessions of ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import flask_login  # type: ignore[import-untyped]  # it brings no types
import pytest
from flask import Flask, flash, request, session
from flask_login import UserMixin, current_user, login_required, login_user, logout_user
from flask_login.utils import encode_cookie  # type: ignore[import-untyped]

from session_tokens import InvalidInput, SessionTokens, Settings
from session_tokens.testing import ManualClock
from session_tokens.web.flask_login import SessionTokensLogin
from tests.helpers.flask_shop import second_browser, secret_in, shop, tokens_of


class User(UserMixin):  # type: ignore[misc]  # it brings no types
    def __init__(self, id: str) -> None:
        self.id = id


def site(clock: ManualClock | None = None, **config: Any) -> Flask:
    settings = Settings(max_age=3600)
    app = shop(SessionTokens.open("memory://", clock=clock or ManualClock(), settings=settings))
    app.config.update(SECRET_KEY="only Flask-Login's own cookie would be signed with it", **config)
    extension = SessionTokensLogin(app)
    extension.login_manager.user_loader(User)

    @app.post("/sign-in")
    def sign_in() -> str:
        seconds = request.args.get("seconds", type=int)
        duration = None if seconds is None else timedelta(seconds=seconds)
        login_user(User(request.args["user"]), remember="remember" in request.args, duration=duration)
        return "in"

    @app.post("/sign-out")
    def sign_out() -> str:
        logout_user()
        flash("see you")
        return "out"

    @app.get("/me")
    @login_required  # type: ignore[untyped-decorator]
    def me() -> str:
        return str(current_user.get_id())

    @app.post("/confirm")
    def confirm() -> str:
        flask_login.confirm_login()
        return "confirmed"

    @app.get("/secret")
    @flask_login.fresh_login_required  # type: ignore[untyped-decorator]
    def secret() -> str:
        return "shown"

    @app.get("/fresh")
    def fresh() -> str:
        return str(session.get("_fresh"))

    return app


def owners(app: Flask) -> list[str]:
    return [each.owner for each in tokens_of(app).list_sessions(anonymous=True).items if ":" not in each.owner]


def test_a_log_in_is_a_session_of_the_user_under_a_new_secret() -> None:
    app = site()
    client = app.test_client()
    client.post("/set", json={"cart": ["apple"]})
    before = secret_in(client)
    client.post("/sign-in?user=7")

    assert owners(app) == ["7"]
    assert client.get("/me").text == "7" and (client.get("/read").json or {})["cart"] == ["apple"]
    assert secret_in(client) != before
    assert second_browser(app, before).get("/read").json == {}


def test_a_second_log_in_of_the_same_user_gives_a_new_secret_again() -> None:
    app = site()
    client = app.test_client()
    client.post("/sign-in?user=7")
    before = secret_in(client)
    client.post("/sign-in?user=7")

    assert secret_in(client) != before and owners(app) == ["7"]
    assert second_browser(app, before).get("/me").status_code == 401


def test_a_log_in_of_another_user_carries_nothing_over() -> None:
    app = site()
    client = app.test_client()
    client.post("/sign-in?user=7")
    client.post("/set", json={"cart": ["of 7"]})
    client.post("/sign-in?user=8")

    assert client.get("/me").text == "8" and owners(app) == ["8"]
    assert "cart" not in (client.get("/read").json or {}) and client.get("/fresh").text == "True"


def test_the_view_that_logs_another_user_in_shows_nothing_of_the_one_before() -> None:
    app = site()

    @app.post("/change-to")
    def change_to() -> dict[str, Any]:
        session["said"] = "before"
        login_user(User(request.args["user"]))
        return {name: value for name, value in session.items() if name in ("cart", "said")}

    client = app.test_client()
    client.post("/set", json={"cart": ["of nobody"]})
    assert client.post("/change-to?user=7").json == {"cart": ["of nobody"], "said": "before"}
    assert client.post("/change-to?user=7").json == {"cart": ["of nobody"], "said": "before"}
    assert client.post("/change-to?user=8").json == {"said": "before"}
    assert client.get("/me").text == "8" and owners(app) == ["8"]


def test_a_log_out_ends_the_session_and_keeps_what_is_to_be_said() -> None:
    app = site()
    client = app.test_client()
    client.post("/sign-in?user=7")
    secret = secret_in(client)
    client.post("/sign-out")

    assert owners(app) == []
    assert second_browser(app, secret).get("/me").status_code == 401
    assert client.get("/flashed").json == ["see you"]


def test_remember_me_is_one_long_session_and_no_second_cookie() -> None:
    clock = ManualClock()
    app = site(clock)
    client = app.test_client()
    answer = client.post("/sign-in?user=7&remember")

    assert [header.partition("=")[0] for header in answer.headers.getlist("Set-Cookie")] == ["session"]
    assert "Expires=" in answer.headers["Set-Cookie"] or "Max-Age=" in answer.headers["Set-Cookie"]
    clock.advance(29 * 86_400)
    assert client.get("/me").text == "7"
    assert "_remember" not in (client.get("/read").json or {})
    clock.advance(2 * 86_400)
    assert client.get("/me").status_code == 401


def test_a_remembered_log_in_is_fresh_for_an_hour_and_when_it_is_confirmed() -> None:
    clock = ManualClock()
    app = site(clock)
    client = app.test_client()
    client.post("/sign-in?user=7&remember")
    clock.advance(3600)
    assert client.get("/secret").text == "shown"
    clock.advance(1)
    assert [client.get("/secret").status_code, client.get("/me").text] == [401, "7"]
    before = secret_in(client)
    client.post("/confirm")

    assert client.get("/secret").text == "shown" and secret_in(client) != before
    clock.advance(3601)
    assert client.get("/secret").status_code == 401
    assert owners(app) == ["7"]


@pytest.mark.parametrize(
    ("query", "config"),
    [("&remember&seconds=7200", {}), ("&remember", {"REMEMBER_COOKIE_DURATION": timedelta(hours=2)})],
)
def test_a_log_in_is_remembered_for_as_long_as_was_asked(query: str, config: dict[str, Any]) -> None:
    clock = ManualClock()
    client = site(clock, **config).test_client()
    client.post(f"/sign-in?user=7{query}")
    clock.advance(7199)
    assert client.get("/me").text == "7"
    clock.advance(2)
    assert client.get("/me").status_code == 401


def test_a_log_in_that_is_not_remembered_has_the_general_limit() -> None:
    clock = ManualClock()
    client = site(clock).test_client()
    answer = client.post("/sign-in?user=7")
    assert "Expires=" not in answer.headers["Set-Cookie"] and "Max-Age=" not in answer.headers["Set-Cookie"]
    clock.advance(3601)

    assert client.get("/me").status_code == 401


def test_log_out_everywhere_reaches_those_who_are_remembered() -> None:
    app = site()
    phone, laptop = app.test_client(), app.test_client()
    for device in (phone, laptop):
        device.post("/sign-in?user=7&remember")
    assert laptop.post("/logout-everywhere").text == "2"

    assert [device.get("/me").status_code for device in (phone, laptop)] == [401, 401]


def test_a_remember_token_of_before_logs_nobody_in_and_is_removed() -> None:
    app = site()
    client = app.test_client()
    with app.app_context():
        client.set_cookie("remember_token", encode_cookie("7"))
    answer = client.get("/me")

    assert answer.status_code == 401
    assert client.get_cookie("remember_token") is None
    assert owners(app) == []


def test_the_application_may_make_its_own_login_manager() -> None:
    app = shop()
    app.secret_key = "signs nothing"
    manager = flask_login.LoginManager(app)

    assert SessionTokensLogin(app).login_manager is manager
    assert SessionTokensLogin(app, login_manager=manager).login_manager is manager
    with pytest.raises(InvalidInput, match="another LoginManager"):
        SessionTokensLogin(app, login_manager=flask_login.LoginManager())


def test_ids_that_change_are_mapped_to_a_lasting_owner() -> None:
    app = shop()
    app.secret_key = "signs nothing"
    SessionTokensLogin(app, owner_of=lambda uniquifier: f"user-{uniquifier[-1]}").login_manager.user_loader(User)

    @app.post("/sign-in")
    def sign_in() -> str:
        login_user(User("random-7"))
        return ""

    app.test_client().post("/sign-in")
    assert owners(app) == ["user-7"]


def test_another_session_interface_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidInput, match="SessionTokensInterface"):
        SessionTokensLogin(Flask("bare"))


def test_an_empty_id_is_nobody() -> None:
    """Code that empties the field of the user's id, instead of taking it out, logs them out."""
    app = site()
    client = app.test_client()
    client.post("/sign-in?user=ann")
    with client.session_transaction() as fields:
        fields["_user_id"] = ""

    assert tokens_of(app).list_sessions("ann").items == []
