"""``Deadlines``: late waits end, others do not, and whoever else cancels a task is told apart from a time-out."""

from __future__ import annotations

import asyncio

import pytest

from session_tokens.stores.common.waits import Deadlines

FOREVER_S = 3600.0
SOON_S = 0.01


async def waits(deadlines: Deadlines, seconds: float) -> None:
    """Wait for good, at most so long."""
    with deadlines.within(seconds):
        await asyncio.sleep(FOREVER_S)


async def test_a_wait_that_takes_too_long_ends_as_a_time_out() -> None:
    with pytest.raises(TimeoutError):
        await waits(Deadlines(), SOON_S)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_one_that_ends_in_time_leaves_no_trace() -> None:
    deadlines = Deadlines()
    with deadlines.within(SOON_S):
        await asyncio.sleep(0)
    await asyncio.sleep(5 * SOON_S)  # the timer rings here, and must not find the task


async def test_only_those_that_are_late_end() -> None:
    deadlines = Deadlines()
    released = asyncio.Event()

    async def wait(seconds: float) -> str:
        try:
            with deadlines.within(seconds):
                await released.wait()
        except TimeoutError:
            return "late"
        return "in time"

    first, patient, second = (asyncio.create_task(wait(each)) for each in (SOON_S, FOREVER_S, 3 * SOON_S))
    assert [await first, await second] == ["late", "late"]
    assert not patient.done()
    released.set()
    assert await patient == "in time"


async def test_a_shorter_one_that_comes_later_ends_first() -> None:
    deadlines = Deadlines()
    patient = asyncio.create_task(waits(deadlines, FOREVER_S))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await waits(deadlines, SOON_S)
    patient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await patient


async def test_a_cancelled_task_is_no_time_out() -> None:
    task = asyncio.create_task(waits(Deadlines(), FOREVER_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_cancelled_and_late_at_once_is_cancelled() -> None:
    deadlines = Deadlines()

    async def wait() -> None:
        with deadlines.within(SOON_S):
            try:
                await asyncio.sleep(FOREVER_S)
            except asyncio.CancelledError:
                task.cancel()  # by somebody else, while the time-out is on its way
                raise

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_stays_what_it_is() -> None:
    async def fail_when_late() -> None:
        with Deadlines().within(SOON_S):
            try:
                await asyncio.sleep(FOREVER_S)
            except asyncio.CancelledError:
                raise KeyError from None

    with pytest.raises(KeyError):
        await fail_when_late()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


def test_serves_one_event_loop_after_another() -> None:
    deadlines = Deadlines()

    async def pass_through() -> None:
        with deadlines.within(FOREVER_S):
            await asyncio.sleep(0)

    asyncio.run(pass_through())  # leaves a timer on a loop that is over
    with pytest.raises(TimeoutError):
        asyncio.run(waits(deadlines, SOON_S))
