"""What a store does behind its answers, for asyncio: nobody waits for it for long, but whoever closes the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import StoreError

log = logging.getLogger("session_tokens.stores")

LEFT = "a commit over several partitions is left to others to be finished: %s"
FAILED = "a commit over several partitions could not be finished here, and is left to others"

Work = Callable[[Callable[[], None]], Awaitable[None]]
"""Is given what to call when the part is over that somebody may wait for."""


class AsyncBehind:
    """Tasks of one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._parts: set[asyncio.Future[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._parts)

    def do(self, work: Work) -> None:
        """Begin some work; what fails of it is done by whoever needs it done."""
        loop = asyncio.get_running_loop()
        part: asyncio.Future[None] = loop.create_future()
        self._parts.add(part)
        task = loop.create_task(self._done(work, part), name="session-tokens finish")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, work: Work, part: asyncio.Future[None]) -> None:
        def is_over() -> None:
            self._parts.discard(part)
            if not part.done():
                part.set_result(None)

        try:
            await work(is_over)
        except StoreError as error:
            log.info(LEFT, error)
        except Exception:  # a fault of ours; whoever made the commit has their answer
            log.exception(FAILED)
        finally:
            is_over()

    async def settle(self, patience_s: float | None = None) -> None:
        """Wait for what was begun until now, for so many seconds at the most."""
        if self._parts:
            await asyncio.wait(set(self._parts), timeout=patience_s)

    async def close(self) -> None:
        """Wait for everything."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
