"""WebSockets and streams that end with the log-in, wherever it is ended: real servers, clients and processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from session_tokens import AsyncSessionTokens, Session, Settings
from session_tokens.testing import ManualClock
from session_tokens.web import ends as module
from session_tokens.web.asgi import AsyncWebSession, SessionMiddleware
from session_tokens.web.ends import Closing, Ends
from session_tokens.web.fastapi import current_session, require_session


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def st(clock: ManualClock) -> AsyncIterator[AsyncSessionTokens]:
    async with await AsyncSessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


def another_process(st: AsyncSessionTokens) -> AsyncSessionTokens:
    """Return the API of another process on the same store: nothing that it does is heard here."""
    other = AsyncSessionTokens(st.store, st.settings)
    st.subscribe = lambda callback: lambda: None  # type: ignore[method-assign]
    return other


class Socket:
    """Keeps what it was closed with."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    async def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


async def held(closing: Closing, entered: asyncio.Event) -> str:
    async with closing:
        entered.set()
        await asyncio.Event().wait()
    return "went on"


Act = Callable[[AsyncSessionTokens, Session], Awaitable[object]]
ENDING: dict[str, Act] = {
    "logged out": lambda st, session: st.destroy_session(session.id),
    "all of the owner": lambda st, session: st.destroy_sessions(session.owner),
    "disabled": lambda st, session: st.disable_owner(session.owner),
    "detached": lambda st, session: st.detach_session(session.id),
    "another log-in": lambda st, session: st.log_in(session.owner, former=session.id),
}


@pytest.mark.parametrize("act", ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_a_block_is_left_and_its_socket_closed(st: AsyncSessionTokens, act: Act, is_elsewhere: bool) -> None:
    actor = another_process(st) if is_elsewhere else st
    session = (await st.open_session("ann", detachable=True)).session
    ends, socket, entered = Ends(st), Socket(), asyncio.Event()
    closing = Closing(ends, session, lambda reason: socket.close(4001, reason))
    task = asyncio.create_task(held(closing, entered))
    await entered.wait()
    await act(actor, session)

    assert "went on" == await asyncio.wait_for(task, 30)
    assert [4001] == [code for code, _ in socket.closed] and closing.has_ended
    assert not task.cancelled() and not ends._waiting


async def test_a_new_secret_a_change_and_a_use_close_nothing(st: AsyncSessionTokens) -> None:
    elsewhere = another_process(st)
    session = (await st.open_session("ann", idle_timeout=60)).session
    ends, entered = Ends(st), asyncio.Event()
    task = asyncio.create_task(held(Closing(ends, session, None), entered))
    await entered.wait()
    await elsewhere.rotate_session(session.id)
    await elsewhere.update_session_data(session.id, {"a": 1})
    ends._look_soon(session.id)
    await looked_at(ends, session)

    assert not task.done()
    await elsewhere.destroy_session(session.id)
    assert "went on" == await asyncio.wait_for(task, 30)


async def looked_at(ends: Ends, session: Session) -> None:
    """Wait until a session that lives was read once more."""
    for _ in range(100_000):
        if ends._due_s[session.id] > ends.loop.time():
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody looked")


async def test_a_session_that_is_over_before_the_block_begins_leaves_it(st: AsyncSessionTokens) -> None:
    elsewhere = another_process(st)
    session = (await st.open_session("ann")).session
    await elsewhere.destroy_session(session.id)

    assert "went on" == await asyncio.wait_for(held(Closing(Ends(st), session, None), asyncio.Event()), 30)


async def test_a_deadline_leaves_it(st: AsyncSessionTokens, clock: ManualClock) -> None:
    session = (await st.open_session("ann", idle_timeout=60)).session
    entered = asyncio.Event()
    task = asyncio.create_task(held(Closing(Ends(st), session, None), entered))
    await entered.wait()
    clock.advance(100)

    assert "went on" == await asyncio.wait_for(task, 30)


async def test_a_store_that_is_away_ends_nothing(st: AsyncSessionTokens) -> None:
    session = (await st.open_session("ann")).session
    ends, entered = Ends(st), asyncio.Event()
    task = asyncio.create_task(held(Closing(ends, session, None), entered))
    await entered.wait()
    await looked_at(ends, session)
    await st.store.close()  # from now on every read fails
    ends._look_soon(session.id)
    await looked_at(ends, session)

    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whoever_is_cancelled_from_outside_is_cancelled(st: AsyncSessionTokens) -> None:
    session = (await st.open_session("ann")).session
    ends, entered = Ends(st), asyncio.Event()
    task = asyncio.create_task(held(Closing(ends, session, None), entered))
    await entered.wait()
    await st.destroy_session(session.id)
    task.cancel()  # both at once: the cancellation is not lost

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_that_ends_with_its_session_leaves_no_cancellation_behind(st: AsyncSessionTokens) -> None:
    session = (await st.open_session("ann")).session
    async with Closing(Ends(st), session, None) as closing:
        closing._end("logout")  # the block is over before it is told
    await asyncio.sleep(0)

    task = asyncio.current_task()
    assert closing.has_ended and task is not None and task.cancelling() == 0


async def test_an_error_within_the_block_is_told(st: AsyncSessionTokens) -> None:
    session = (await st.open_session("ann")).session
    ends = Ends(st)
    with pytest.raises(ZeroDivisionError):
        async with Closing(ends, session, None):
            raise ZeroDivisionError

    assert not ends._waiting


async def test_two_wait_for_one_session_and_one_task_looks(st: AsyncSessionTokens) -> None:
    elsewhere = another_process(st)
    session = (await st.open_session("ann")).session
    told: list[str | None] = []
    ends = Ends(st)
    forget = [ends.wait(session, told.append) for _ in range(3)]
    forget[0]()
    before = ends._task
    await elsewhere.destroy_session(session.id)
    assert before is not None
    await asyncio.wait_for(asyncio.wait([before]), 30)

    assert [None, None] == told and ends._task is None
    later: list[str | None] = []
    other = (await st.open_session("bob")).session
    ends.wait(other, later.append)  # it begins anew
    await elsewhere.destroy_session(other.id)
    assert ends._task is not None
    await asyncio.wait_for(asyncio.wait([ends._task]), 30)
    assert [None] == later


async def test_very_many_are_looked_at_less_often(st: AsyncSessionTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(st)
    sessions = [(await st.open_session(f"owner {n}")).session for n in range(250)]
    monkeypatch.setattr(module, "LOOKS_PER_S", 100)
    for session in sessions:
        ends.wait(session, lambda reason: None)
    for session in sessions:
        await looked_at(ends, session)

    assert min(ends._due_s.values()) - ends.loop.time() > 1.5
    await ends.close()


async def test_where_events_are_switched_off_it_looks_often_and_follows_once_they_are_on(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLLOW_AGAIN_S", 0.01)
    async with await AsyncSessionTokens.open(
        "memory://", settings=Settings(events="durable"), clock=clock, sweep=False
    ) as st:
        session = (await st.open_session("ann")).session
        ends = Ends(st)
        forget = ends.wait(session, lambda reason: None)
        await until(lambda: ends._is_following)
        assert ends._pause_s() == module.LOOK_BESIDE_S
        await AsyncSessionTokens(st.store, Settings(events="off")).record_events()
        await until(lambda: not ends._is_following)
        assert ends._pause_s() == module.LOOK_S
        await AsyncSessionTokens(st.store, Settings(events="durable")).record_events()
        await until(lambda: ends._is_following)
        assert ends._pause_s() == module.LOOK_BESIDE_S
        forget()
        await ends.close()


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("what was waited for did not come")


async def test_events_tell_it_at_once_and_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 3600)  # nothing is seen by looking
    monkeypatch.setattr(module, "LOOK_BESIDE_S", 3600)
    url, settings = f"sqlite:///{tmp_path / 's.db'}", Settings(events="durable")
    async with (
        await AsyncSessionTokens.open(url, settings=settings, sweep=False) as here,
        await AsyncSessionTokens.open(url, settings=settings, sweep=False) as elsewhere,
    ):
        session = (await here.open_session("ann")).session
        await elsewhere.destroy_session((await elsewhere.open_session("ann")).session.id)  # an end of before
        ends, entered = Ends(here), asyncio.Event()
        closing = Closing(ends, session, None)
        task = asyncio.create_task(held(closing, entered))
        await entered.wait()
        await looked_at(ends, session)
        await elsewhere.rotate_session(session.id)
        await elsewhere.destroy_session(session.id, reason="revoked")

        assert "went on" == await asyncio.wait_for(task, 30)
        assert "revoked" == closing.reason


def application(store: str | AsyncSessionTokens) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=store)

    @app.websocket("/ws")
    async def echo(ws: WebSocket, session: Annotated[AsyncWebSession, Depends(require_session)]) -> None:
        await ws.accept()
        async with session.closes(ws):
            while True:
                await ws.send_text(await ws.receive_text())

    @app.get("/news")
    async def news(session: Annotated[AsyncWebSession, Depends(require_session)]) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            yield "data: hello\n\n"
            async with session.closes():
                await asyncio.Event().wait()
            yield "event: logged-out\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.websocket("/visitor")
    async def visitor(ws: WebSocket, session: Annotated[AsyncWebSession, Depends(current_session)]) -> None:
        await ws.accept()
        async with session.closes(ws, code=4002):
            await ws.send_text("hello")
        await ws.close()

    return app


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on this loop; the answer is the address of its WebSockets."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="websockets-sansio", lifespan="on"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def code_of(connection: ClientConnection) -> int | None:
    """Wait until a WebSocket is closed; return the code that it was closed with."""
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(connection.recv(), 30)
    return connection.close_code


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_socket_is_closed_with_4001(st: AsyncSessionTokens, is_heard: bool) -> None:
    actor = st if is_heard else another_process(st)
    issued = await st.open_session("ann")
    async with (
        served(application(st)) as url,
        connect(f"{url}/ws", additional_headers={"cookie": f"session={issued.secret}"}) as connection,
    ):
        await connection.send("a")
        assert "a" == await connection.recv()
        await actor.rotate_session(issued.session.id)
        await connection.send("b")
        assert "b" == await connection.recv()
        await actor.destroy_session(issued.session.id)

        assert 4001 == await code_of(connection)
        assert connection.close_reason == "the session has ended" + (": logout" if is_heard else "")


async def test_a_stream_of_events_ends_with_the_log_in(st: AsyncSessionTokens) -> None:
    elsewhere = another_process(st)
    issued = await st.open_session("ann")
    async with (
        served(application(st)) as url,
        httpx.AsyncClient(base_url=url.replace("ws", "http"), cookies={"session": str(issued.secret)}) as client,
        client.stream("GET", "/news", timeout=60) as answer,
    ):
        lines = answer.aiter_lines()
        assert "data: hello" == await anext(lines)
        await elsewhere.destroy_session(issued.session.id)

        assert ["", "event: logged-out", ""] == [line async for line in lines]


async def test_the_socket_of_a_visitor_without_a_record_is_left_alone(st: AsyncSessionTokens) -> None:
    async with served(application(st)) as url, connect(f"{url}/visitor") as connection:
        assert "hello" == await connection.recv()

        assert 1000 == await code_of(connection)
