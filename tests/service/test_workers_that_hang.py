"""A worker that hangs is ended and replaced; one that only stood still together with its supervisor is not."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from session_tokens.cli.arguments import parser
from session_tokens.cli.serving import WORKER
from session_tokens.service.listening import Places
from session_tokens.service.service_manager import sockets_given
from session_tokens.service.workers.memory import SLOTS_A_WORKER, SharedMemory
from session_tokens.service.workers.supervisor import COMES_UP_S, GONE_S, UNANSWERED_MAX, Supervisor
from session_tokens.service.workers.worker import Handed
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PING_S = 0.2
HASTE_S = 10.0


def workers() -> set[int]:
    """Return the processes that this one has started."""
    return {int(word) for word in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    await asyncio.to_thread(wait_until, is_so)


def stand_still() -> None:
    """Keep the supervisor, which is in this process, from doing anything for twice as long as a worker may hang."""
    time.sleep(2 * UNANSWERED_MAX * PING_S)


@asynccontextmanager
async def supervised(
    folder: Path, comes_up_s: float = COMES_UP_S, gone_s: float = GONE_S, command: Sequence[str] = WORKER
) -> AsyncIterator[list[str]]:
    """Run two workers under a supervisor in this process; yield what was announced."""
    options: Namespace = parser().parse_args(
        ["serve", "--workers", "2", "--port", "0", "--store", f"sqlite:///{folder}/tokens.db", "--no-first-key"]
    )
    lines: list[str] = []
    places = Places("127.0.0.1", 0, "127.0.0.1", None, sockets_given())
    with places.bound() as bound, closing(SharedMemory.make(2)) as memory:
        handed = Handed(command, vars(options), 2, bound, memory)
        supervisor = Supervisor(
            handed, at_terminal=False, close=bound.close, announce=lines.append, ping_s=PING_S, comes_up_s=comes_up_s,
            gone_s=gone_s,
        )  # fmt: skip
        running = asyncio.create_task(supervisor.run())
        try:
            await until(lambda: lines or running.done())
            yield lines
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_that_hangs_is_ended_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "session_tokens.service")
    before = workers()
    async with supervised(tmp_path):
        hanging, other = sorted(workers() - before)
        os.kill(hanging, signal.SIGSTOP)
        await until(lambda: "hangs and is ended" in caplog.text)
        await until(lambda: "serves in its place" in caplog.text)
        left = workers() - before

    assert f"(process {hanging}) was killed by SIGKILL" in caplog.text
    assert hanging not in left and other in left and len(left) == 2


async def test_one_that_hangs_before_it_answers_is_ended_and_the_next_reload_is_heeded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "session_tokens.service")
    before = workers()
    async with supervised(tmp_path, comes_up_s=HASTE_S):
        old = workers() - before
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: workers() - before - old)
        (fresh,) = workers() - before - old
        os.kill(fresh, signal.SIGSTOP)
        await until(lambda: "the earlier ones stay" in caplog.text)
        stayed = workers() - before
        await until(lambda: (workers() - before) == old)
        for _ in range(5):  # a busy machine may take longer than that, too
            caplog.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: "the earlier ones" in caplog.text)
            if "new workers serve" in caplog.text:
                break

    assert old <= stayed
    assert "new workers serve" in caplog.text


async def test_one_that_came_up_for_a_reload_that_failed_and_does_not_heed_its_end_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It came up, the next one did not: both stand still, and only a kill ends them."""
    caplog.set_level("INFO", "session_tokens.service")
    before = workers()
    async with supervised(tmp_path, comes_up_s=HASTE_S, gone_s=PING_S):
        old = workers() - before
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(workers() - before - old) == 2)  # the second is started once the first serves
        first, second = fresh = workers() - before - old
        for worker in fresh:
            os.kill(worker, signal.SIGSTOP)
        await until(lambda: "the earlier ones stay" in caplog.text)
        await until(lambda: workers() - before == old)

    assert f"(process {min(first, second)}) did not end in time and is killed" in caplog.text


async def test_who_stood_still_together_with_the_supervisor_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container that was frozen: by the clock nobody has said anything for long."""
    before = workers()
    async with supervised(tmp_path):
        old = workers() - before
        for worker in old:
            os.kill(worker, signal.SIGSTOP)
        stand_still()
        for worker in old:
            os.kill(worker, signal.SIGCONT)
        await asyncio.sleep(4 * PING_S)
        left, told = workers() - before, caplog.text

    assert left == old
    assert "hangs" not in told


async def test_processes_that_cannot_be_started_use_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the command is away for a while, which is being installed anew."""

    def failed(times: int) -> bool:
        return caplog.text.count("the earlier ones stay") == times

    caplog.set_level("INFO", "session_tokens.service")
    command, away = tmp_path / "worker", tmp_path / "away"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(WORKER)} "$@"\n')
    command.chmod(0o755)
    async with supervised(tmp_path, command=[str(command)]):
        command.rename(away)
        for number in range(1, 2 * SLOTS_A_WORKER + 1):
            os.kill(os.getpid(), signal.SIGHUP)
            await until(partial(failed, number))
        away.rename(command)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "new workers serve" in caplog.text)
