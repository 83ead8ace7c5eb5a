"""A worker as the supervisor sees it: a process, what it was handed, and what it said last."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..crew import METRICS
from ..listening import Bound
from .channel import Channel, Message
from .member import LANGUAGE
from .memory import SharedMemory
from .sums import Counts

ASKED_S: Final = 2.0
"""Within which a worker answers what another one asks."""
OF_THE_MANAGER: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip


class Handed:
    """What all workers are handed.

    Args:
        command: that runs one; the number of the file of its socket to the supervisor is added.
        options: of the service.
        size: how many workers there are.
        bound: to accept from.
        memory: that they share.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: Mapping[str, Any],
        size: int,
        bound: Bound,
        memory: SharedMemory,
    ) -> None:
        self.command = command
        self.options = options
        self.size = size
        self.memory = memory
        self._sockets = [one.fileno() for one in bound.service]
        self._console = [one.fileno() for one in bound.console]

    @property
    def files(self) -> list[int]:
        """The numbers of the files that a worker inherits."""
        return [self.memory.file, *self._sockets, *self._console]

    def first_message(self, number: int, slot: int) -> Message:
        """Return the message that a worker waits for before anything else."""
        return {
            "language": LANGUAGE, "options": self.options, "workers": self.size, "leads": number == 0, "slot": slot,
            "memory": self.memory.file, "sockets": self._sockets, "console": self._console,
        }  # fmt: skip


class Worker:
    """One worker.

    Args:
        number: which of the workers it is; the first one leads.
        slot: of the memory.
        process: it.
        asked: called with what it asks the others: itself and the message.

    Attributes:
        number, slot, process: as given.
        began_s: when it was started, on the machine's steady clock.
        unanswered: pings since it said something last.
        lines: what it announces, once it is ready.
        counts: what it counted when it said so last; ``None`` when it is counted among those that are gone.
        is_leaving: whether it was told to go.
    """

    def __init__(
        self, number: int, slot: int, process: asyncio.subprocess.Process, asked: Callable[[Worker, Message], object]
    ) -> None:
        self.number = number
        self.slot = slot
        self.process = process
        self.began_s = time.monotonic()
        self.unanswered = 0
        self.lines: list[str] | None = None
        self.counts: Counts | None = None
        self.is_leaving = False
        self._asked = asked
        self._came_up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._channel = Channel(self._take, lambda: None)
        self._questions: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._numbers = itertools.count()

    @classmethod
    async def start(cls, handed: Handed, number: int, slot: int, asked: Callable[[Worker, Message], object]) -> Worker:
        """Start a worker.

        Raises:
            OSError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if name not in OF_THE_MANAGER}
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *handed.command, str(theirs.fileno()), stdin=asyncio.subprocess.DEVNULL, env=environment,
                    pass_fds=[theirs.fileno(), *handed.files],
                    process_group=0,  # a Ctrl-C is for the supervisor, which tells the workers
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        worker = cls(number, slot, process, asked)
        await worker._channel.begin(ours)
        worker._channel.send(handed.first_message(number, slot))
        return worker

    @property
    def name(self) -> str:
        """Which one it is, in the log."""
        return f"worker {self.number + 1} (process {self.process.pid})"

    @property
    def is_ready(self) -> bool:
        """Whether it answers requests."""
        return self.lines is not None and self.process.returncode is None

    async def comes_up(self) -> bool:
        """Wait until it answers requests; whether it does, or ended before."""
        return await asyncio.shield(self._came_up)

    async def ends(self) -> int:
        """Wait for its end and its last words; return how it ended, as ``subprocess`` has it."""
        code = await self.process.wait()
        await self._channel.closed()
        if not self._came_up.done():
            self._came_up.set_result(False)
        for _, answer in self._questions.values():
            if not answer.done():
                answer.set_result(None)
        return code

    def send(self, message: Message) -> None:
        """Tell it something."""
        self._channel.send(message)

    def ping(self) -> None:
        """Have it say something."""
        self.unanswered += 1
        self.send({"ping": True})

    def leave(self) -> None:
        """Have it go, as slowly as its clients ask."""
        self.is_leaving = True
        self.send({"leave": True})

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.process.returncode is None:
            self.is_leaving = self.is_leaving or which is not signal.SIGKILL
            self.process.send_signal(which)

    async def ask(self, what: str, of: Any) -> Any:
        """Return what it answers; ``None`` if it does not in time."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._questions[number] = what, answer
        self.send({"tell": number, "what": what, "of": of})
        try:
            async with asyncio.timeout(ASKED_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._questions[number]

    def _take(self, message: Message) -> None:
        self.unanswered = 0
        if "ready" in message:
            self.lines = message["ready"]
            if not self._came_up.done():
                self._came_up.set_result(True)
        elif "alive" in message:
            self.counts = message["alive"] or self.counts
        elif "told" in message:
            what, answer = self._questions.get(message["told"], ("", None))
            if what == METRICS:
                self.counts = message["answer"] or self.counts
            if answer is not None and not answer.done():
                answer.set_result(message["answer"])
        elif "ask" in message:
            self._asked(self, message)
