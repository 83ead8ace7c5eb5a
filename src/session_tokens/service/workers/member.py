"""A worker's side: what it was handed, and how it speaks with the others over the supervisor."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...errors import InvalidInput
from ..crew import METRICS, Load
from ..listening import Bound
from ..service_manager import Sockets
from ..tallies import Tallies
from .channel import Channel, Message, first_message
from .memory import SharedMemory

log = logging.getLogger("session_tokens.service")

LANGUAGE: Final = 1
"""Of the messages; a worker of another version of this package may speak another."""
ANSWERED_S: Final = 5.0
"""Within which the supervisor answers; it gives the other workers less."""
CLOSED_S: Final = 2.0
NO_ANSWER: Final = -1
"""The number of a question whose answer nobody waits for."""


class Member:
    """One worker of a service, as it sees the others.

    Args:
        control: the socket to the supervisor, whose first message is waited for.

    Attributes:
        size, leads, load: see ``Crew``.
        options: of the command, as the supervisor was given them.
        bound: the sockets to accept from.

    Raises:
        EOFError: the supervisor has gone.
        InvalidInput: it is of another version and speaks otherwise.
    """

    def __init__(self, control: socket.socket) -> None:
        told = first_message(control)
        if told["language"] != LANGUAGE:
            raise InvalidInput("the supervisor is of another version; restart the service, a reload is not enough")
        self._control = control
        self._memory = SharedMemory(told["memory"])
        self.options: Mapping[str, Any] = told["options"]
        self.size: int = told["workers"]
        self.leads: bool = told["leads"]
        self._load = self._memory.load(told["slot"])
        self.load: Load = self._load
        self.bound = Bound(_sockets(told["sockets"]), _sockets(told["console"]))
        self._answers: dict[str, Callable[[Any], Any]] = {}
        self._asked: dict[int, asyncio.Future[list[Any]]] = {}
        self._numbers = itertools.count()
        self._channel: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], None] = _end_now
        self._is_going = False

    @property
    def given(self) -> Sockets:
        """The same sockets, as a service manager hands them over."""
        return Sockets(list(self.bound.service), next(iter(self.bound.console), None))

    def tallies(self, name: str) -> Tallies:
        """Return counts that all workers keep together."""
        return self._memory.tallies(name)

    def answer(self, what: str, answer: Callable[[Any], Any]) -> None:
        """Have what the others ask answered."""
        self._answers[what] = answer

    async def ask(self, what: str, of: Any = None) -> list[Any]:
        """Return what the others answer; one that does not in time is left out.

        Raises:
            TimeoutError: the supervisor does not answer.
        """
        assert self._channel is not None, "not yet begun"
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send({"ask": number, "what": what, "of": of})
        try:
            async with asyncio.timeout(ANSWERED_S):
                return await self._asked[number]
        finally:
            del self._asked[number]

    def tell(self, what: str, of: Any) -> None:
        """Have the others told something, from any thread; nobody waits for it."""
        assert self._loop is not None, "not yet begun"
        self._loop.call_soon_threadsafe(self._send, {"ask": NO_ANSWER, "what": what, "of": of})

    async def begin(self) -> None:
        """Listen to the supervisor."""
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(self._take, self._lost)
        await self._channel.begin(self._control)

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Have the supervisor end this worker by ``stop()``, as it does by its own end."""
        self._stop = stop

    def ready(self, lines: Sequence[str]) -> None:
        """Say that requests are answered, and what is to be announced."""
        assert self._channel is not None, "not yet begun"
        self._load.begin()
        self._channel.send({"ready": list(lines), "process": os.getpid()})

    async def close(self) -> None:
        """Say what was counted to the end, and go."""
        if self._channel is None:
            return
        self._is_going = True
        self._channel.send({"alive": self._counts()})
        self._channel.close()
        try:
            async with asyncio.timeout(CLOSED_S):
                await self._channel.closed()
        except TimeoutError:
            log.warning("the supervisor does not listen", extra={"event": "supervisor_hangs"})

    def _counts(self) -> Any:
        answer = self._answers.get(METRICS)
        return None if answer is None else answer(None)

    def _take(self, message: Message) -> None:
        if "ping" in message:
            self._send({"alive": self._counts()})
        elif "tell" in message:
            answer = self._answers.get(message["what"])
            self._send({"told": message["tell"], "answer": None if answer is None else answer(message["of"])})
        elif "answers" in message:
            asked = self._asked.get(message["answers"])
            if asked is not None and not asked.done():
                asked.set_result(message["of"])
        elif "leave" in message:
            self._load.end()
            self._stop()

    def _send(self, message: Message) -> None:
        assert self._channel is not None, "not yet begun"
        self._channel.send(message)

    def _lost(self) -> None:
        if self._is_going:
            return
        log.warning("the supervisor has gone; this worker stops", extra={"event": "supervisor_gone"})
        self._load.end()
        self._stop()


def _sockets(files: Sequence[int]) -> list[socket.socket]:
    return [socket.socket(fileno=file) for file in files]


def _end_now() -> None:
    raise SystemExit(1)
