"""Queues for several servers: closed while somebody asks one that nobody asked before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from session_tokens.contract.coalesce import Home
from session_tokens.contract.lanes import DirectLanes, Lanes
from session_tokens.errors import StoreUnavailable


async def test_closing_goes_on_while_another_server_is_asked_for_the_first_time() -> None:
    gate, under_way = asyncio.Event(), asyncio.Event()

    async def carry(server: str, questions: Sequence[int]) -> Sequence[int]:
        under_way.set()
        await gate.wait()
        return questions

    before = asyncio.all_tasks()
    lanes: Lanes[str, int, int] = Lanes(carry, home=Home())
    asked = asyncio.ensure_future(lanes.ask("one", 1))
    await under_way.wait()
    closing = asyncio.ensure_future(lanes.close())
    await asyncio.sleep(0)

    async def ask_another() -> int:
        return await lanes.ask("two", 2)

    late = asyncio.ensure_future(ask_another())
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert await asked == 1
    with pytest.raises(StoreUnavailable, match="closed"):
        await late
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_threads_are_refused_by_all_lanes_once_these_are_closed() -> None:
    lanes: DirectLanes[str, int, int] = DirectLanes(lambda _, questions: questions)
    assert lanes.ask("one", 1) == 1
    lanes.close()

    for server in ("one", "two"):
        with pytest.raises(StoreUnavailable, match="closed"):
            lanes.ask(server, 2)
