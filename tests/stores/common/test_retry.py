"""The outage policy: what is tried again, when it stops trying, and that it starts again by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from session_tokens import SessionTokens
from session_tokens.errors import InvalidInput, StoreUnavailable
from session_tokens.stores.common.retry import (
    RETRIES_MAX,
    CircuitBreaker,
    Declined,
    NotExecuted,
    OnTheMove,
    Retrying,
    RetryPolicy,
    Silent,
    pause_before_s,
)


class Seconds:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def failing(times: int, error: type[StoreUnavailable], calls: list[float]) -> Callable[[float], str]:
    """Return a call that fails so many times, then answers."""

    def call(left_s: float) -> str:
        calls.append(left_s)
        if len(calls) <= times:
            raise error("gone")
        return "answer"

    return call


def test_a_read_is_tried_again_at_most_twice() -> None:
    calls: list[float] = []
    answer = Retrying().ask_now(failing(RETRIES_MAX, StoreUnavailable, calls), idempotent=True)

    assert answer == "answer"
    assert len(calls) == 3

    calls.clear()
    with pytest.raises(StoreUnavailable):
        Retrying().ask_now(failing(3, StoreUnavailable, calls), idempotent=True)
    assert len(calls) == 3


def test_a_commit_whose_reply_was_lost_is_not_sent_again() -> None:
    calls: list[float] = []
    with pytest.raises(StoreUnavailable):
        Retrying().ask_now(failing(1, StoreUnavailable, calls), idempotent=False)

    assert len(calls) == 1


def test_a_commit_that_was_certainly_not_carried_out_is_sent_again() -> None:
    calls: list[float] = []
    answer = Retrying().ask_now(failing(1, NotExecuted, calls), idempotent=False)

    assert answer == "answer"
    assert len(calls) == 2


def test_what_is_on_the_move_is_asked_for_until_it_is_there_or_the_time_is_over() -> None:
    """It is no failure of the server before that, however often it is asked."""
    calls: list[float] = []
    retrying = Retrying(RetryPolicy(timeout_s=60))
    answer = retrying.ask_now(failing(9, OnTheMove, calls), idempotent=False)

    assert (answer, len(calls), retrying.breaker.failures) == ("answer", 10, 0)

    hurried = Retrying(RetryPolicy(timeout_s=0.1))
    with pytest.raises(OnTheMove):
        hurried.ask_now(failing(10_000, OnTheMove, calls), idempotent=False)
    assert hurried.breaker.failures == 1


class TestTheLastTryRunsOutOfTime:
    """What it tells then is less than what the server said before: that it is there, and what it waits for."""

    @staticmethod
    def moving(then: type[StoreUnavailable], *, late: bool) -> Callable[[float], str]:
        """Return a call that is told once that its keys are on the move, and then of something else."""
        told: list[float] = []

        def call(left_s: float) -> str:
            told.append(left_s)
            if len(told) == 1:
                raise OnTheMove("on their way")
            if late:
                time.sleep(left_s)
            raise then("no answer")

        return call

    @pytest.mark.parametrize(
        ("then", "is_idempotent", "is_late", "expected"),
        [
            (NotExecuted, False, True, "on their way"), (NotExecuted, True, True, "on their way"),
            (Silent, True, True, "on their way"), (Silent, False, True, "no answer"),  # it may have been carried out
            (Declined, True, True, "no answer"), (Declined, True, False, "no answer"),
            (Silent, False, False, "no answer"),
        ],
    )  # fmt: skip
    async def test_what_the_server_said_before_is_told(
        self, then: type[StoreUnavailable], is_idempotent: bool, is_late: bool, expected: str
    ) -> None:
        call, policy = self.moving(then, late=is_late), RetryPolicy(timeout_s=0.3 if is_late else 60)
        with pytest.raises(StoreUnavailable, match=expected):
            Retrying(policy).ask_now(call, idempotent=is_idempotent)

        again = self.moving(then, late=is_late)

        async def asked(left_s: float) -> str:
            return again(left_s)

        with pytest.raises(StoreUnavailable, match=expected):
            await Retrying(policy).ask(asked, idempotent=is_idempotent)


async def test_async_calls_follow_the_same_policy() -> None:
    calls: list[float] = []
    once = failing(1, StoreUnavailable, calls)

    async def call(left_s: float) -> str:
        await asyncio.sleep(0)
        return once(left_s)

    answer = await Retrying().ask(call, idempotent=True)

    assert answer == "answer"
    calls.clear()
    with pytest.raises(StoreUnavailable):
        await Retrying().ask(call, idempotent=False)


def test_retries_share_one_budget_of_time() -> None:
    calls: list[float] = []
    Retrying(RetryPolicy(timeout_s=5)).ask_now(failing(2, StoreUnavailable, calls), idempotent=True)

    assert calls[0] == 5
    assert calls[0] > calls[1] > calls[2] > 0


def test_pauses_are_jittered_and_bounded() -> None:
    pauses = [pause_before_s(1) for _ in range(200)]

    assert len(set(pauses)) > 100
    assert max(pauses) <= 0.020


def test_the_breaker_opens_lets_one_probe_through_and_closes_by_itself() -> None:
    clock = Seconds()
    policy = RetryPolicy(failures_max=3, open_ms=500)
    breaker = CircuitBreaker(policy, clock)
    retrying = Retrying(policy, breaker)
    calls: list[float] = []
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            retrying.ask_now(failing(99, StoreUnavailable, calls), idempotent=False)

    assert breaker.is_open
    with pytest.raises(StoreUnavailable, match="asked again in 500 ms") as stopped:
        retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True)
    assert stopped.value.details["retry_after_ms"] == 500
    assert len(calls) == 3

    clock.now_s += 0.5
    breaker.enter()
    with pytest.raises(StoreUnavailable):
        breaker.enter()  # the probe is under way

    clock.now_s += 0.5
    assert retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True) == "answer"
    assert not breaker.is_open


def test_a_probe_that_fails_keeps_the_breaker_open() -> None:
    clock = Seconds()
    policy = RetryPolicy(failures_max=1, open_ms=500)
    retrying = Retrying(policy, CircuitBreaker(policy, clock))
    calls: list[float] = []
    call = failing(2, StoreUnavailable, calls)
    with pytest.raises(StoreUnavailable):
        retrying.ask_now(call, idempotent=True)
    clock.now_s += 0.5
    with pytest.raises(StoreUnavailable):
        retrying.ask_now(call, idempotent=True)
    with pytest.raises(StoreUnavailable):
        retrying.ask_now(call, idempotent=True)

    assert len(calls) == 2


def outage_log(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.name == "session_tokens.stores"]
    caplog.clear()
    return said


def test_of_one_server_of_many_the_log_and_errors_say_which(caplog: pytest.LogCaptureFixture) -> None:
    clock, policy = Seconds(), RetryPolicy(failures_max=1)
    retrying = Retrying(policy, CircuitBreaker(policy, clock, "the node a:1"))
    with pytest.raises(StoreUnavailable):
        retrying.ask_now(failing(99, StoreUnavailable, []), idempotent=False)
    with pytest.raises(StoreUnavailable, match=r"^the node a:1 failed 1 times"):
        retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True)
    clock.now_s += 2
    retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True)
    assert outage_log(caplog) == ["the node a:1 is away: gone", "the node a:1 is back after 2.0 s"]


def test_one_line_says_that_the_store_is_away_and_one_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """Also where so little is asked of it that the breaker never opens."""
    clock, policy = Seconds(), RetryPolicy(failures_max=5)
    retrying = Retrying(policy, CircuitBreaker(policy, clock))
    calls: list[float] = []
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            retrying.ask_now(failing(99, StoreUnavailable, calls), idempotent=False)
        clock.now_s += 20
    assert not retrying.breaker.is_open
    assert outage_log(caplog) == ["the store is away: gone"]
    assert retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True) == "answer"
    assert outage_log(caplog) == ["the store is back after 60.0 s"]
    assert retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True) == "answer"
    assert outage_log(caplog) == []


def test_an_attempt_that_failed_and_was_made_again_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy()
    retrying = Retrying(policy, CircuitBreaker(policy, Seconds()))
    for _ in range(3):
        assert retrying.ask_now(failing(1, StoreUnavailable, []), idempotent=True) == "answer"

    assert outage_log(caplog) == []


def test_what_a_server_refuses_is_told_once_a_minute_and_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Its reads go on, so that the breaker says nothing: whoever runs it would never learn why commands fail."""
    clock, policy = Seconds(), RetryPolicy()
    retrying = Retrying(policy, CircuitBreaker(policy, clock))
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            retrying.ask_now(failing(99, Declined, []), idempotent=True)
        assert retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True) == "answer"
        clock.now_s += 25

    assert outage_log(caplog) == ["the store does not do everything: gone"] * 2


def test_a_store_that_comes_and_goes_is_told_once_a_minute_until_the_breaker_opens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, policy = Seconds(), RetryPolicy(failures_max=3)
    retrying = Retrying(policy, CircuitBreaker(policy, clock))

    def fails() -> None:
        with pytest.raises(StoreUnavailable):
            retrying.ask_now(failing(99, StoreUnavailable, []), idempotent=False)

    for _ in range(10):
        fails()
        retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True)
        clock.now_s += 1
    assert outage_log(caplog) == ["the store is away: gone", "the store is back after 0.0 s"]
    for _ in range(3):
        fails()
    assert retrying.breaker.is_open
    assert outage_log(caplog) == ["the store is away: gone"]


def test_a_server_that_declines_one_thing_is_asked_others() -> None:
    policy = RetryPolicy(failures_max=2)
    retrying = Retrying(policy, CircuitBreaker(policy, Seconds()))
    calls: list[float] = []
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            retrying.ask_now(failing(99, Declined, calls), idempotent=False)

    assert len(calls) == 5
    assert retrying.ask_now(failing(0, StoreUnavailable, []), idempotent=True) == "answer"


@pytest.mark.parametrize("timeout_s", [0, -1, 61, float("nan"), float("inf")])
def test_timeouts_that_can_never_be_right_are_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidInput):
        RetryPolicy(timeout_s=timeout_s)


@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url", "valkey_url"])
def test_a_store_that_was_closed_is_not_said_to_be_away(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, server: str
) -> None:
    """However often it is asked: nobody who reads the log shall look for a fault of the server."""
    tokens = SessionTokens.open(request.getfixturevalue(server), pepper=bytes(range(32)), sweep=False)
    tokens.close()
    for ask in (tokens.list_sessions, tokens.sweep, tokens.list_disabled_owners, lambda: tokens.open_session("ann")):
        for _ in range(8):
            with pytest.raises(StoreUnavailable, match="the store is closed; open it again"):
                ask()

    assert [] == [record.message for record in caplog.records if "away" in record.message]
