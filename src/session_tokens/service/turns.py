"""The event loop that the service runs on: uvloop's where that is installed, else asyncio's, which numbers its turns.

What holds for a whole turn is asked for once in it. uvloop does not let anybody see where a turn begins: there whoever
would ask once a turn asks each time, which costs less than the loop saves.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
from importlib import import_module

_numbers = itertools.count()


class Turns(selectors.DefaultSelector):
    """Waits for files as always.

    Attributes:
        number: of the present turn; no other turn of any loop in this process has it. Of all that is read in a turn
            the first byte was there when it began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = next(_numbers)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait; return what is ready in the turn that begins."""
        ready = super().select(timeout)
        self.number = next(_numbers)
        return ready


class NumberedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop.

    Attributes:
        turns: numbers them.
    """

    def __init__(self) -> None:
        self.turns = Turns()
        super().__init__(self.turns)


def service_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop for a service."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        return NumberedLoop()
    return loop
