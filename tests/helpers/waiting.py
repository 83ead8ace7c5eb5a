"""Waiting for what comes by itself, and asking again while a store cannot be asked."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from session_tokens import AsyncSessionTokens, StoreUnavailable

T = TypeVar("T")
PATIENCE_S = 60


def wait_until(holds: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def stop_still(*pids: int) -> None:
    """Stop processes, and return when no thread of theirs runs: on a busy machine some answer for a while yet."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not any(map(_runs, pids)))


def _runs(pid: int) -> bool:
    """Whether any thread of a process is neither stopped nor over."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            state = status.read_text().rpartition(")")[2].split()[0]
        except OSError:  # it ended meanwhile
            continue
        if state not in "TZX":
            return True
    return False


def eventually(command: Callable[[], Any]) -> Any:
    """Repeat a command while the store cannot be asked; answer what it answered at last."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return command()
        except StoreUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the store answers, as an application that is told 503 with Retry-After does."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            if time.monotonic() > until_s:
                raise
            pause_ms = error.details.get("retry_after_ms", 5)
            assert isinstance(pause_ms, int)
            await asyncio.sleep(pause_ms / 1000)


async def values_listed(tokens: AsyncSessionTokens) -> list[int]:
    values: list[int] = []
    after = None
    while True:
        page = await until_answered(lambda: tokens.list_tokens(after=after, limit=500))  # noqa: B023  # called at once
        values += [token.value for token in page.items if isinstance(token.value, int)]
        after = page.after
        if after is None:
            return values
