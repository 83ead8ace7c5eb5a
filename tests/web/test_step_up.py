"""How surely somebody proved who they are: kept with the log-in, asked for by views, in every framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from flask import Flask
from flask import request as flask_request
from flask import session as flask_session

from session_tokens import AsyncSessionTokens, InvalidInput, ReauthenticationRequired, SessionTokens
from session_tokens.testing import ManualClock
from session_tokens.web import fastapi as of_fastapi
from session_tokens.web import flask as of_flask
from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from session_tokens.web.session import WebSession, drive, loading

STRONG = "urn:example:strong"


@pytest.fixture
def st() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", clock=ManualClock(), sweep=False) as tokens:
        yield tokens


def test_a_log_in_keeps_how_it_was_made_and_a_rotation_too(st: SessionTokens) -> None:
    issued = st.log_in("ann", acr=STRONG, amr=["pwd", "otp"])
    rotated = st.rotate_session(issued.session.id)
    found = st.verify_session(str(rotated.secret))

    assert found is not None
    assert (found.acr, found.amr) == (STRONG, ("pwd", "otp"))
    found.require_recent(600, acr=STRONG)
    found.require_recent(600, acr=["urn:example:strongest", STRONG])
    with pytest.raises(ReauthenticationRequired):
        found.require_recent(600, acr="urn:example:strongest")


def test_who_proves_it_again_in_another_way_is_taken_at_that(st: SessionTokens) -> None:
    session = st.log_in("ann", acr=STRONG, amr=["pwd", "otp"]).session
    again = st.rotate_session(session.id, authenticated=True, amr=["pwd"]).session

    assert (again.acr, again.amr) == (None, ("pwd",))
    assert st.rotate_session(session.id, authenticated=True, acr=STRONG).session.acr == STRONG


@pytest.mark.parametrize("wrong", [{"acr": "a\n"}, {"amr": ["x" * 300]}, {"amr": ["pwd"] * 17}, {"acr": 7}])
def test_what_can_never_be_kept_is_refused(st: SessionTokens, wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, TypeError)):
        st.log_in("ann", **wrong)
    with pytest.raises((InvalidInput, TypeError)):
        st.rotate_session(st.open_session("ann").session.id, authenticated=True, **wrong)


def test_how_it_was_proved_is_said_with_a_proof_alone(st: SessionTokens) -> None:
    session = st.open_session("ann").session
    with pytest.raises(InvalidInput, match="authenticated=True"):
        st.rotate_session(session.id, acr=STRONG)
    with pytest.raises(TypeError, match="collection"):
        st.log_in("ann", amr="pwd")


def test_a_session_without_says_nothing(st: SessionTokens) -> None:
    session = st.log_in("ann").session

    assert (session.acr, session.amr) == (None, ())
    session.require_recent(600)
    with pytest.raises(ReauthenticationRequired):
        session.require_recent(600, acr=STRONG)


def test_a_retry_of_a_log_in_says_the_same_of_it(st: SessionTokens) -> None:
    first = st.log_in("ann", acr=STRONG, idempotency_key="k")
    assert st.log_in("ann", acr=STRONG, idempotency_key="k").secret == first.secret
    with pytest.raises(Exception, match="other"):
        st.log_in("ann", idempotency_key="k")


def flask_bank(st: SessionTokens) -> Flask:
    app = Flask("bank")
    app.session_interface = of_flask.SessionTokensInterface(st)

    @app.post("/login")
    def log_in() -> str:
        of_flask.login("ann", acr=flask_request.args.get("acr"), amr=["pwd"], label="phone")
        return "in"

    @app.post("/pay")
    @of_flask.require_recent(minutes=10, acr=STRONG)
    def pay() -> str:
        return "paid"

    return app


def fastapi_bank(st: Any, *dependencies: Any) -> FastAPI:
    app = FastAPI(dependencies=dependencies)
    app.add_middleware(SessionMiddleware, store=st)

    @app.post("/login")
    async def log_in(request: Request, acr: str | None = None) -> str:
        await of_fastapi.login(request, owner="ann", acr=acr, amr=["pwd"], label="phone")
        return "in"

    @app.post("/pay")
    async def pay(
        session: Annotated[AsyncWebSession, Depends(of_fastapi.require_recent(minutes=10, acr=STRONG))],
    ) -> str:
        return "paid"

    return app


CHALLENGE = f'Session error="insufficient_user_authentication", max_age=600, acr_values="{STRONG}"'


def test_flask_asks_for_a_stronger_log_in(st: SessionTokens) -> None:
    client = flask_bank(st).test_client()
    visitor = client.post("/pay")
    client.post("/login")
    weak = client.post("/pay")
    client.post(f"/login?acr={STRONG}")

    assert (visitor.status_code, visitor.headers["WWW-Authenticate"]) == (401, "Session")
    assert (weak.status_code, weak.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert client.post("/pay").status_code == 200
    (session,) = st.list_sessions("ann").items
    assert (session.acr, session.amr, session.label) == (STRONG, ("pwd",), "phone")


def test_flask_keeps_it_at_a_step_up_without_a_log_in(st: SessionTokens) -> None:
    app = flask_bank(st)

    @app.post("/second-factor")
    def second_factor() -> str:
        interface = app.session_interface
        assert isinstance(interface, of_flask.SessionTokensInterface)
        interface.regenerate(of_flask.current_session(), authenticated=True, acr=STRONG, amr=["otp"])
        return "proved"

    client = app.test_client()
    client.post("/login")
    client.post("/second-factor")

    assert client.post("/pay").status_code == 200
    assert [("otp",)] == [session.amr for session in st.list_sessions("ann").items]


async def test_fastapi_asks_for_a_stronger_log_in(st: SessionTokens) -> None:
    app = fastapi_bank(AsyncSessionTokens(st.store, st.settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank.example") as client:
        visitor = await client.post("/pay")
        await client.post("/login")
        weak = await client.post("/pay")
        await client.post("/login", params={"acr": STRONG})

        assert (visitor.status_code, visitor.headers["www-authenticate"]) == (401, "Session")
        assert (weak.status_code, weak.headers["www-authenticate"]) == (401, CHALLENGE)
        assert (await client.post("/pay")).status_code == 200
    (session,) = st.list_sessions("ann").items
    assert (session.acr, session.amr, session.label) == (STRONG, ("pwd",), "phone")


@pytest.mark.parametrize("owner", [None, "ann"])
def test_what_another_has_proved_is_not_taken_for_who_logs_in_with_this_request(
    st: SessionTokens, owner: str | None
) -> None:
    issued = st.log_in(owner, acr=None if owner is None else STRONG)
    session = drive(st, loading(WebSession, str(issued.secret)))
    session.login("bob")

    assert session.owner == "bob"
    assert session.authenticated_at is None
    with pytest.raises(ReauthenticationRequired):
        session.require_recent(600)
    with pytest.raises(ReauthenticationRequired):
        session.require_recent(600, acr=STRONG)


def test_flask_takes_no_log_in_of_another_for_that_of_who_logs_in(st: SessionTokens) -> None:
    app = flask_bank(st)
    app.session_interface = of_flask.SessionTokensInterface(st, owner_key="user")

    @app.before_request
    def gateway() -> None:
        named = flask_request.headers.get("Remote-User")
        if named is not None:
            flask_session["user"] = named

    client = app.test_client()
    client.post(f"/login?acr={STRONG}")

    assert client.post("/pay").status_code == 200
    assert client.post("/pay", headers={"Remote-User": "bob"}).status_code == 401


async def test_fastapi_takes_no_log_in_of_another_for_that_of_who_logs_in(st: SessionTokens) -> None:
    async def gateway(session: Annotated[AsyncWebSession, Depends(of_fastapi.current_session)], to: str = "") -> None:
        if to:
            session.login(to)

    app = fastapi_bank(AsyncSessionTokens(st.store, st.settings), Depends(gateway))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank.example") as client:
        await client.post("/login", params={"acr": STRONG})

        assert (await client.post("/pay")).status_code == 200
        assert (await client.post("/pay", params={"to": "bob"})).status_code == 401
