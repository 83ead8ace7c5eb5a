"""Runs I/O-free generators: sends a server what they yield, and hands back its answer, in tasks or in threads.

Theory of operation. What has several round trips (the attempts of a command, a check, a copy, the opening of a store)
is a generator without I/O: it yields what is to be asked and is sent the answer. So it is written once for asyncio and
for threads, and tested without a server. The ways of psycopg's ``generators.py`` and ``waiting.py`` are the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")


async def drive(steps: Generator[S, A, T], ask: Callable[[S], Awaitable[A]]) -> T:
    """Return what a generator returns, after asking whatever it yields.

    Args:
        steps: yields what to ask, and is sent the answer.
        ask: carries one step out. What it raises is raised in the generator, where that step was yielded: it may mend
            it and go on, or clean up and let it pass.
    """
    try:
        step = next(steps)
        while True:
            try:
                answer = await ask(step)
            except BaseException as error:  # a cancelled task too: the generator may hold what it has to give back
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def drive_now(steps: Generator[S, A, T], ask: Callable[[S], A]) -> T:
    """As ``drive``, on the caller's thread."""
    try:
        step = next(steps)
        while True:
            try:
                answer = ask(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
