"""An event loop that numbers its turns, so that what holds for a whole turn is asked for once in it."""

from __future__ import annotations

import asyncio
import itertools
import selectors

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
    """The loop.

    Attributes:
        turns: numbers them.
    """

    def __init__(self) -> None:
        self.turns = Turns()
        super().__init__(self.turns)
