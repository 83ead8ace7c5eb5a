"""How what is asked of the store is carried there from Django: by calls that block, or on an event loop."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ..session import Command, drive, drive_async
from .opened import opened

T = TypeVar("T")

Steps = Generator[Command, Any, T]


def ask(name: str, *arguments: object, **options: Any) -> Command:
    """Return a call of the library."""
    return Command(name, arguments, options)


def run(steps: Steps[T]) -> T:
    """Take the steps, each a call that blocks."""
    return drive(opened.blocking(), steps)


async def arun(steps: Steps[T]) -> T:
    """Take the steps, each a call that is awaited; on a thread where the loop ends with this call."""
    tokens = await opened.on_this_loop()
    if tokens is None:
        return await sync_to_async(run, thread_sensitive=False)(steps)
    return await drive_async(tokens, steps)
