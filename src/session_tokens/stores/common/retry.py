"""What a store on a server does when the server does not answer: time-outs, few retries with jitter, a breaker.

Theory of operation. Each call has a budget of time. A read that fails is tried again, at most twice, as long as its
budget lasts. A commit is only sent again when it certainly was not carried out (``NotExecuted``): one whose reply was
lost may have been, so its caller gets ``StoreUnavailable``, and an idempotency key shows later which it was.
After ``failures_max`` failures in a row the breaker opens: calls fail at once instead of queueing up before a dead
server, and one probe is let through each ``open_ms`` until one succeeds.
What is on the move between the nodes of a cluster is asked for as long as the budget lasts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from ...contract.forks import anew_in_children
from ...errors import InvalidInput, StoreBusy, StoreUnavailable

T = TypeVar("T")

log = logging.getLogger("session_tokens.stores")

RETRIES_MAX = 2
PAUSE_MS = 10
"""The longest pause before the first retry; it doubles with each."""
LONGEST_AFTER = 3
"""The retry after which pauses grow no more, where there are many."""
TOLD_EVERY_S = 60.0
"""How often the log tells of a store that comes and goes."""
TIMEOUT_S_DEFAULT = 1.0
TIMEOUT_S_MAX = 60.0


class NotExecuted(StoreUnavailable):
    """The server was not asked at all, or said that it did nothing; asking again cannot do it twice."""


class Elsewhere(NotExecuted):
    """The server did nothing because it is not the primary (any more); the next connection may lead to that one."""


class Silent(StoreUnavailable):
    """The server said nothing in time; where there are others, one of them may have taken its place."""


class OnTheMove(NotExecuted):
    """The server did nothing, for what it was asked is on its way to another; it is asked until the time is over."""


class Declined(StoreUnavailable):
    """The server answers, and refuses this one thing; that is no reason to stop asking it others."""


class Closed(StoreUnavailable):
    """This process has closed the store; that says nothing of the server, and asking again is of no use."""


class Waited(StoreBusy):
    """Others held for too long what a statement needed; nothing was done."""


class Full(Declined):
    """The server has no room for more, and did nothing; what only ends things or frees space it may still do."""

    did_nothing = True


class ReadOnly(Declined, Elsewhere):
    """The server answers reads and writes for nobody; where another one took over, the next connection may find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a store waits for its server and when it stops trying.

    Attributes:
        timeout_s: seconds that one call may take, its retries included.
        failures_max: failures in a row that open the breaker.
        open_ms: how long an open breaker lets nothing through between two probes, in milliseconds.
    """

    timeout_s: float = TIMEOUT_S_DEFAULT
    failures_max: int = 5
    open_ms: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= TIMEOUT_S_MAX:
            raise InvalidInput(f"a store's timeout is more than 0 and at most {TIMEOUT_S_MAX:g} seconds")
        if self.failures_max < 1 or self.open_ms < 1:
            raise InvalidInput("a breaker opens after 1 failure or more, for 1 ms or more")


class CircuitBreaker:
    """Stops calls to a server that failed several times in a row; safe for threads.

    Args:
        policy: when it opens and for how long.
        monotonic_s: seconds on a clock that never goes back.
        name: what the log and errors call that server.

    Attributes:
        failures: how many calls failed in a row.
        away_since_s: since when the store is away, as the log was told; ``None`` while it is not.
    """

    def __init__(
        self, policy: RetryPolicy, monotonic_s: Callable[[], float] = time.monotonic, name: str = "the store"
    ) -> None:
        self._policy = policy
        self._name = name
        self._monotonic_s = monotonic_s
        self.begin_anew()
        anew_in_children(self)
        self.failures = 0
        self.away_since_s: float | None = None
        self._closed_again_at_s = 0.0
        self._told_again_at_s = 0.0
        self._refusal_told_again_at_s = 0.0

    def begin_anew(self) -> None:
        """Go on in the child of a fork, where whoever held the lock is not there to let go of it."""
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are stopped."""
        return self.failures >= self._policy.failures_max

    def enter(self) -> None:
        """Let one call through.

        Raises:
            StoreUnavailable: it is open and the next probe is not due.
        """
        if self.failures < self._policy.failures_max:
            return
        with self._lock:
            now_s = self._monotonic_s()
            if self.failures >= self._policy.failures_max:
                if now_s < self._closed_again_at_s:
                    left_ms = round((self._closed_again_at_s - now_s) * 1000)
                    stopped = NotExecuted(
                        f"{self._name} failed {self.failures} times in a row; it is asked again in {left_ms} ms",
                        retry_after_ms=left_ms,
                    )
                    stopped.told = True
                    raise stopped
                # This call is the probe; if it vanishes without a word, another one is let through later.
                self._closed_again_at_s = now_s + self._policy.open_ms / 1000

    def succeeded(self) -> None:
        """A call was answered: everything may pass."""
        if self.failures:
            with self._lock:
                self.failures, since_s, self.away_since_s = 0, self.away_since_s, None
            if since_s is not None:
                log.warning("%s is back after %.1f s", self._name, self._monotonic_s() - since_s)

    def failed(self, error: StoreUnavailable) -> None:
        """An attempt was not answered; the breaker may open."""
        with self._lock:
            self.failures += 1
            if self.is_open:
                self._closed_again_at_s = self._monotonic_s() + self._policy.open_ms / 1000
        if self.is_open:
            self._goes(error)

    def given_up(self, error: StoreUnavailable) -> None:
        """A call failed for good, and its caller is told: the store is away, also where few ask and none opens this."""
        self._goes(error)

    def refused(self, error: StoreUnavailable) -> None:
        """The server answered that it does not do this one thing; the log is told why once a minute.

        Whoever asked learns only that it was not done, and everything else goes on: nothing but this line says what
        has to be mended, such as a full disk.
        """
        self.succeeded()
        with self._lock:
            now_s = self._monotonic_s()
            tells = now_s >= self._refusal_told_again_at_s
            if tells:
                self._refusal_told_again_at_s = now_s + TOLD_EVERY_S
        if tells:
            log.warning("%s does not do everything: %s", self._name, error)

    def _goes(self, error: StoreUnavailable) -> None:
        """Have one line of the log say that the store is away; one that comes and goes is told once a minute."""
        with self._lock:
            now_s = self._monotonic_s()
            goes = self.away_since_s is None and (self.is_open or now_s >= self._told_again_at_s)
            if goes:
                self.away_since_s, self._told_again_at_s = now_s, now_s + TOLD_EVERY_S
        if goes:
            log.warning("%s is away: %s", self._name, error)


def pause_before_s(retry: int) -> float:
    """Return the seconds to wait before retry 0, 1, …: full jitter."""
    return random.uniform(0, PAUSE_MS * 2**retry) / 1000


class Retrying:
    """The policy at work for one store.

    Attributes:
        policy: the time-outs and limits.
        breaker: stops calls to a dead server.
        retries: how many calls were sent again.
    """

    def __init__(self, policy: RetryPolicy | None = None, breaker: CircuitBreaker | None = None) -> None:
        self.policy = policy or RetryPolicy()
        self.breaker = breaker or CircuitBreaker(self.policy)
        self.retries = 0

    async def ask(
        self, call: Callable[..., Awaitable[T]], *args: object, idempotent: bool, until_s: float | None = None
    ) -> T:
        """Make a call that takes the seconds it has left and ``args``, again if it failed and may be made again.

        Args:
            call: raises ``StoreUnavailable`` when it failed, ``NotExecuted`` when nothing was carried out.
            idempotent: whether making it twice is the same as once (reads).
            until_s: when the time is over, on the monotonic clock; if not given, when the policy's has passed.

        Raises:
            StoreUnavailable: it failed, or the breaker is open.
        """
        breaker, retry, left_s, before = self.breaker, 0, self.policy.timeout_s, None
        if until_s is None:
            until_s = time.monotonic() + left_s
        else:
            left_s = max(0.001, until_s - time.monotonic())
        while True:
            if breaker.failures:
                breaker.enter()
            try:
                answer = await call(left_s, *args)
            except StoreUnavailable as error:
                pause_s = self._pause_after(error, before, retry, until_s, idempotent)
                before = error.with_traceback(None)  # else it would hold this frame, which holds it
            else:
                if breaker.failures:
                    breaker.succeeded()
                return answer
            await asyncio.sleep(pause_s)
            retry, left_s = retry + 1, max(0.001, until_s - time.monotonic())

    def ask_now(self, call: Callable[..., T], *args: object, idempotent: bool, until_s: float | None = None) -> T:
        """As ``ask``, on the caller's thread."""
        breaker, retry, left_s, before = self.breaker, 0, self.policy.timeout_s, None
        if until_s is None:
            until_s = time.monotonic() + left_s
        else:
            left_s = max(0.001, until_s - time.monotonic())
        while True:
            if breaker.failures:
                breaker.enter()
            try:
                answer = call(left_s, *args)
            except StoreUnavailable as error:
                pause_s = self._pause_after(error, before, retry, until_s, idempotent)
                before = error.with_traceback(None)  # else it would hold this frame, which holds it
            else:
                if breaker.failures:
                    breaker.succeeded()
                return answer
            time.sleep(pause_s)
            retry, left_s = retry + 1, max(0.001, until_s - time.monotonic())

    def _pause_after(
        self, error: StoreUnavailable, before: StoreUnavailable | None, retry: int, until_s: float, idempotent: bool
    ) -> float:
        """Report a failure to the breaker; return how long to wait before the call is made again.

        Args:
            before: how the try before failed. The last one may have had no time for an answer: then a server that has
                said what it waits for is not told of as one that cannot be reached.

        Raises:
            StoreUnavailable: the error, where the call is not made again.
        """
        if isinstance(error, Closed):
            raise error
        if isinstance(error, OnTheMove):
            pause_s = pause_before_s(min(retry, LONGEST_AFTER))
            if time.monotonic() + pause_s < until_s:
                self.retries += 1
                return pause_s
        sent_on = isinstance(error, Elsewhere) and not retry  # a server that sends us on is not a dead one
        if isinstance(error, Declined):
            if not sent_on:
                self.breaker.refused(error)
                raise error
            self.breaker.succeeded()
        elif not sent_on:
            self.breaker.failed(error)
        pause_s = pause_before_s(retry)
        again = idempotent or isinstance(error, NotExecuted)
        if not again or retry >= RETRIES_MAX or time.monotonic() + pause_s >= until_s or self.breaker.is_open:
            if isinstance(error, Declined):
                self.breaker.refused(error)
            else:
                if again and isinstance(before, OnTheMove) and time.monotonic() >= until_s:
                    error = before
                self.breaker.given_up(error)
            error.told = self.breaker.is_open
            raise error
        self.retries += 1
        return pause_s
