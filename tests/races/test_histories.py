"""Threads, tasks and processes on a few tokens and sessions: one order of single steps must explain what they saw."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.testing import ManualClock
from tests.helpers.effort import times
from tests.helpers.optimistic_memory import BlockingOptimisticMemoryStore, OptimisticMemoryStore, Server
from tests.helpers.races.field import ALL, Field
from tests.helpers.races.history import BrokenHistory
from tests.helpers.races.play import begin, play, play_async, session_moves, token_moves
from tests.helpers.races.processes import judge, race_of_processes

ROUNDS = times(1, proving=20)
PLAYERS, MOVES = 6, 24


@pytest.fixture(params=range(ROUNDS))
def seed(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_threads(racing: Field, seed: int) -> None:
    table, start, recorder = begin(racing.api(), tokens=2, sessions=2)
    apis = [racing.api() for _ in range(3)]

    def run(player: int) -> None:
        draw = token_moves if player % 2 == 0 else session_moves
        moves = draw(random.Random(seed * 100 + player), table, f"p{player}")
        play(apis[player % 3], recorder, table, moves, MOVES, f"p{player}")

    with ThreadPoolExecutor(PLAYERS) as pool:
        list(pool.map(run, range(PLAYERS)))

    assert len(recorder.operations) >= PLAYERS * MOVES
    judge(recorder.operations, start)


async def test_tasks(racing: Field, seed: int) -> None:
    table, start, recorder = await asyncio.to_thread(lambda: begin(racing.api(), tokens=2, sessions=2))
    apis = [await racing.async_api() for _ in range(2)]

    async def run(player: int) -> None:
        draw = token_moves if player % 2 == 0 else session_moves
        moves = draw(random.Random(seed * 100 + player), table, f"p{player}")
        await play_async(apis[player % 2], recorder, table, moves, MOVES, f"p{player}")

    try:
        await asyncio.gather(*(run(player) for player in range(PLAYERS)))
    finally:
        for api in apis:
            await api.close()

    assert len(recorder.operations) >= PLAYERS * MOVES
    judge(recorder.operations, start)


@pytest.mark.process
def test_processes(shared: Field, seed: int, tmp_path: Path) -> None:
    """Each process has two threads and a history of its own; they are judged together."""
    operations, start = race_of_processes(shared, 3, seed, tmp_path)

    assert len(operations) >= 3 * 2 * MOVES
    judge(operations, start)


# The check can fail: a store that commits whatever moved is found out.


async def unchecked_tasks(seed: int) -> None:
    server = Server(ManualClock(), checking=False)
    table, start, recorder = begin(SessionTokens(BlockingOptimisticMemoryStore(server), ALL), tokens=2, sessions=2)
    api = AsyncSessionTokens(OptimisticMemoryStore(server), ALL)

    async def run(player: int) -> None:
        draw = token_moves if player % 2 == 0 else session_moves
        moves = draw(random.Random(seed * 100 + player), table, f"p{player}")
        await play_async(api, recorder, table, moves, MOVES, f"p{player}")

    await asyncio.gather(*(run(player) for player in range(PLAYERS)))
    judge(recorder.operations, start)


@pytest.mark.parametrize("seed", range(4))
async def test_a_store_without_its_version_check_has_a_broken_history(seed: int) -> None:
    with pytest.raises(BrokenHistory):
        await unchecked_tasks(seed)
