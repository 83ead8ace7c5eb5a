"""Starts the workers of a service and watches them: anew when one dies, all of them at a reload, none at the end.

Theory of operation. The supervisor binds the sockets and opens no store: a worker is the whole service, and all of them
accept from the same sockets. The first one is started alone, so that what is wrong is told once and a first key is made
once; it leads, which is to sweep and to send webhooks. A worker that dies is started anew, ever later where it dies
soon. At a reload new workers start beside the old ones; only when all of them answer are the old ones told to go, and
if one does not come up, the old ones stay. The supervisor reads no request. What it adds up of what workers counted it
keeps of those that are gone too, so that no counter goes back.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

from ..crew import METRICS
from ..service_manager import ServiceManager
from .channel import Message
from .sums import Counts, added_up, without_gauges
from .worker import Handed, Worker

log = logging.getLogger("session_tokens.service")

OK: Final = 0
STABLE_S: Final = 30.0
"""A worker that lived as long died of something new: the next one is started at once."""
BACKOFF_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
PING_S: Final = 2.0
UNANSWERED_MAX: Final = 15
"""A worker that says nothing to as many pings, for half a minute, is ended, and another one started.

They are counted, and no time is measured: where everything stood still, as in a container that was frozen, workers have
missed none but the last one.
"""
COMES_UP_S: Final = 600.0
"""How long a worker in the place of another one may take until it answers; a store may have to be brought up to date.

One that is stopped in the midst of it would leave a place empty for ever, and no reload would be heeded any more.
"""
GONE_S: Final = 30.0
"""How long a worker may take to end; longer than requests under way and connections that ask once more do."""


class Supervisor:
    """Runs a service of several workers until it is stopped.

    Args:
        handed: what each worker is handed.
        ping_s: after how many seconds each worker is asked again whether it is there.
        comes_up_s: after how many seconds one in the place of another is ended that does not answer yet.
        gone_s: after how many seconds one is killed that was told to go.
        at_terminal: whether SIGHUP says that the terminal went away; else it asks for a reload.
        close: closes the supervisor's own listening sockets, so that nobody connects any more.
        announce: called with lines for people, once all workers answer.
    """

    def __init__(
        self,
        handed: Handed,
        *,
        at_terminal: bool,
        close: Callable[[], object],
        announce: Callable[[str], object],
        ping_s: float = PING_S,
        comes_up_s: float = COMES_UP_S,
        gone_s: float = GONE_S,
    ) -> None:
        self._handed = handed
        self._ping_s = ping_s
        self._comes_up_s = comes_up_s
        self._gone_s = gone_s
        self._at_terminal = at_terminal
        self._close = close
        self._announce = announce
        self._manager = ServiceManager()
        self._status = "starting"
        self._seats: list[Worker] = []
        self._all: set[Worker] = set()
        self._slots = list(range(handed.memory.slots))[::-1]
        self._failures = [0] * handed.size
        self._gone: Counts = []
        self._died = 0
        self._stops = asyncio.Event()
        self._reloads = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Return the exit code: 0 after a stop, else that of the worker that did not come up at the beginning."""
        self._heed_signals()
        try:
            code = await self._begin()
            if code is None:
                self._task(self._ping())
                self._live_on()
                await self._stops.wait()
                code = OK
        finally:
            await self._end()
        return code

    # --- signals ---

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for which in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(which, self._stop, which)
        if not self._at_terminal:
            loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._stop, signal.SIGHUP)

    def _stop(self, which: signal.Signals) -> None:
        """Stop; a second Ctrl-C does not wait for requests under way."""
        is_first = not self._stops.is_set()
        if is_first:
            self._stops.set()
            self._manager.is_stopping()
            self._close()
        for worker in self._all:
            worker.signal(signal.SIGTERM if is_first else which)

    def _asked_to_reload(self) -> None:
        if self._seats:
            self._reloads += 1
            if self._reloads == 1:
                self._task(self._reload_as_asked())

    def _live_on(self) -> None:
        """Send signs of life to the service manager while the loop turns, if it wants them."""
        if self._manager.alive_every_s is not None and not self._stops.is_set():
            self._manager.is_alive()
            asyncio.get_running_loop().call_later(self._manager.alive_every_s, self._live_on)

    # --- beginning and end ---

    async def _begin(self) -> int | None:
        """Start all workers, the first one before the others; return how one ended that did not come up."""
        first = await self._start(0)
        workers = [first]
        if await first.comes_up():
            workers += await asyncio.gather(*map(self._start, range(1, self._handed.size)))
        for worker in workers:
            if not await worker.comes_up():
                return OK if self._stops.is_set() else max(1, worker.process.returncode or 0)
        self._seats = workers
        lines = first.lines or []
        *told, last = lines
        for line in [*told, f"with {self._handed.size} workers", last]:
            self._announce(line)
        self._status = f"{lines[0].removeprefix('session-tokens serves')} with {self._handed.size} workers"
        self._manager.is_ready(f"serving{self._status}")
        return None

    async def _start(self, number: int) -> Worker:
        """Start a worker and watch it."""
        slot = self._slots.pop()
        try:
            worker = await Worker.start(self._handed, number, slot, self._asked)
        except BaseException:
            self._slots.append(slot)  # else there is none left when a worker can be started again
            raise
        self._all.add(worker)
        self._task(self._watch(worker))
        if self._stops.is_set():
            worker.signal(signal.SIGTERM)
        return worker

    async def _started(self, number: int) -> Worker | None:
        """Start a worker and wait until it answers; ``None`` where it does not come up."""
        try:
            worker = await self._start(number)
        except OSError as error:
            log.error("worker %d cannot be started: %s", number + 1, error, extra={"event": "worker_failed"})
            return None
        try:
            async with asyncio.timeout(self._comes_up_s):
                if await worker.comes_up():
                    return worker
        except TimeoutError:
            self._kill({worker}, "does not come up and is ended")
        if not self._stops.is_set():
            log.error("%s did not come up", worker.name, extra={"event": "worker_failed"})
        return None

    async def _end(self) -> None:
        """End all workers that are still there."""
        self._stops.set()
        for worker in self._all:
            worker.signal(signal.SIGTERM)
        await self._gone_within(self._all, self._gone_s)
        for task in self._tasks:
            task.cancel()

    async def _watch(self, worker: Worker) -> None:
        """Wait for the end of a worker; start another one in its place if nobody asked it to go."""
        code = await worker.ends()
        self._all.discard(worker)
        self._handed.memory.load(worker.slot).clear()
        self._slots.append(worker.slot)
        self._gone = without_gauges(added_up([self._gone, worker.counts or []]))
        worker.counts = None
        if worker.is_leaving or worker.lines is None or self._stops.is_set():
            return
        self._died += 1
        lived_s = time.monotonic() - worker.began_s
        log.error("%s %s after %.0f s", worker.name, _how(code), lived_s, extra={"event": "worker_died"})
        if lived_s >= STABLE_S:
            self._failures[worker.number] = 0
        await self._replace(worker)

    async def _replace(self, dead: Worker) -> None:
        """Start workers until one comes up in the place of one that died, or a reload put another there."""
        number = dead.number
        while not self._stops.is_set() and self._seats[number] is dead:
            wait_s = BACKOFF_S[min(self._failures[number], len(BACKOFF_S) - 1)]
            self._failures[number] += 1
            if wait_s:
                log.warning("worker %d is started anew in %.0f s", number + 1, wait_s, extra={"event": "worker_waits"})
                if await self._stopped_within(wait_s):
                    return
            worker = await self._started(number)
            if worker is None:
                continue
            if self._seats[number] is dead:
                self._seats[number] = worker
                log.info("%s serves in its place", worker.name, extra={"event": "worker_started"})
            else:
                worker.leave()
                await self._gone_within([worker], self._gone_s)

    async def _stopped_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                return await self._stops.wait()
        except TimeoutError:
            return False

    async def _reload_as_asked(self) -> None:
        """Reload, and once more if that was asked for meanwhile: what was read may be old by then."""
        while self._reloads and not self._stops.is_set():
            self._reloads = 1
            await self._reload()
            self._reloads -= 1

    async def _reload(self) -> None:
        """Put new workers into the places of all; the old ones stay if one does not come up."""
        self._manager.is_reloading()
        started = [await self._started(0)]
        if started[0] is not None:
            started += await asyncio.gather(*map(self._started, range(1, self._handed.size)))
        fresh = [worker for worker in started if worker is not None]
        if self._stops.is_set():
            return  # all workers were told to go, these too
        if len(fresh) < self._handed.size:
            for worker in fresh:
                worker.signal(signal.SIGTERM)
            log.error("new workers did not come up, the earlier ones stay", extra={"event": "not_reloaded"})
            self._manager.is_ready(f"serving{self._status}")
            await self._gone_within(fresh, self._gone_s)
            return
        old, self._seats = self._seats, fresh
        self._failures = [0] * self._handed.size
        for worker in old:
            worker.leave()
        log.info("new workers serve, the earlier ones finish what they have", extra={"event": "reloaded"})
        self._manager.is_ready(f"serving{self._status}")
        await self._gone_within(old, self._gone_s)

    async def _gone_within(self, workers: Collection[Worker], wait_s: float) -> None:
        """Wait until workers have ended; those that take too long are killed."""
        until_s = time.monotonic() + wait_s
        while left := self._all.intersection(workers):
            if time.monotonic() > until_s:
                self._kill(left, "did not end in time and is killed")
                until_s = float("inf")
            await asyncio.sleep(0.02)

    # --- while they serve ---

    async def _ping(self) -> None:
        """Hear from each worker now and then; end those that hang."""
        while True:
            await asyncio.sleep(self._ping_s)
            hanging = {one for one in self._seats if one.is_ready and one.unanswered >= UNANSWERED_MAX}
            self._kill(hanging, "hangs and is ended")
            for worker in self._seats:
                worker.ping()

    def _kill(self, workers: set[Worker], why: str) -> None:
        for worker in workers:
            log.error("%s %s", worker.name, why, extra={"event": "worker_killed"})
            worker.signal(signal.SIGKILL)

    def _asked(self, worker: Worker, message: Message) -> None:
        self._task(self._answer(worker, message["ask"], message["what"], message["of"]))

    async def _answer(self, asker: Worker, number: int, what: str, of: Any) -> None:
        """Ask all other workers what one asks; of what they counted, those that are gone answer too."""
        if what == METRICS:
            asker.counts = of
        others = [worker for worker in self._all if worker is not asker and worker.is_ready]
        answers = await asyncio.gather(*(worker.ask(what, of) for worker in others))
        if what == METRICS:  # as they said it now or before; one that died since is among those that are gone
            counted = [worker.counts for worker in others if worker.counts is not None]
            answers = [self._counted(), self._gone, *counted]
        asker.send({"answers": number, "of": [answer for answer in answers if answer is not None]})

    def _counted(self) -> Counts:
        """Return what the supervisor itself counts."""
        name = "session_tokens_workers_died"
        return [[name, "Workers that died and were started anew.", "counter", [[f"{name}_total", {}, self._died]]]]

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
