"""What a WebSocket leaves of its session, under ASGI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import litestar
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from session_tokens import AsyncSessionTokens
from session_tokens.web.asgi import SessionMiddleware
from session_tokens.web.litestar import SessionTokensConfig


def unnamed(session: Any) -> None:
    del session["user_id"]


def logged_out(session: Any) -> None:
    session.logout()
    session["message"] = "bye"


def changed(session: Any) -> None:
    session["theme"] = "light"


class Broken(Exception):
    """What a view fails with."""


def in_starlette(st: AsyncSessionTokens, view: Callable[[Any], Any]) -> Any:
    app = Starlette(routes=[WebSocketRoute("/", view)])
    app.add_middleware(SessionMiddleware, store=st, owner_key="user_id")
    return app


def in_litestar(st: AsyncSessionTokens, view: Callable[[Any], Any]) -> Any:
    @litestar.websocket("/")
    async def served(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await view(socket)

    return litestar.Litestar([served], middleware=[SessionTokensConfig(store=st, owner_key="user_id").middleware])


MADE = [in_starlette, in_litestar]


async def served(
    st: AsyncSessionTokens, secret: str, act: Callable[[Any], None], *, breaks: bool, made: Callable[..., Any]
) -> None:
    """Let a browser connect, send nothing and leave; the view acts on its session, and waits or fails."""

    async def view(socket: Any) -> None:
        await socket.accept()
        act(socket.session)
        if breaks:
            raise Broken
        await socket.receive_text()

    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        """Send nothing."""

    headers = [(b"cookie", f"session={secret}".encode())]
    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": headers, "query_string": b"", "state": {}}
    handed_on = pytest.raises(Broken if breaks else WebSocketDisconnect)
    with nullcontext() if made is in_litestar else handed_on:  # Litestar handles all errors itself
        await made(st, view)(scope, receive, send)


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("act", [unnamed, logged_out])
async def test_a_log_out_is_done_and_leaves_no_visitors_session(
    act: Callable[[Any], None], breaks: bool, made: Callable[..., Any]
) -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        secret = (await st.log_in("7", data={"user_id": 7, "theme": "dark"})).secret
        await served(st, secret, act, breaks=breaks, made=made)

        assert (await st.list_sessions(anonymous=True)).items == []


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(("breaks", "kept"), [(False, "light"), (True, "dark")])
async def test_what_changed_is_written_when_the_browser_leaves_but_not_when_the_view_fails(
    breaks: bool, kept: str, made: Callable[..., Any]
) -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        issued = await st.log_in("7", data={"user_id": 7, "theme": "dark"})
        await served(st, issued.secret, changed, breaks=breaks, made=made)
        found = await st.get_session(issued.id)

        assert found is not None and found.data["theme"] == kept
