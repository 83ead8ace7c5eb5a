"""The driver of generators, and commands on one thing that take turns after a refusal; no server is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from typing import NoReturn

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.contract.conflict_queue import TURNS, ConflictQueue
from session_tokens.contract.drive import drive, drive_now
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import Query, Snapshot
from tests.helpers.at_once import outcomes_at_once
from tests.helpers.optimistic_memory import BlockingOptimisticMemoryStore, OptimisticMemoryStore, Server

COMMANDS = 32
REFUSALS_EACH = 3
CAPPED = Settings(max_sessions=2)


class Turns(ConflictQueue):
    """Remembers its locks, so that a test sees whether one was kept."""

    def none_is_taken(self) -> bool:
        return not any(turn.locked() for turn in self._turns)


def asking() -> Generator[int, int, list[object]]:
    heard: list[object] = []
    for question in (1, 2, 3):
        try:
            heard.append((yield question))
        except LookupError as error:
            heard.append(error)
    return heard


def tenfold(question: int) -> int:
    if question == 2:
        raise LookupError("no answer to 2")
    return question * 10


async def tenfold_later(question: int) -> int:
    await asyncio.sleep(0)
    return tenfold(question)


async def test_what_a_step_raises_is_raised_where_the_step_was_yielded() -> None:
    for heard in (drive_now(asking(), tenfold), await drive(asking(), tenfold_later)):
        assert isinstance(heard[1], LookupError) and [heard[0], heard[2]] == [10, 30]


async def test_what_a_generator_does_not_mend_comes_out_and_it_cleans_up() -> None:
    cleaned: list[str] = []

    def holding() -> Generator[int, int, NoReturn]:
        try:
            while True:
                yield 2
        finally:
            cleaned.append("up")

    with pytest.raises(LookupError, match="no answer to 2"):
        drive_now(holding(), tenfold)
    with pytest.raises(LookupError, match="no answer to 2"):
        await drive(holding(), tenfold_later)
    waiting = asyncio.create_task(drive(holding(), lambda question: asyncio.sleep(60, question)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert cleaned == ["up"] * 3


def test_threads_on_one_owner_take_turns_after_a_refusal() -> None:
    """Each of n is refused a few times, not n times."""
    store = BlockingOptimisticMemoryStore(Server(), patience_s=0.3)
    store.conflict_queue = turns = Turns(threading.Lock, 20)
    with SessionTokens(store, CAPPED) as tokens:
        outcomes = outcomes_at_once(COMMANDS, lambda number: tokens.open_session("ann"))

        assert {"done": COMMANDS} == outcomes
        assert 0 < store.conflicts <= REFUSALS_EACH * COMMANDS
        assert turns.none_is_taken()


async def test_tasks_on_one_owner_take_turns_after_a_refusal() -> None:
    store = OptimisticMemoryStore(Server())
    store.conflict_queue = turns = Turns(asyncio.Lock, 20)
    async with AsyncSessionTokens(store, CAPPED) as tokens:
        await asyncio.gather(*(tokens.open_session("ann") for _ in range(COMMANDS)))

        assert 0 < store.conflicts <= REFUSALS_EACH * COMMANDS
        assert turns.none_is_taken()


class CommitsSlowlyWithATurn(OptimisticMemoryStore):
    """Tells when a command that has its turn commits, and waits there until it is cancelled."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.conflict_queue = self.turns = Turns(asyncio.Lock, 20)
        self.is_there = asyncio.Event()

    async def commit(self, commit: Commit) -> bool:
        if not self.turns.none_is_taken() and not self.is_there.is_set():
            self.is_there.set()
            await asyncio.sleep(60)
        return await super().commit(commit)


async def test_a_command_that_is_cancelled_gives_its_turn_back() -> None:
    store = CommitsSlowlyWithATurn(Server())
    async with AsyncSessionTokens(store, Settings(max_sessions=None)) as tokens:
        commands = [asyncio.create_task(tokens.open_session("ann")) for _ in range(4)]
        async with asyncio.timeout(20):
            await store.is_there.wait()
        for command in commands:
            command.cancel()
        await asyncio.gather(*commands, return_exceptions=True)

        assert store.turns.none_is_taken()
        assert (await tokens.open_session("ann")).session.owner == "ann"


def test_who_waited_for_a_turn_as_long_as_it_may_goes_on_without_it() -> None:
    store = BlockingOptimisticMemoryStore(Server())
    store.conflict_queue = turns = Turns(threading.Lock, 0.01)
    assert len(turns._turns) == TURNS
    for turn in turns._turns:
        turn.acquire()
    with SessionTokens(store, CAPPED) as tokens:
        assert tokens.open_session("ann").session.owner == "ann"

    assert all(turn.locked() for turn in turns._turns)  # a turn that it did not have is not given back


async def test_loans_of_many_tokens_are_read_in_one_step_with_which_a_visitor_logs_in() -> None:
    store = OptimisticMemoryStore(Server())
    tokens = AsyncSessionTokens(store, Settings())
    await tokens.open_session("agent")
    visitor = await tokens.log_in(None)
    for _ in range(12):
        token = await tokens.issue_token(visitor.id, transferable=True)
        await tokens.lend_token(token.id, borrower="agent")
    steps = 0
    read = store.read

    async def counted(queries: Sequence[Query]) -> Snapshot:
        nonlocal steps
        steps += 1
        return await read(queries)

    store.read = counted  # type: ignore[method-assign]
    await tokens.log_in("ann", former=visitor.secret)
    assert steps <= 4
    steps = 0
    assert await tokens.hand_over("ann", receiver="bob") == 12
    assert steps <= 6
