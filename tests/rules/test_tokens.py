"""Tokens: issued under a session or free of any, read without a trace, changed, re-issued, destroyed, offered."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from session_tokens import (
    Conflict,
    Event,
    InvalidInput,
    LimitReached,
    NotOwner,
    NotTransferable,
    SessionEnded,
    SessionTokens,
    TokenKind,
    UnknownSession,
    UnknownToken,
)
from session_tokens.records import JSON
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]


def test_a_token_is_of_one_of_three_kinds(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    kinds = [
        st.issue_token(None).token.kind,
        st.issue_token(opened.id).token.kind,
        st.issue_token(opened.secret, transferable=True).token.kind,
    ]

    assert [TokenKind.FREE, TokenKind.BOUND, TokenKind.TRANSFERABLE] == kinds
    assert ["free", "session-bound", "transferable"] == kinds


def test_token_answers_owner_and_session_and_session_answers_tokens(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token, free = st.issue_token(opened.id), st.issue_token(None)

    assert ("ann", opened.id) == (token.token.owner, token.token.session_id)
    assert (None, None) == (free.token.owner, free.token.session_id)
    assert [token.id] == [listed.id for listed in st.list_tokens(session=opened.id).items]
    assert [token.id] == [listed.id for listed in st.list_tokens(owner="ann").items]


def test_only_the_secret_verifies_an_id_never_does(st: SessionTokens) -> None:
    token = st.issue_token(None)

    assert token.record == st.verify_token(token.secret)
    assert st.verify_token(token.id) is None
    assert st.get_token(token.secret) is None


def test_a_session_secret_is_no_token_and_a_token_secret_no_session(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id)

    assert st.verify_token(opened.secret) is None
    assert st.verify_session(token.secret) is None


@pytest.mark.parametrize("value", ["", "plain", '{"a": 1}', "null", None, 0, [], {"_owner": "eve", "_price": 1}, 1.5])
def test_a_value_is_kept_and_never_interpreted(st: SessionTokens, value: JSON) -> None:
    token = st.verify_token(st.issue_token(None, value).secret)

    assert token is not None
    assert repr(value) == repr(token.value)
    assert token.owner is None


def test_a_value_is_a_copy(st: SessionTokens) -> None:
    value: list[JSON] = [1]
    issued = st.issue_token(None, value)
    value.append(2)

    assert [1] == issued.token.value


def test_reading_writes_nothing(st: SessionTokens, told: list[Event], clock: ManualClock) -> None:
    issued = st.issue_token(st.open_session("ann").id, timeout=100)
    before = len(told)
    clock.advance(50)
    for _ in range(3):
        assert issued.record == st.verify_token(issued.secret)
        assert issued.record == st.get_token(issued.id)

    assert before == len(told)


def test_a_token_is_issued_only_under_a_living_session(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    over = st.open_session("ann", max_age=10)
    clock.advance(10)
    settle(st)

    with pytest.raises(SessionEnded):
        st.issue_token(over.id)
    with pytest.raises(UnknownSession):
        st.issue_token(over.secret)


def test_a_token_is_issued_under_a_detached_session_by_its_id(st: SessionTokens) -> None:
    opened = st.open_session("ann", detachable=True)
    st.detach_session(opened.id)

    assert st.verify_token(st.issue_token(opened.id).secret) is not None


def test_a_longer_own_timeout_than_the_sessions_is_accepted(st: SessionTokens) -> None:
    opened = st.open_session("ann", max_age=60)
    token = st.issue_token(opened.id, timeout=600).token

    assert 600 == token.timeout
    assert opened.session.expires_at == token.expires_at


def test_a_transferable_tokens_own_deadline_does_not_end_with_its_session(st: SessionTokens) -> None:
    opened = st.open_session("ann", max_age=60)
    token = st.issue_token(opened.id, timeout=600, transferable=True).token

    assert token.created_at + 600_000 == token.expires_at


def test_the_general_token_timeout_holds_where_a_token_says_nothing(opening: Opening) -> None:
    st = opening(token_timeout=30, disownment_timeout=40)
    opened = st.open_session("ann")
    default, own = st.issue_token(opened.id, transferable=True), st.issue_token(None, timeout=None)

    assert (30, 40) == (default.token.timeout, default.token.disownment_timeout)
    assert own.token.expires_at is None


def test_only_a_transferable_token_has_a_disownment_timeout(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    bound = st.issue_token(opened.id)

    with pytest.raises(InvalidInput):
        st.issue_token(opened.id, disownment_timeout=10)
    with pytest.raises(InvalidInput):
        st.change_token(bound.id, disownment_timeout=10)


def test_a_session_holds_as_many_tokens_as_the_settings_allow(opening: Opening) -> None:
    st = opening(max_tokens_per_session=2)
    opened = st.open_session("ann")
    first = st.issue_token(opened.id)
    st.issue_token(opened.id)
    with pytest.raises(LimitReached):
        st.issue_token(opened.id)
    st.destroy_token(first.id)

    assert st.verify_token(st.issue_token(opened.id).secret) is not None
    assert st.verify_token(st.issue_token(None).secret) is not None


# Change.


def test_a_new_timeout_counts_from_now(st: SessionTokens, clock: ManualClock) -> None:
    issued = st.issue_token(None, timeout=100)
    clock.advance(50)

    assert clock.now() + 20_000 == st.change_token(issued.id, timeout=20).expires_at
    assert st.change_token(issued.id, timeout=None).expires_at is None


def test_a_new_value_keeps_deadline_and_secret(st: SessionTokens) -> None:
    issued = st.issue_token(None, "old", timeout=100)
    changed = st.change_token(issued.secret, value=None)

    assert (None, issued.token.expires_at) == (changed.value, changed.expires_at)
    assert changed == st.verify_token(issued.secret)


def test_a_disownment_timeout_of_an_unassigned_token_counts_from_its_being_unassigned(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True, disownment_timeout=50)
    st.destroy_session(opened.id)
    unassigned_at = clock.now()
    clock.advance(20)
    settle(st)
    changed = st.change_token(token.id, disownment_timeout=30)

    assert unassigned_at + 30_000 == changed.expires_at
    assert unassigned_at == changed.unassigned_at


def test_a_disownment_timeout_that_is_over_already_ends_the_token(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    st.destroy_session(opened.id)
    clock.advance(20)
    st.change_token(token.id, disownment_timeout=10)

    assert st.get_token(token.id) is None


def test_a_change_of_a_version_that_is_past_is_a_conflict(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    st.change_token(token.id, value=1, version=1)
    stale: list[Callable[[], object]] = [
        lambda: st.change_token(token.id, value=2, version=1),
        lambda: st.offer_token(token.id, version=1),
        lambda: st.withdraw_token(token.id, version=1),
        lambda: st.destroy_token(token.id, version=1),
    ]
    for command in stale:
        with pytest.raises(Conflict):
            command()

    kept = st.get_token(token.id)
    assert kept is not None
    assert (1, 2) == (kept.value, kept.version)


# Re-issue and destroy.


def test_the_owner_can_always_ask_for_a_fresh_secret(st: SessionTokens) -> None:
    issued = st.issue_token(st.open_session("ann").id, "v", transferable=True)
    again = st.reissue_token(issued.id, owner="ann")

    assert (issued.id, 0, "v") == (again.id, again.token.epoch, again.token.value)
    assert st.verify_token(issued.secret) is None
    assert again.record == st.verify_token(again.secret)


def test_nobody_else_can(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    issued = st.issue_token(opened.id, transferable=True)
    for owner in ("bob", None):
        with pytest.raises(NotOwner):
            st.reissue_token(issued.id, owner=owner)
    st.destroy_session(opened.id)
    for owner in ("ann", None):
        with pytest.raises(NotOwner):
            st.reissue_token(issued.id, owner=owner)


def test_a_free_token_is_re_issued_for_nobody(st: SessionTokens) -> None:
    free = st.issue_token(None)
    again = st.reissue_token(free.id, owner=None)

    assert st.verify_token(free.secret) is None
    assert again.record == st.verify_token(again.secret)


@pytest.mark.parametrize("by", ["id", "secret"])
@pytest.mark.parametrize("kind", ["free", "bound", "transferable", "parked"])
def test_a_token_of_any_kind_is_destroyed_once(st: SessionTokens, told: list[Event], by: str, kind: str) -> None:
    session = None if kind == "free" else st.open_session("ann").id
    token = st.issue_token(session, transferable=kind in ("transferable", "parked"))
    if kind == "parked":
        token = st.transfer_token(token.id, giver="ann", receiver="bob")
    before = len(told)

    assert [True, False] == [st.destroy_token(getattr(token, by)), st.destroy_token(getattr(token, by))]
    assert st.verify_token(token.secret) is None
    assert [("token_ended", token.id, "revoked")] == [
        (event.kind, event.subject_id, event.reason) for event in told[before:]
    ]


def test_an_unassigned_token_is_destroyed_by_its_id_and_not_by_its_secret(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True)
    st.destroy_session(opened.id)

    assert [False, True] == [st.destroy_token(token.secret), st.destroy_token(token.id)]


# Offers.


def test_an_offer_advertises_and_locks_nothing(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, "v", transferable=True)
    offered = st.offer_token(token.id, price="12.50", currency="EUR")

    assert (Decimal("12.50"), "EUR", False, True) == (
        offered.price, offered.currency, offered.gift, offered.is_sellable,
    )  # fmt: skip
    assert [offered] == st.list_tokens(sellable=True).items
    assert st.verify_token(token.secret) is not None
    assert "w" == st.change_token(token.id, value="w").value


def test_negative_and_zero_are_prices_and_none_is_not(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)

    assert [Decimal(-3), Decimal(0), None] == [st.offer_token(token.id, price=price).price for price in (-3, 0, None)]


def test_a_gift_is_a_flag_of_its_own(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    gift, priced = st.offer_token(token.id, gift=True), st.offer_token(token.id, gift=True, price=5)

    assert (True, None) == (gift.gift, gift.price)
    assert (True, Decimal(5)) == (priced.gift, priced.price)


def test_withdrawing_takes_listing_price_and_gift_away_and_twice_changes_nothing(st: SessionTokens) -> None:
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    st.offer_token(token.id, price=5, gift=True)
    withdrawn = st.withdraw_token(token.id)

    assert (None, False, False) == (withdrawn.price, withdrawn.gift, withdrawn.is_sellable)
    assert withdrawn == st.withdraw_token(token.id)
    assert [] == st.list_tokens(sellable=True).items


def test_only_a_transferable_token_is_offered(st: SessionTokens) -> None:
    bound, free = st.issue_token(st.open_session("ann").id), st.issue_token(None)

    for token in (bound, free):
        with pytest.raises(NotTransferable):
            st.offer_token(token.id, price=1)
        with pytest.raises(NotTransferable):
            st.withdraw_token(token.id)


def test_a_dead_token_is_unknown_to_every_command(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, transferable=True, timeout=10)
    clock.advance(10)
    settle(st)
    commands: list[Callable[[], object]] = [
        lambda: st.transfer_token(token.id, giver="ann", receiver="bob"), lambda: st.offer_token(token.id),
        lambda: st.claim_token(token.id, session_key=opened.id), lambda: st.reissue_token(token.id, owner="ann"),
        lambda: st.change_token(token.id, value=1), lambda: st.withdraw_token(token.id),
    ]  # fmt: skip

    for command in commands:
        with pytest.raises(UnknownToken):
            command()
    assert st.destroy_token(token.id) is False
