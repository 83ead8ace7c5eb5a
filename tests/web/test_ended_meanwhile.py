"""A log-out everywhere else by a session that has ended itself since it was read: it ends nothing, and is no error."""

from __future__ import annotations

from typing import Any

from flask import Flask
from quart import Quart

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web import flask as of_flask
from session_tokens.web import quart as of_quart


def test_in_flask() -> None:
    with SessionTokens.open("memory://", sweep=False) as st:
        app = Flask("shop")
        app.session_interface = of_flask.SessionTokensInterface(st)

        @app.post("/log-in")
        def log_in() -> str:
            of_flask.login("ann")
            return "in"

        @app.post("/everywhere")
        def everywhere() -> dict[str, int]:
            here = of_flask.current_session().id
            assert here is not None and st.destroy_session(here)
            return {"ended": of_flask.logout_everywhere(keep_current=True)}

        other, client = app.test_client(), app.test_client()
        other.post("/log-in")
        client.post("/log-in")
        answer = client.post("/everywhere")

        assert (answer.status_code, answer.json) == (200, {"ended": 0})
        assert len(st.list_sessions("ann").items) == 1


async def test_in_quart() -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        app = Quart("shop")
        interface: Any = of_quart.QuartSessionTokensInterface(st)
        app.session_interface = interface

        @app.post("/log-in")
        async def log_in() -> str:
            of_quart.login("ann")
            return "in"

        @app.post("/everywhere")
        async def everywhere() -> dict[str, int]:
            here = of_quart.current_session().id
            assert here is not None and await st.destroy_session(here)
            return {"ended": await of_quart.logout_everywhere(keep_current=True)}

        other, client = app.test_client(), app.test_client()
        await other.post("/log-in")
        await client.post("/log-in")
        answer = await client.post("/everywhere")

        assert (answer.status_code, await answer.get_json()) == (200, {"ended": 0})
        assert len((await st.list_sessions("ann")).items) == 1
