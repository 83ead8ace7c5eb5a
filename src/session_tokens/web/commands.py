"""What sessions ask of a store: commands that are yielded, and taken by whoever blocks or awaits."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from ..contract.drive import drive as drive_awaiting
from ..contract.drive import drive_now

T = TypeVar("T")


class Command(NamedTuple):
    """A call of ``SessionTokens`` or ``AsyncSessionTokens``: its name and arguments."""

    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = {}

    def do(self, tokens: Any) -> Any:
        """Call it; where ``tokens`` is of asyncio, what is returned is to be awaited."""
        return getattr(tokens, self.name)(*self.args, **self.options)


class CookieChange(Enum):
    """What a response does to our cookie."""

    KEEP = "keep"
    SET = "set"
    CLEAR = "clear"


class LogIn(NamedTuple):
    """A log-in that the application asked for and that is done with the response."""

    owner: str
    remember: bool
    options: Mapping[str, Any]


def drive(tokens: Any, steps: Generator[Command, Any, T]) -> T:
    """Run ``loading`` or ``settling`` against a ``SessionTokens``."""
    return drive_now(steps, lambda command: command.do(tokens))


async def drive_async(tokens: Any, steps: Generator[Command, Any, T]) -> T:
    """Run ``loading`` or ``settling`` against an ``AsyncSessionTokens``."""
    return await drive_awaiting(steps, lambda command: command.do(tokens))
