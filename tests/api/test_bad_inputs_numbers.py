"""Bad input of kind C, numbers and instants: durations, prices, versions, pages, and clocks that step."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, Rounded, localcontext
from fractions import Fraction
from typing import Any

import pytest

from session_tokens import InvalidInput, SessionTokens, Settings, TokenTables, clock
from session_tokens.clock import SteadyClock
from session_tokens.testing import ManualClock
from tests.helpers.counting_store import CountingStore

Refused = Callable[[Any], bool]


@pytest.fixture
def duration_commands(st: SessionTokens) -> list[Callable[[Any], object]]:
    """Everything that takes a duration."""
    opened = st.open_session("ann", detachable=True)
    token = st.issue_token(opened.id, transferable=True)
    settings = ("max_age", "idle_timeout", "detached_timeout", "token_timeout", "disownment_timeout", "sweep_interval")
    return [
        *(lambda given, name=name: Settings(**{name: given}) for name in settings),
        *(
            lambda given, name=name: st.open_session("ann", **{name: given})
            for name in ("max_age", "idle_timeout", "detached_timeout")
        ),
        *(
            lambda given, name=name: st.change_session(opened.id, **{name: given})
            for name in ("max_age", "idle_timeout", "detached_timeout")
        ),
        lambda given: st.issue_token(None, timeout=given),
        lambda given: st.issue_token(opened.id, transferable=True, disownment_timeout=given),
        lambda given: st.change_token(token.id, timeout=given),
        lambda given: st.change_token(token.id, disownment_timeout=given),
        lambda given: opened.session.require_recent(given),
    ]


@pytest.fixture
def refused_with(duration_commands: list[Callable[[Any], object]], store: CountingStore) -> Callable[..., bool]:
    """Whether a duration is refused with that error everywhere, and no store was asked."""

    def is_refused(given: Any, error: type[Exception]) -> bool:
        before = store.calls
        for command in duration_commands:
            with pytest.raises(error):
                command(given)
        return before == store.calls

    return is_refused


@pytest.mark.parametrize("given", [0, -1, -0.0, 0.0, -3600, 0.0009, timedelta(0), timedelta(-1), timedelta(0, 0, 999)])
def test_row_47_zero_negative_and_too_short(refused_with: Callable[..., bool], given: Any) -> None:
    """Never is `None`, and never zero."""
    assert refused_with(given, InvalidInput)


@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, float("1e400")], ids=str)
def test_row_48_nan_and_infinity(refused_with: Callable[..., bool], given: float) -> None:
    assert refused_with(given, InvalidInput)


@pytest.mark.parametrize("given", [2**63, 2**64, 10**5000, sys.float_info.max, timedelta.max], ids=type)
def test_row_49_huge(refused_with: Callable[..., bool], given: Any) -> None:
    assert refused_with(given, InvalidInput)


def test_row_49_huge_versions_and_limits(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    for number in (2**63, 2**64, 10**5000, -1):
        with pytest.raises(InvalidInput):
            st.change_session(opened.id, label="x", version=number)
        with pytest.raises(InvalidInput):
            st.list_sessions(limit=number)
        with pytest.raises(InvalidInput):
            st.sweep(number)


@pytest.mark.parametrize("given", [True, False])
def test_row_50_true_is_no_number(refused_with: Callable[..., bool], st: SessionTokens, given: bool) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    wrong: list[Callable[[], object]] = [
        lambda: st.list_sessions(limit=given), lambda: st.sweep(given), lambda: Settings(max_sessions=given),
        lambda: st.change_session(opened.id, version=given), lambda: st.offer_token(token.id, price=given),
        lambda: st.transfer_token(token.id, giver="ann", receiver="bob", epoch=given),
        lambda: st.open_session("ann", detachable=1),  # type: ignore[arg-type]
        lambda: st.issue_token(opened.id, transferable=1),  # type: ignore[arg-type]
        lambda: st.list_sessions(detached=0),  # type: ignore[arg-type]
    ]  # fmt: skip

    assert refused_with(given, TypeError)
    for command in wrong:
        with pytest.raises(TypeError):
            command()


@pytest.mark.parametrize("given", ["3600", "1_000", "１２３", " 5\n", b"5", [5], Decimal(5), Fraction(5), 5j], ids=repr)
def test_row_51_what_only_looks_like_a_number(refused_with: Callable[..., bool], given: Any) -> None:
    assert refused_with(given, TypeError)


@pytest.mark.parametrize("given", ["60000", 60.5, True, b"1", Decimal(1)], ids=repr)
def test_row_51_the_seeds_names_take_whole_milliseconds_only(given: Any) -> None:
    with TokenTables.open("memory://", sweep=False) as tables:
        tables.add_session("s1", "ann")

        with pytest.raises(TypeError):
            tables.set_session_timeout("s1", given)
        with pytest.raises(TypeError):
            tables.set_general_token_timeout(given)


@pytest.mark.parametrize(("given", "kept"), [(0.0015, 0.001), (1.9999, 1.999), (0.29, 0.29), (1e-3, 0.001)])
def test_row_52_fractions_of_a_millisecond_fall_away(st: SessionTokens, given: float, kept: float) -> None:
    assert kept == st.open_session("ann", max_age=given).session.max_age


def test_row_53_beyond_a_hundred_years_is_refused_and_not_clamped(
    refused_with: Callable[..., bool], st: SessionTokens
) -> None:
    longest = timedelta(days=36_600)

    assert longest.total_seconds() == st.open_session("ann", max_age=longest).session.max_age
    assert refused_with(longest + timedelta(milliseconds=1), InvalidInput)


def test_row_54_a_token_timeout_longer_than_its_sessions_life_is_accepted(st: SessionTokens) -> None:
    opened = st.open_session("ann", max_age=60)
    token = st.issue_token(opened.id, timeout=61).token

    assert (61, opened.session.expires_at) == (token.timeout, token.expires_at)


def test_row_55_a_disownment_timeout_of_a_token_that_is_never_unassigned(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    bound, free = st.issue_token(opened.id), st.issue_token(None)
    for session in (opened.id, None):
        with pytest.raises(InvalidInput):
            st.issue_token(session, disownment_timeout=60)
    for token in (bound, free):
        with pytest.raises(InvalidInput):
            st.change_token(token.id, disownment_timeout=60)

    assert bound.record == st.get_token(bound.id)


@pytest.mark.parametrize(
    ("price", "error"),
    [
        (1.5, TypeError), (math.nan, TypeError), (b"1", TypeError), (Fraction(1, 3), TypeError), ([1], TypeError),
        (Decimal("NaN"), InvalidInput), (Decimal("sNaN"), InvalidInput), (Decimal("Infinity"), InvalidInput),
        ("NaN", InvalidInput), ("-inf", InvalidInput), (10**30, InvalidInput), (-(10**18), InvalidInput),
        (10**5000, InvalidInput), ("1,50", InvalidInput), ("", InvalidInput), (" 1", InvalidInput),
        ("1_0", InvalidInput), ("１", InvalidInput), ("0x10", InvalidInput), ("1e999999", InvalidInput),
        ("1e999999999", InvalidInput), (Decimal("-1e999999999"), InvalidInput), (Decimal("1e-999999999"), InvalidInput),
        ("0." + "0" * 9 + "1", InvalidInput),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, int) else repr(given)[:24],
)  # fmt: skip
def test_row_56_prices_that_are_none(st: SessionTokens, price: Any, error: type[Exception]) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    with pytest.raises(error):
        st.offer_token(token.id, price=price)

    kept = st.get_token(token.id)
    assert kept is not None
    assert not kept.is_sellable


def test_a_currency_is_that_of_a_price(st: SessionTokens) -> None:
    """Else a price that was forgotten would offer the token for nothing."""
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    with pytest.raises(InvalidInput, match="price="):
        st.offer_token(token.id, currency="EUR")
    kept = st.get_token(token.id)
    assert kept is not None
    assert not kept.is_sellable
    st.offer_token(token.id, price=0, currency="EUR")
    with pytest.raises(InvalidInput, match="price="):
        st.accept_offer(token.id, receiver="bob", currency="EUR")


def test_row_56_prices_are_kept_whole_whatever_the_thread_computes_with(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    with localcontext(Context(prec=3, traps=[Inexact, Rounded])):
        st.offer_token(token.id, price=Decimal("123456.789"), currency="EUR")
        st.accept_offer(token.id, receiver="bob", price="123456.789", currency="EUR")
        st.offer_token(token.id, price="1234E2")
    kept = st.get_token(token.id)

    assert kept is not None
    assert kept.price == 123_400


@pytest.mark.parametrize("price", [0, -5, 10**18 - 1, "-12.50", "1E2", Decimal("0.000000001")], ids=repr)
def test_row_56_prices_that_are_some(st: SessionTokens, price: Any) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    st.offer_token(token.id, price=price)
    kept = st.get_token(token.id)

    assert kept is not None
    assert Decimal(price) == kept.price
    assert "E" not in str(kept.price) or isinstance(price, Decimal)


@pytest.mark.parametrize("given", [datetime(2030, 1, 1), datetime(9999, 12, 31, tzinfo=UTC), datetime.min])  # noqa: DTZ001, DTZ901
def test_row_57_instants_are_no_durations(refused_with: Callable[..., bool], given: datetime) -> None:
    assert refused_with(given, TypeError)


class SteppingHost:
    """The clocks of a host whose wall clock is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_ns, self.monotonic_ns = 1_700_000_000 * 10**9, 5 * 10**9
        monkeypatch.setattr(clock, "time_ns", lambda: self.wall_ns)
        monkeypatch.setattr(clock, "monotonic_ns", lambda: self.monotonic_ns)

    def pass_s(self, seconds: float) -> None:
        self.wall_ns += int(seconds * 10**9)
        self.monotonic_ns += int(seconds * 10**9)

    def step_s(self, seconds: float) -> None:
        self.wall_ns += int(seconds * 10**9)
        self.monotonic_ns += 10**7  # setting a clock takes its time


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SteppingHost:
    return SteppingHost(monkeypatch)


@pytest.fixture
def on_host(host: SteppingHost, url: str) -> Any:
    settings = Settings(max_sessions=None)
    with SessionTokens.open(url, settings=settings, pepper=bytes(32), clock=SteadyClock(), sweep=False) as tokens:
        yield tokens


def test_row_58_a_clock_set_back_lengthens_no_life(on_host: SessionTokens, host: SteppingHost) -> None:
    opened = on_host.open_session("ann", max_age=60)
    host.pass_s(30)
    host.step_s(-3600)
    host.pass_s(29.9)
    alive = on_host.verify_session(opened.secret)
    host.pass_s(0.2)

    assert alive is not None
    assert on_host.verify_session(opened.secret) is None


def test_row_58_a_clock_set_back_brings_nothing_back(on_host: SessionTokens, host: SteppingHost) -> None:
    opened = on_host.open_session("ann", max_age=60)
    host.pass_s(61)
    dead = on_host.verify_session(opened.secret)
    host.step_s(-3600)

    assert dead is None
    assert on_host.verify_session(opened.secret) is None


def test_row_58_a_clock_set_forward_ends_what_is_over(on_host: SessionTokens, host: SteppingHost) -> None:
    opened, lasting = on_host.open_session("ann", max_age=60), on_host.open_session("ann", max_age=None)
    host.step_s(10 * 365 * 86_400)

    assert on_host.verify_session(opened.secret) is None
    assert on_host.verify_session(lasting.secret) is not None
    assert on_host.verify_session(on_host.open_session("ann", max_age=60).secret) is not None


def test_row_58_instants_never_go_back(on_host: SessionTokens, host: SteppingHost) -> None:
    instants = []
    for step_s in (0, -3600, 7200, -1, 86_400, -86_400 * 365):
        host.step_s(step_s)
        instants.append(on_host.issue_token(None).token.created_at)

    assert sorted(set(instants)) == instants


@pytest.mark.parametrize("limit", [0, -1, 501, 10**9])
def test_row_59_sizes_of_pages(st: SessionTokens, limit: int) -> None:
    with pytest.raises(InvalidInput):
        st.list_sessions(limit=limit)
    with pytest.raises(InvalidInput):
        st.list_tokens(limit=limit)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "5", "5.", ".ses_", "5.ses_x", "-1.ses_00" + "0" * 22, "１.ses_00" + "0" * 22, "9" * 30 + ".ses_00"],
)
def test_row_59_forged_cursors(st: SessionTokens, cursor: str) -> None:
    for listing in (st.list_sessions, st.list_tokens):
        with pytest.raises(InvalidInput):
            listing(after=cursor)


def test_row_59_the_cursor_of_another_listing(st: SessionTokens, clock: ManualClock) -> None:
    opened = [st.open_session("ann") for _ in range(2)]
    tokens = [st.issue_token(issued.id) for issued in opened]
    after_session, after_token = st.list_sessions(limit=1).after, st.list_tokens(limit=1).after

    assert len(tokens) == 2
    with pytest.raises(InvalidInput):
        st.list_tokens(after=after_session)
    with pytest.raises(InvalidInput):
        st.list_sessions(after=after_token)
