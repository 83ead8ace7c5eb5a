"""General settings that are read while this process changes one: what is older than the change is not taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.stores.connect import open_store, open_store_now


def switch(tokens: Any) -> Any:
    """Have the store keep events, as ``open`` does."""
    return tokens.record_events()


def allow(tokens: Any) -> Any:
    """Set a cap."""
    return tokens.set_setting("max_sessions", 7)


def holds(tokens: SessionTokens | AsyncSessionTokens, change: Callable[[Any], Any]) -> bool:
    return tokens.store.listeners.kept if change is switch else tokens.settings.max_sessions == 7


@pytest.mark.parametrize("change", [switch, allow])
def test_what_a_thread_read_before_is_not_taken_after(
    tmp_path: Path, change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store_now(f"sqlite:///{tmp_path}/s.db")
    has_read, goes_on, read_now = threading.Event(), threading.Event(), store.read_now
    with SessionTokens(store, Settings(events="durable")) as tokens:

        def read_late(queries: Any) -> Any:
            found = read_now(queries)
            if threading.current_thread() is reader:
                has_read.set()
                assert goes_on.wait(30)
            return found

        monkeypatch.setattr(store, "read_now", read_late)
        reader = threading.Thread(target=tokens.refresh_settings)
        reader.start()
        assert has_read.wait(30)
        change(tokens)
        goes_on.set()
        reader.join(30)
        assert holds(tokens, change)
        tokens.refresh_settings()
        assert holds(tokens, change)


@pytest.mark.parametrize("change", [switch, allow])
async def test_what_a_task_read_before_is_not_taken_after(
    tmp_path: Path, change: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/s.db")
    has_read, goes_on, read = asyncio.Event(), asyncio.Event(), store.read
    async with AsyncSessionTokens(store, Settings(events="durable")) as tokens:

        async def read_late(queries: Any) -> Any:
            found = await read(queries)
            if asyncio.current_task() is reader:
                has_read.set()
                await goes_on.wait()
            return found

        monkeypatch.setattr(store, "read", read_late)
        reader = asyncio.create_task(tokens.refresh_settings())
        await has_read.wait()
        await change(tokens)
        goes_on.set()
        await reader
        assert holds(tokens, change)
        await tokens.refresh_settings()
        assert holds(tokens, change)


def test_a_thread_gets_what_it_has_set_while_another_one_sets_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store_now(f"sqlite:///{tmp_path}/s.db")
    has_begun, goes_on, run_now = threading.Event(), threading.Event(), store.run_now
    with SessionTokens(store) as tokens:

        def run_late(*asked: Any) -> Any:
            if threading.current_thread() is slow:
                has_begun.set()
                assert goes_on.wait(30)
            return run_now(*asked)

        monkeypatch.setattr(store, "run_now", run_late)
        slow = threading.Thread(target=tokens.set_setting, args=("events", "durable"))
        slow.start()
        assert has_begun.wait(30)
        assert tokens.set_setting("max_sessions", 7).value == 7
        assert tokens.settings.max_sessions == 7
        goes_on.set()
        slow.join(30)
        assert (tokens.settings.max_sessions, store.listeners.kept) == (7, True)


async def test_a_task_gets_what_it_has_set_while_another_one_sets_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/s.db")
    has_begun, goes_on, run = asyncio.Event(), asyncio.Event(), store.run
    async with AsyncSessionTokens(store) as tokens:

        async def run_late(*asked: Any) -> Any:
            if asyncio.current_task() is slow:
                has_begun.set()
                await goes_on.wait()
            return await run(*asked)

        monkeypatch.setattr(store, "run", run_late)
        slow = asyncio.create_task(tokens.set_setting("events", "durable"))
        await has_begun.wait()
        assert (await tokens.set_setting("max_sessions", 7)).value == 7
        assert tokens.settings.max_sessions == 7
        goes_on.set()
        await slow
        assert (tokens.settings.max_sessions, store.listeners.kept) == (7, True)
