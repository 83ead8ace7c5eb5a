"""What is waited for up to a bound: who is cancelled meanwhile leaves it to itself, and nothing is said of it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from session_tokens.contract.brief import awaited_within
from session_tokens.errors import StoreUnavailable


async def test_what_fails_after_its_caller_was_cancelled_is_no_error_of_nobody() -> None:
    """As a visitor who leaves while the use of their session is written down, and the store is away."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    going_on = asyncio.Event()

    async def fail() -> None:
        await going_on.wait()
        raise StoreUnavailable("away")

    waiting = asyncio.create_task(awaited_within(60, fail()))
    await asyncio.sleep(0)
    (failing,) = asyncio.all_tasks() - {asyncio.current_task(), waiting}
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    going_on.set()
    await asyncio.wait([failing])
    del waiting, failing
    gc.collect()

    assert said == []
