"""The session engine on servers, by threads and by event loops: those that last, and those made for one call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import UpdateError
from django.test.utils import override_settings

from session_tokens.web.django import SessionStore
from session_tokens.web.django.opened import opened


@pytest.fixture(params=["postgres_url", "valkey_url"])
def server(request: pytest.FixtureRequest) -> Iterator[None]:
    url = request.getfixturevalue(request.param)
    with override_settings(SESSION_TOKENS_STORE=url, SESSION_TOKENS={"pepper": bytes(32)}):
        yield
    opened.close()


async def life() -> None:
    """Visit, log in and out by the methods for asyncio, beside a slow request."""
    visitor = SessionStore()
    await visitor.aset("cart", [1])
    await visitor.asave()
    old = visitor.session_key
    await visitor.acycle_key()
    await visitor.aset("_auth_user_id", "7")
    await visitor.asave()
    slow = SessionStore(visitor.session_key)

    assert await SessionStore(old).aload() == {}
    assert await slow.aload() == {"cart": [1], "_auth_user_id": "7"}
    await slow.aset("a", 1)
    await SessionStore(visitor.session_key).aflush()
    with pytest.raises(UpdateError):
        await slow.asave()
    assert not await SessionStore().aexists(visitor.session_key)


async def test_on_a_loop_that_lasts(server: None) -> None:
    await asyncio.gather(life(), life())
    await life()
    assert len(opened._by_loop) == 1
    await opened.aclose()


def test_on_loops_that_are_made_for_one_call(server: None) -> None:
    async_to_sync(life)()
    async_to_sync(life)()
    assert len(opened._by_loop) == 0, "connections that nobody would close"


async def test_on_threads_beside_a_loop(server: None) -> None:
    session = SessionStore()
    await session.aset("a", 1)
    await asyncio.to_thread(session.save)
    session["b"] = 2
    await session.asave()

    assert await asyncio.to_thread(SessionStore(session.session_key).load) == {"a": 1, "b": 2}
    await opened.aclose()
