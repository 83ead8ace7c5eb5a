"""sqladmin: one line puts our middleware in the place of Starlette's, and its log-in is a session of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqladmin import Admin
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.web.asgi import SessionMiddleware


class LogIn(AuthenticationBackend):
    """Logs in whoever knows the word."""

    async def login(self, request: Request) -> bool:
        form = await request.form()
        if form["password"] != "open":
            return False
        session: Any = request.session
        session.login(str(form["username"]))
        return True

    async def logout(self, request: Request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        session: Any = request.session
        return session.owner is not None


@pytest.fixture
def tokens() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


def made(tokens: SessionTokens) -> Starlette:
    async def put(request: Request) -> JSONResponse:
        request.session["cart"] = ["pen"]
        return JSONResponse({})

    async def show(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    app = Starlette(routes=[Route("/put", put, methods=["POST"]), Route("/show", show)])
    store = AsyncSessionTokens(tokens.store, tokens.settings)
    app.add_middleware(SessionMiddleware, store=store)
    backend = LogIn(secret_key="not used")
    backend.middlewares = [Middleware(SessionMiddleware, store=store, session_cookie="admin")]
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Admin(app, engine, authentication_backend=backend)
    return app


def test_its_log_in_is_a_session_of_ours_beside_that_of_the_application(tokens: SessionTokens) -> None:
    with TestClient(made(tokens), base_url="http://shop.example", follow_redirects=False) as client:
        client.post("/put")
        assert 302 == client.get("/admin/").status_code
        assert 400 == client.post("/admin/login", data={"username": "ann", "password": "wrong"}).status_code
        assert 302 == client.post("/admin/login", data={"username": "ann", "password": "open"}).status_code
        assert {"session", "admin"} == set(client.cookies)
        assert 200 == client.get("/admin/").status_code
        (session,) = tokens.list_sessions("ann").items
        tokens.destroy_session(session.id)
        assert 302 == client.get("/admin/").status_code
        client.post("/admin/login", data={"username": "ann", "password": "open"})
        client.get("/admin/logout")
        assert 302 == client.get("/admin/").status_code

        assert {"cart": ["pen"]} == client.get("/show").json()
    assert [] == tokens.list_sessions("ann").items
