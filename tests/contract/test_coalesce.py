"""The coalescing stage: what travels together, and that no caller ever gets the answer of another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from session_tokens.contract import coalesce
from session_tokens.contract.batch import Batch
from session_tokens.contract.coalesce import BATCH_MAX, Coalescer
from session_tokens.contract.coalescing import CoalescingStore
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import DueRecord, Get, Query
from session_tokens.errors import CorruptRecord, StoreUnavailable
from session_tokens.stores.memory.store import MemoryStore

WITHIN_S = 30


class Echo:
    """Answers each question with itself; a gate can hold the answers back."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = asyncio.Event()

    async def carry(self, questions: Sequence[object]) -> Sequence[object]:
        self.batches.append(list(questions))
        self.under_way.set()
        await self.gate.wait()
        await asyncio.sleep(0)
        return list(questions)


async def test_questions_of_one_turn_travel_together() -> None:
    echo = Echo()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    answers = await asyncio.gather(*(stage.ask(number) for number in range(50)))

    assert answers == list(range(50))
    assert echo.batches == [list(range(50))]
    await stage.close()


async def test_what_comes_while_couriers_are_under_way_travels_next() -> None:
    echo = Echo()
    echo.gate.clear()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    tasks = []
    for number in range(20):
        tasks.append(asyncio.ensure_future(stage.ask(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(echo.batches) == coalesce.IN_FLIGHT_MAX
    echo.gate.set()

    assert await asyncio.gather(*tasks) == list(range(20))
    assert len(echo.batches) == coalesce.IN_FLIGHT_MAX + 1
    await stage.close()


async def test_who_was_just_answered_asks_along_with_those_who_wait() -> None:
    """Else a worker that comes back goes again with the few who came meanwhile, and batches become small."""
    echo = Echo()
    echo.gate.clear()
    stage: Coalescer[object, object] = Coalescer(echo.carry, in_flight_max=1)

    async def ask_twice() -> None:
        await stage.ask("first")
        await stage.ask("second")

    both = asyncio.ensure_future(ask_twice())
    await echo.under_way.wait()
    waiting = asyncio.ensure_future(stage.ask("meanwhile"))
    await asyncio.sleep(0)
    echo.gate.set()
    await asyncio.gather(both, waiting)

    assert echo.batches == [["first"], ["meanwhile", "second"]]
    await stage.close()


async def test_a_batch_is_bounded() -> None:
    echo = Echo()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    count = 2 * BATCH_MAX + 1
    answers = await asyncio.gather(*(stage.ask(number) for number in range(count)))

    assert answers == list(range(count))
    assert [len(batch) for batch in echo.batches] == [BATCH_MAX, BATCH_MAX, 1]
    await stage.close()


async def test_a_call_cancelled_before_it_is_sent_is_never_sent() -> None:
    echo = Echo()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    gone, stays = asyncio.ensure_future(stage.ask("gone")), asyncio.ensure_future(stage.ask("stays"))
    gone.cancel()

    assert await stays == "stays"
    assert gone.cancelled()
    assert echo.batches == [["stays"]]
    await stage.close()


async def test_a_call_cancelled_under_way_disturbs_no_other() -> None:
    echo = Echo()
    echo.gate.clear()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    tasks = [asyncio.ensure_future(stage.ask(number)) for number in range(10)]
    await echo.under_way.wait()
    tasks[3].cancel()
    echo.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [answer for answer in answers if not isinstance(answer, asyncio.CancelledError)] == [
        0, 1, 2, 4, 5, 6, 7, 8, 9,
    ]  # fmt: skip
    assert isinstance(answers[3], asyncio.CancelledError)
    await stage.close()


async def test_ten_thousand_cancellations_cross_no_answer() -> None:
    echo = Echo()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    chance = random.Random(7)
    crossed = cancelled = answered = 0

    async def ask(number: int) -> None:
        nonlocal crossed, answered
        crossed += await stage.ask(number) != number
        answered += 1

    number = 0
    while cancelled < 10_000:
        tasks = [asyncio.create_task(ask(number + place)) for place in range(100)]
        number += 100
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        for task in tasks:
            if chance.random() < 0.7:
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled += sum(isinstance(end, asyncio.CancelledError) for end in ended)

    assert crossed == 0
    assert answered > 1_000
    await stage.close()


async def test_an_error_in_place_of_an_answer_is_for_its_caller_alone() -> None:
    async def carry(numbers: Sequence[int]) -> Sequence[int | Exception]:
        return [CorruptRecord("torn") if number == 1 else number for number in numbers]

    stage: Coalescer[int, int] = Coalescer(carry)
    answers = await asyncio.gather(*(stage.ask(number) for number in range(3)), return_exceptions=True)

    assert (answers[0], answers[2]) == (0, 2)
    assert isinstance(answers[1], CorruptRecord)
    await stage.close()


async def test_a_failed_exchange_is_told_to_each_caller_with_an_error_of_its_own() -> None:
    async def carry(numbers: Sequence[int]) -> Sequence[int | Exception]:
        raise StoreUnavailable("gone", retry_after_ms=7)

    stage: Coalescer[int, int] = Coalescer(carry)
    first, second = await asyncio.gather(stage.ask(1), stage.ask(2), return_exceptions=True)

    assert isinstance(first, StoreUnavailable) and isinstance(second, StoreUnavailable)
    assert first is not second
    assert first.details == {"retry_after_ms": 7}
    with pytest.raises(StoreUnavailable):
        await stage.ask(3)  # it goes on
    await stage.close()


async def test_an_error_that_stands_for_many_answers_is_each_callers_own() -> None:
    async def carry(numbers: Sequence[int]) -> Sequence[int | Exception]:
        gone, other = StoreUnavailable("gone", retry_after_ms=7), CorruptRecord("torn")
        return [gone, other, gone, gone]

    stage: Coalescer[int, int] = Coalescer(carry)
    ended = await asyncio.gather(*map(stage.ask, range(4)), return_exceptions=True)

    assert [StoreUnavailable, CorruptRecord, StoreUnavailable, StoreUnavailable] == [*map(type, ended)]
    assert 4 == len(set(map(id, ended)))
    assert [{"retry_after_ms": 7}] * 2 == [error.details for error in ended[2:] if isinstance(error, StoreUnavailable)]
    await stage.close()


async def test_a_full_queue_makes_callers_wait() -> None:
    echo = Echo()
    echo.gate.clear()
    stage: Coalescer[object, object] = Coalescer(echo.carry, batch_max=4, waiting_max=8)
    tasks = [asyncio.ensure_future(stage.ask(number)) for number in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    for task in tasks[40:60]:
        task.cancel()

    assert stage.waiting == 8
    echo.gate.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ended if not isinstance(end, asyncio.CancelledError)] == [*range(40), *range(60, 100)]
    await stage.close()


async def test_a_closed_stage_refuses_and_closing_waits_for_what_is_under_way() -> None:
    echo = Echo()
    echo.gate.clear()
    stage: Coalescer[object, object] = Coalescer(echo.carry)
    under_way = asyncio.ensure_future(stage.ask(1))
    await echo.under_way.wait()
    closing = asyncio.create_task(stage.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await stage.ask(2)
    echo.gate.set()
    await closing

    assert await under_way == 1


@pytest.mark.parametrize("has_worked", [False, True])
async def test_who_asks_after_all_tasks_were_cancelled_is_answered(has_worked: bool) -> None:
    """As a program does that shuts down: it cancels what runs, and logs a user out at the end."""
    stage: Coalescer[object, object] = Coalescer(Echo().carry)
    asking = asyncio.ensure_future(stage.ask(1))
    await asyncio.sleep(0)
    if has_worked:
        assert await asking == 1
        await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others
    for task in others:
        task.cancel()
    await asyncio.wait(others)

    async with asyncio.timeout(WITHIN_S):
        assert await stage.ask(2) == 2
    await stage.close()


async def test_who_waits_is_not_left_when_only_the_worker_is_cancelled() -> None:
    stage: Coalescer[object, object] = Coalescer(Echo().carry)
    asking = asyncio.ensure_future(stage.ask(1))
    for task in asyncio.all_tasks() - {asyncio.current_task(), asking}:
        task.cancel()

    async with asyncio.timeout(WITHIN_S):
        assert await asking == 1
    await stage.close()


def test_a_stage_belongs_to_one_event_loop() -> None:
    stage: Coalescer[object, object] = Coalescer(Echo().carry)
    asyncio.run(_once(stage))
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(_once(stage))


async def _once(stage: Coalescer[object, object]) -> None:
    assert await stage.ask(1) == 1


class OverMemory(CoalescingStore):
    """A store that counts what reaches it; its records are those of a memory store."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryStore()
        self.asked: list[Sequence[Query]] = []

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        self.asked.append(queries)
        await asyncio.sleep(0)
        now, found = self.memory.read_now(queries)
        return Batch(now, found)

    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        return [True] * len(commits)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        return []

    async def close(self) -> None:
        await self.close_queues()


async def test_a_want_that_several_calls_share_is_asked_once() -> None:
    store = OverMemory()
    answers = await asyncio.gather(
        store.read([Get("session", "ses_1"), Get("entry", "alice")]),
        store.read([Get("entry", "alice"), Get("setting", "alice")]),
        store.read([]),
    )  # fmt: skip

    assert store.asked == [[Get("session", "ses_1"), Get("entry", "alice"), Get("setting", "alice")]]
    assert [len(answer.found) for answer in answers] == [2, 2, 0]
    await store.close()
