"""Consumers of Channels on a real server: whose they are, and when their WebSockets are closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.test import Client
from django.test.utils import modify_settings, override_settings
from django.urls import path
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from session_tokens.web.django.channels import AuthMiddlewareStack
from session_tokens.web.django.checks import DJANGOS, MIDDLEWARE
from session_tokens.web.django.opened import BlockingSessions, opened
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.web_sites import serving

LEFT: list[int] = []


class Who(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"user": self.scope["user"].get_username(), "cart": self.scope["session"].get("cart")})

    async def receive_json(self, content: Any, **_: Any) -> None:
        if isinstance(content, dict):
            assert "cart" in await self.scope["session"].aload()  # as whoever wants to see what others changed
            self.scope["session"].update(content)
            await self.scope["session"].asave()
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        LEFT.append(code)


class WhoByThread(JsonWebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send_json({"user": self.scope["user"].get_username(), "cart": self.scope["session"].get("cart")})

    def receive_json(self, content: Any, **_: Any) -> None:
        if isinstance(content, dict):
            assert "cart" in self.scope["session"].load()
            self.scope["session"].update(content)
            self.scope["session"].save()
        self.send_json(content)

    def disconnect(self, code: int) -> None:
        LEFT.append(code)


def application() -> Any:
    inner = ProtocolTypeRouter({
        "http": ASGIHandler(),
        "websocket": AuthMiddlewareStack(URLRouter([path("ws", Who.as_asgi()), path("thread", WhoByThread.as_asgi())])),
    })  # fmt: skip

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await inner(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            if phase == "shutdown":
                await opened.aclose()
            await send({"type": f"lifespan.{phase}.complete"})

    return app


@pytest.fixture(params=[False, True], ids=["django's middleware", "ours"])
def site(request: pytest.FixtureRequest, tokens: BlockingSessions) -> Iterator[str]:
    get_user_model().objects.create_user("ann", password="old")
    changed = {"prepend": MIDDLEWARE, "remove": DJANGOS} if request.param else {"remove": "nothing"}
    with modify_settings(MIDDLEWARE=changed), serving(application(), is_asgi=True) as url:
        yield url.replace("http", "ws")
    get_user_model().objects.all().delete()
    connection.close()


def logged_in() -> Client:
    client = Client()
    client.get("/append?item=pen")
    client.get("/log-in?name=ann")
    return client


@asynccontextmanager
async def socket_of(client: Client, url: str) -> AsyncIterator[ClientConnection]:
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    async with connect(url, additional_headers={"cookie": cookies}) as socket:
        yield socket


async def code_of(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(socket.recv(), 60)
    return socket.close_code


@pytest.mark.parametrize("where", ["ws", "thread"])
async def test_a_log_out_closes_the_sockets_of_that_browser_alone(site: str, where: str) -> None:
    LEFT.clear()
    here, there = await asyncio.to_thread(logged_in), await asyncio.to_thread(logged_in)
    async with socket_of(here, f"{site}/{where}") as mine, socket_of(there, f"{site}/{where}") as other:
        told = [await mine.recv(), await other.recv()]
        await asyncio.to_thread(here.get, "/log-out")
        code = await code_of(mine)
        await other.send('"still here"')

        assert ['{"user": "ann", "cart": ["pen"]}'] * 2 == told
        assert 4001 == code and '"still here"' == await other.recv()
    assert 4001 in LEFT


async def test_a_new_session_key_closes_nothing(site: str) -> None:
    here = await asyncio.to_thread(logged_in)
    async with socket_of(here, f"{site}/ws") as socket:
        await socket.recv()
        await asyncio.to_thread(here.get, "/change-password?new=new")
        await socket.send("1")

        assert "1" == await socket.recv()


@pytest.mark.parametrize("grace", [None, 0.001], ids=["at once", "with a grace that is over"])
@pytest.mark.parametrize("where", ["ws", "thread"])
async def test_what_a_consumer_keeps_is_kept_though_the_session_has_another_key_by_now(
    site: str, tokens: BlockingSessions, where: str, grace: float | None
) -> None:
    here = await asyncio.to_thread(logged_in)
    async with socket_of(here, f"{site}/{where}") as socket:
        await socket.recv()
        renewed = tokens.rotate_session(here.cookies["sessionid"].value, grace=grace)
        over_at = tokens.store.clock.now() + 1
        while tokens.store.clock.now() <= over_at:
            pass
        for n in (1, 2):
            await socket.send(f'{{"seen": {n}}}')
            assert f'{{"seen": {n}}}' == await socket.recv()

    found = tokens.verify_session(renewed.secret)
    assert found is not None
    assert (found.data["seen"], found.data["cart"]) == (2, ["pen"])


async def test_a_visitor_is_anonymous_and_a_wrong_cookie_too(site: str) -> None:
    stranger = Client()
    stranger.cookies["sessionid"] = "std_00" + "x" * 34
    for client in (Client(), stranger):
        async with socket_of(client, f"{site}/ws") as socket:
            assert '{"user": "", "cart": null}' == await socket.recv()


async def test_a_change_of_the_secret_key_ends_nobodys_session(site: str, tokens: BlockingSessions) -> None:
    here = await asyncio.to_thread(logged_in)
    for fallbacks, user in ((["for tests only"], "ann"), ([], "")):
        with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=fallbacks):
            async with socket_of(here, f"{site}/ws") as socket:
                assert f'{{"user": "{user}", "cart": ["pen"]}}' == await socket.recv()
    assert 1 == len(tokens.list_sessions().items)

    answer = await asyncio.to_thread(here.get, "/show")
    assert "ann" == answer.json()["user"]


async def test_a_store_that_is_away_lets_no_socket_in_and_logs_nobody_out(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey("--appendonly", "yes", "--appendfsync", "always")
    await sync_to_async(get_user_model().objects.create_user)("ann", password="old")
    project = {"SESSION_TOKENS_STORE": server.url, "SESSION_TOKENS": {"pepper": bytes(32)}}
    try:
        with override_settings(**project), serving(application(), is_asgi=True) as url:
            here = await asyncio.to_thread(logged_in)
            await asyncio.to_thread(server.kill)
            with pytest.raises(InvalidStatus) as refused:
                async with socket_of(here, f"{url.replace('http', 'ws')}/ws"):
                    pass
            assert refused.value.response.status_code == 503
            await asyncio.to_thread(server.start)
            for _ in range(200):  # connections are tried again after a while
                try:
                    async with socket_of(here, f"{url.replace('http', 'ws')}/ws") as socket:
                        assert '"ann"' in str(await socket.recv())
                        break
                except InvalidStatus:
                    await asyncio.sleep(0.05)
            else:
                raise AssertionError("nobody was let in again")
    finally:
        opened.close()
        await sync_to_async(get_user_model().objects.all().delete)()
