"""A second session middleware with a cookie of the same name: users are logged out, and the log says why."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as CookieMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from session_tokens import AsyncSessionTokens
from session_tokens.web.asgi import SESSION, SessionMiddleware


def application(tokens: AsyncSessionTokens, **options: Any) -> Starlette:
    """Make one whose pages use the session of Starlette's own middleware, as those of NiceGUI do."""

    async def log_in(request: Request) -> PlainTextResponse:
        request.scope[SESSION].login("ann")
        return PlainTextResponse("in")

    async def page(request: Request) -> PlainTextResponse:
        request.session["seen"] = True
        return PlainTextResponse(str(request.scope[SESSION].owner))

    return Starlette(
        routes=[Route("/log-in", log_in, methods=["POST"]), Route("/page", page)],
        middleware=[
            Middleware(SessionMiddleware, store=tokens, **options),
            Middleware(CookieMiddleware, secret_key="only here"),
        ],
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what our middleware wrote into the log."""
    return [record.getMessage() for record in caplog.records if record.name == "session_tokens.web"]


@pytest.mark.parametrize(
    ("options", "owners", "warnings"), [({}, ["ann", "None"], 1), ({"session_cookie": "login"}, ["ann", "ann"], 0)]
)
async def test_the_log_says_once_why_users_are_logged_out(
    options: dict[str, Any], owners: list[str], warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        app = application(tokens, **options)
        for _ in range(2):
            async with AsyncClient(transport=ASGITransport(app), base_url="http://shop.example") as browser:
                await browser.post("/log-in")
                assert owners == [(await browser.get("/page")).text, (await browser.get("/page")).text]

    assert [True] * warnings == ["session_cookie=" in message for message in said(caplog)]


async def test_a_visitor_is_logged_out_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        transport = ASGITransport(application(tokens))
        assert "session" in (await AsyncClient(transport=transport).get("http://shop.example/page")).cookies

    assert [] == said(caplog)


async def test_the_headers_of_an_answer_may_be_there_to_be_read_once() -> None:
    """ASGI has them as what can be gone through, and nothing more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope[SESSION]["seen"] = True
        headers = (header for header in [(b"content-type", b"text/plain"), (b"x-page", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        transport = ASGITransport(SessionMiddleware(app, store=tokens))
        async with AsyncClient(transport=transport, base_url="http://shop.example") as browser:
            pages = [await browser.get("/page") for _ in range(2)]

    assert [("text/plain", "1")] * 2 == [
        (page.headers.get("content-type"), page.headers.get("x-page")) for page in pages
    ]
