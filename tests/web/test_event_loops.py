"""One application that several event loops serve, each on a thread of its own: each has the store to itself."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens.web.shared_store import SharedStore
from tests.helpers.event_loops import PATIENCE_S, Loop

PEPPER = bytes(range(32))


@pytest.fixture
def loops() -> Iterator[list[Loop]]:
    made = [Loop(), Loop()]
    yield made
    for loop in made:
        loop.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("valkey", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'sessions.db'}",
        "valkey": lambda: str(request.getfixturevalue("valkey_url")),
    }
    return SharedStore(urls[request.param](), pepper=PEPPER)


def test_each_keeps_its_connections_while_others_are_served(loops: list[Loop], store: SharedStore) -> None:
    async def logged_in(owner: str) -> Any:
        tokens = await store.tokens()
        await tokens.log_in(owner)
        return tokens

    first = [loop.do(logged_in("ann")) for loop in loops]
    again = [loop.do(logged_in("ben")) for loop in loops]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    for loop, tokens in zip(loops, first, strict=True):
        assert len(loop.do(tokens.list_sessions("ann")).items) == 2
    for loop in loops:
        loop.do(store.close())


def test_loops_that_begin_at_once_have_one_store(loops: list[Loop], store: SharedStore) -> None:
    both = threading.Barrier(len(loops))

    async def opened() -> Any:
        both.wait()
        tokens = await store.tokens()
        await tokens.log_in("ann")
        return tokens

    begun = [loop.begin(opened()) for loop in loops]
    opened_by = [each.result(PATIENCE_S) for each in begun]
    for loop, tokens in zip(loops, opened_by, strict=True):
        assert loop.do(_is_at_hand(store, tokens))
        assert len(loop.do(tokens.list_sessions("ann")).items) == 2
    for loop in loops:
        loop.do(store.close())


@pytest.mark.server
def test_a_loop_that_ends_closes_its_own_alone(loops: list[Loop], valkey_url: str) -> None:
    store = SharedStore(valkey_url, pepper=PEPPER)
    tokens = [loop.do(store.tokens()) for loop in loops]
    loops[0].do(store.close())

    assert loops[1].do(tokens[1].list_sessions("ann")).items == []
    assert loops[1].do(store.tokens()) is tokens[1]
    loops[1].do(store.close())


@pytest.mark.server
def test_nothing_is_kept_of_loops_that_are_over(valkey_url: str) -> None:
    store = SharedStore(valkey_url, pepper=PEPPER)

    async def opened() -> Any:
        tokens = await store.tokens()
        store.ends(tokens)
        await tokens.close()  # else its connections are left to the garbage collector, which complains
        return weakref.ref(tokens)

    of_first = asyncio.run(opened())
    asyncio.run(opened())
    gc.collect()
    assert of_first() is None


async def _is_at_hand(store: SharedStore, tokens: Any) -> bool:
    return store.at_hand() is tokens
