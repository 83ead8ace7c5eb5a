"""Let a number of tasks of one event loop work through the same calls, and count which were right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.sides.serving import Stopwatch


class Loop:
    """One event loop for the life of a side: connections belong to the loop they were made on."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self._runner.run(awaited())

    def time_calls(self, call: Callable[[int], Awaitable[int]], numbers: Sequence[int], tasks: int) -> dict[str, Any]:
        """Time `call(number)` for every number, spread over the tasks; each says whether its answer was right."""

        async def work(own: Sequence[int]) -> int:
            right = 0
            for number in own:
                right += await call(number)
            return right

        async def all_of_them() -> dict[str, Any]:
            watch = Stopwatch()
            right = await asyncio.gather(*(work(numbers[first::tasks]) for first in range(tasks)))
            return watch.answer(len(numbers), sum(right))

        answer: dict[str, Any] = self.run(all_of_them())
        return answer
