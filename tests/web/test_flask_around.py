"""What stands around Flask's sessions: the settings, the token guard, the commands, the example."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, flash, g

from session_tokens import InvalidInput
from session_tokens.web.flask import FlaskSession, api_of, logout, require_token
from session_tokens.web.flask.commands import cli
from session_tokens.web.flask.interface import SessionTokensInterface
from session_tokens.web.flask.settings import store_url
from tests.helpers.flask_shop import shop, tokens_of
from tests.helpers.servers.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]


def configured(**config: Any) -> Flask:
    app = Flask("configured")
    app.config.update(config)
    return app


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"SESSION_TOKENS_STORE": "memory://", "SESSION_TYPE": "redis"}, "memory://"),
        ({"SESSION_TYPE": "redis"}, "redis://127.0.0.1:6379/0?namespace=session"),
        (
            {"SESSION_TYPE": "redis", "SESSION_REDIS": "rediss://h:7/2?x=y", "SESSION_KEY_PREFIX": "shop:"},
            "rediss://h:7/2?x=y&namespace=shop",
        ),
        (
            {"SESSION_TYPE": "redis", "SESSION_REDIS": redis.Redis("h", 7, 3, password="p@ss")},
            "redis://:p%40ss@h:7/3?namespace=session",
        ),
        (
            {"SESSION_TYPE": "redis", "SESSION_REDIS": redis.Redis("h", username="u", password="p", ssl=True)},
            "rediss://u:p@h:6379/0?namespace=session",
        ),
        (
            {"SESSION_TYPE": "sqlalchemy", "SQLALCHEMY_DATABASE_URI": "postgresql+psycopg2://u:p@h/db"},
            "postgresql://u:p@h/db",
        ),
        (
            {"SESSION_TYPE": "sqlalchemy", "SQLALCHEMY_DATABASE_URI": "mysql+pymysql://u:p@h/db?charset=utf8mb4"},
            "mysql://u:p@h/db",
        ),
    ],
)
def test_the_settings_of_flask_session_name_the_store(config: dict[str, Any], url: str) -> None:
    assert store_url(configured(**config)) == url


def test_sessions_in_files_become_a_database_in_their_folder(tmp_path: Path) -> None:
    app = configured(SESSION_TYPE="filesystem", SESSION_FILE_DIR=str(tmp_path / "kept"))

    assert store_url(app) == f"sqlite:///{tmp_path}/kept/session-tokens.db"
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no store is named"),
        ({"SESSION_TYPE": "mongodb"}, "mongodb"),
        ({"SESSION_TYPE": "redis", "SESSION_REDIS": object()}, "no client of one server"),
        ({"SESSION_TYPE": "sqlalchemy", "SQLALCHEMY_DATABASE_URI": "oracle://h/db"}, "no PostgreSQL"),
    ],
)
def test_a_store_that_is_not_there_is_told_with_its_remedy(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as told:
        store_url(configured(**config))
    assert "SESSION_TOKENS_STORE" in str(told.value)


def test_what_has_no_use_here_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store_url(configured(SESSION_TYPE="redis", SESSION_USE_SIGNER=True, SESSION_ID_LENGTH=32))

    assert "SESSION_USE_SIGNER, SESSION_ID_LENGTH" in caplog.text


def test_the_store_of_the_configuration_is_used() -> None:
    app = configured(SESSION_TOKENS_STORE="memory://")
    app.session_interface = SessionTokensInterface()

    assert api_of(app).list_sessions(anonymous=True).items == []


def test_another_interface_is_told_with_the_remedy() -> None:
    with pytest.raises(InvalidInput, match="SessionTokensInterface"):
        api_of(Flask("bare"))


def guarded(app: Flask) -> Flask:
    @app.get("/job")
    @require_token
    def job() -> str:
        return f"{g.token.owner} {g.token.value}"

    return app


def test_a_view_for_tokens_takes_living_ones_only() -> None:
    app = guarded(shop())
    client, tokens = app.test_client(), tokens_of(app)
    session = tokens.open_session("alice")
    secret = tokens.issue_token(session.id, "resize").secret
    assert client.get("/job", headers={"Authorization": f"Bearer {secret}"}).text == "alice resize"
    bare = client.get("/job")
    wrong = [
        client.get("/job", headers={"Authorization": value})
        for value in ("Bearer nonsense", f"Bearer {session.secret}", "Bearer \xff")
    ]
    tokens.destroy_session(session.id)
    wrong.append(client.get("/job", headers={"Authorization": f"Bearer {secret}"}))

    assert (bare.status_code, bare.headers["WWW-Authenticate"]) == (401, 'Bearer realm="session-tokens"')
    assert {answer.status_code for answer in wrong} == {401}
    assert all('error="invalid_token"' in answer.headers["WWW-Authenticate"] for answer in wrong)
    assert client.get("/job", headers={"Authorization": "Basic YTpi"}).status_code == 401


def test_a_store_that_is_away_refuses_no_token(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    app = guarded(shop(f"{server.url}?namespace=shop", pepper=bytes(range(32))))
    app.testing = False
    secret = tokens_of(app).issue_token(None, "x").secret
    server.kill()
    answer = app.test_client().get("/job", headers={"Authorization": f"Bearer {secret}"})

    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    tokens_of(app).close()


def test_the_commands_list_and_end_sessions() -> None:
    app = shop()
    runner, tokens = app.test_cli_runner(), tokens_of(app)
    one, two = tokens.open_session("alice", user_agent="Firefox"), tokens.open_session("alice")
    tokens.open_session("bob")
    listed = runner.invoke(cli, ["list", "--owner", "alice"]).output
    as_json = [json.loads(line) for line in runner.invoke(cli, ["list", "--json"]).output.splitlines()]

    assert one.id in listed and "Firefox" in listed and "bob" not in listed and one.secret not in listed
    assert {each["owner"] for each in as_json} == {"alice", "bob"}
    assert runner.invoke(cli, ["end", one.id]).output == "1 ended\n"
    again = runner.invoke(cli, ["end", one.id])
    assert again.exit_code == 1 and "no living session" in again.output
    assert runner.invoke(cli, ["end", "--owner", "alice"]).output == "1 ended\n"
    assert tokens.verify_session(two.secret) is None
    assert runner.invoke(cli, ["end"]).exit_code == 2


@pytest.mark.process
def test_flask_finds_the_commands(tmp_path: Path) -> None:
    (tmp_path / "shop_site.py").write_text(
        "from flask import Flask\n"
        "from session_tokens.web.flask import SessionTokensInterface\n"
        "app = Flask(__name__)\n"
        "app.session_interface = SessionTokensInterface('sqlite:///shop.db')\n"
    )
    command = [sys.executable, "-m", "flask", "--app", "shop_site", "session-tokens", "list"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    assert (tmp_path / "shop.db").exists()


@pytest.mark.parametrize(("url", "told"), [("redis://127.0.0.1:1/0", "cannot be reached"), ("nowhere://h", "no store")])
def test_what_the_commands_cannot_do_is_told_in_a_line(url: str, told: str) -> None:
    run = shop(url, pepper=bytes(32)).test_cli_runner().invoke
    for act in (["list"], ["end", "--owner", "alice"]):
        answer = run(cli, act)
        assert (answer.exit_code, answer.output.startswith("Error: "), told in answer.output) == (1, True, True)


def test_files_for_everybody_stay_in_caches_and_others_in_those_of_browsers(tmp_path: Path) -> None:
    """A permanent session has its cookie sent with each answer, but not with what caches may give to anybody."""
    (tmp_path / "shop.js").write_text("1")
    app = shop("memory://")
    app.static_folder = str(tmp_path)
    app.add_url_rule("/files/<path:filename>", "files", app.send_static_file)
    browser = app.test_client()
    browser.post("/set", json={"_permanent": True, "theme": "dark"})

    asked_again = browser.get("/files/shop.js", buffered=True)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 3600
    for_everybody = browser.get("/files/shop.js", buffered=True)

    assert "Set-Cookie" in asked_again.headers
    assert asked_again.cache_control.no_cache and asked_again.cache_control.private
    assert "Set-Cookie" not in for_everybody.headers
    assert (for_everybody.headers["Cache-Control"], for_everybody.vary.as_set()) == ("public, max-age=3600", set())


def test_a_request_that_changes_a_permanent_session_prolongs_its_cookie_too() -> None:
    browser = shop("memory://").test_client()
    browser.post("/set", json={"_permanent": True, "theme": "dark"})

    assert "Expires=" in browser.post("/set", json={"theme": "light"}).headers["Set-Cookie"]
    assert "Expires=" in browser.get("/plain").headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("config", "is_permanent"),
    [
        ({}, False), ({"SESSION_TYPE": "redis"}, True), ({"SESSION_PERMANENT": True}, True),
        ({"SESSION_TYPE": "redis", "SESSION_PERMANENT": False}, False),
    ],
)  # fmt: skip
def test_new_sessions_are_as_permanent_as_flask_session_makes_them(config: dict[str, Any], is_permanent: bool) -> None:
    app = shop("memory://")
    app.config.update(config)
    visitor, user, chosen = app.test_client(), app.test_client(), app.test_client()
    read = app.test_client().get("/read")
    kept = visitor.post("/set", json={"theme": "dark"})
    logged_in = user.post("/login?owner=alice")
    another = user.post("/login?owner=bob")
    chosen.post("/set", json={"theme": "dark", "_permanent": False})
    sessions = tokens_of(app).list_sessions(anonymous=True).items

    assert "Set-Cookie" not in read.headers and read.json == {}
    assert ["Expires=" in each.headers["Set-Cookie"] for each in (kept, logged_in, another)] == [is_permanent] * 3
    told = {(each.owner == "bob", each.data.get("_permanent", False), each.max_age is None) for each in sessions}
    assert told == {(False, is_permanent, is_permanent), (True, is_permanent, is_permanent), (False, False, False)}


def test_the_session_of_who_logged_out_is_as_permanent_as_another_visitors() -> None:
    app = shop("memory://")
    app.config["SESSION_PERMANENT"] = True

    @app.post("/leave")
    def leave() -> str:
        logout()
        flash("bye")
        return ""

    browser = app.test_client()
    browser.post("/login?owner=alice")
    left = browser.post("/leave")
    (session,) = tokens_of(app).list_sessions(anonymous=True).items

    assert "Expires=" in left.headers["Set-Cookie"]
    assert (session.max_age, session.data["_permanent"]) == (None, True)
    assert "Expires=" in app.test_client().post("/set", json={"theme": "dark"}).headers["Set-Cookie"]


def test_the_session_of_a_user_is_permanent_without_any_other_field() -> None:
    app = shop("memory://")
    browser = app.test_client()
    browser.post("/login?owner=alice")
    turned = browser.post("/set", json={"_permanent": True})
    (session,) = tokens_of(app).list_sessions("alice").items

    assert "Expires=" in turned.headers["Set-Cookie"]
    assert (session.max_age, session.data["_permanent"]) == (None, True)
    assert "Expires=" in browser.get("/plain").headers["Set-Cookie"]


def test_the_id_has_the_name_that_flask_session_gave_it() -> None:
    app = shop("memory://")

    with app.test_client().session_transaction() as session:
        assert isinstance(session, FlaskSession) and session.sid is None
        session["theme"] = "dark"
    assert session.sid == session.id == tokens_of(app).list_sessions(anonymous=True).items[0].id
