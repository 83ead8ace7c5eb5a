"""Giving an owner another name, and lists of owners."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from session_tokens import Conflict, Event, InvalidInput, LimitReached, OwnerDisabled, SessionTokens
from session_tokens.contract.queries import Count
from session_tokens.rules import renaming
from session_tokens.testing import ManualClock

Settle = Callable[[SessionTokens], None]


def owners(st: SessionTokens, **given: object) -> list[str]:
    """Return all owners, page by page."""
    named: list[str] = []
    after: str | None = None
    while True:
        page = st.list_owners(after=after, limit=2, **given)  # type: ignore[arg-type]  # anonymous and newest alone
        named += [owner.owner for owner in page]
        if page.after is None:
            return named
        after = page.after


def test_sessions_and_tokens_go_along_and_secrets_stay(st: SessionTokens, told: list[Event], settle: Settle) -> None:
    opened = [st.open_session("ann") for _ in range(3)]
    bound = st.issue_token(opened[0].id, "bound")
    seat = st.issue_token(opened[1].id, "seat", transferable=True)
    parked = st.transfer_token(st.issue_token(opened[1].id, 1, transferable=True).id, giver="ann", receiver="ann")
    told.clear()
    count = st.rename_owner("ann", "ann@example.org")
    settle(st)

    assert 6 == count
    for issued in opened:
        assert issued.secret is not None
        session = st.verify_session(issued.secret)
        assert session is not None and session.owner == "ann@example.org"
    for issued in (bound, seat, parked):
        assert issued.secret is not None
        token = st.verify_token(issued.secret)
        assert token is not None and token.owner == "ann@example.org"
    assert 3 == len(st.list_sessions("ann@example.org")) and 3 == len(st.list_tokens(owner="ann@example.org"))
    assert [] == list(st.list_sessions("ann")) and [] == list(st.list_tokens(owner="ann"))
    assert [("owner_renamed", "ann@example.org", "ann@example.org", "ann")] == [
        (event.kind, event.subject_id, event.owner, event.previous_owner) for event in told
    ]


def test_what_is_parked_joins_the_next_session_under_the_new_name(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, "seat", transferable=True)
    st.transfer_token(token.id, giver="ann", receiver="bob")
    renamed = st.rename_owner("bob", "robert")
    session = st.open_session("robert")

    assert (1, [token.id]) == (renamed, [each.id for each in st.list_tokens(session=session.id)])


def test_a_loan_names_its_borrower_by_the_new_name(st: SessionTokens) -> None:
    lender = st.open_session("ann")
    st.open_session("bob")
    token = st.issue_token(lender.id, "seat", transferable=True)
    loan = st.lend_token(token.id, borrower="bob")
    assert loan.secret is not None
    st.rename_owner("bob", "robert")
    seen = st.verify_token(loan.secret)

    assert seen is not None and ("ann", "robert") == (seen.owner, seen.borrower)
    st.recall_token(token.id, borrower="robert")
    assert st.verify_token(loan.secret) is None


def test_a_name_under_which_only_what_is_over_is_parked_can_be_given(st: SessionTokens, clock: ManualClock) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, "seat", transferable=True, timeout=1)
    st.transfer_token(token.id, giver="ann", receiver="anna")
    with pytest.raises(Conflict):
        st.rename_owner("ann", "anna")
    clock.advance(1)

    assert 1 == st.rename_owner("ann", "anna")
    assert [] == list(st.list_tokens(owner="anna"))


def test_an_end_of_all_sessions_reaches_those_that_were_renamed(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    st.rename_owner("ann", "anna")
    assert opened.secret is not None

    assert 0 == st.destroy_sessions("ann")
    assert st.verify_session(opened.secret) is not None
    assert 1 == st.destroy_sessions("anna")
    assert st.verify_session(opened.secret) is None


def test_it_is_refused_where_both_names_live(st: SessionTokens) -> None:
    for name in ("ann", "anna"):
        st.open_session(name)
    with pytest.raises(Conflict):
        st.rename_owner("ann", "anna")

    assert {"ann", "anna"} == set(owners(st))


def test_a_name_whose_sessions_are_over_is_free(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    st.open_session("anna", max_age=10)
    clock.advance(11)
    settle(st)
    st.open_session("ann")

    assert 1 == st.rename_owner("ann", "anna")
    assert ["anna"] == owners(st)


def test_a_disabled_owner_is_disabled_under_both_names(st: SessionTokens) -> None:
    session = st.open_session("ann")
    token = st.issue_token(session.id, "seat", transferable=True)
    st.open_session("mallory")
    st.transfer_token(token.id, giver="ann", receiver="mallory")
    parked = st.issue_token(st.open_session("bob").id, "x", transferable=True)
    st.disable_owner("mallory")
    st.rename_owner("mallory", "mal")
    for name in ("mallory", "mal"):
        with pytest.raises(OwnerDisabled):
            st.open_session(name)
    with pytest.raises(OwnerDisabled):
        st.rename_owner("bob", "mallory")

    assert {"mallory", "mal"} >= {owner.owner for owner in st.list_disabled_owners()}
    assert parked.record is not None


def test_names_that_can_never_be_right_are_refused_and_nobody_is_nothing(st: SessionTokens) -> None:
    for wrong in (("ann", "ann"), ("ann", ""), ("console:x", "ann"), ("ann", "anonymous:x"), ("", "ann")):
        with pytest.raises(InvalidInput):
            st.rename_owner(*wrong)

    assert 0 == st.rename_owner("nobody", "somebody")


def test_more_than_one_commit_holds_is_refused(st: SessionTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "RENAMED_AT_ONCE", 3)
    opened = st.open_session("ann")
    for number in range(3):
        st.issue_token(opened.id, number)
    with pytest.raises(LimitReached):
        st.rename_owner("ann", "anna")

    assert 3 == len(st.list_tokens(owner="ann"))


def test_owners_are_listed_once_in_order_of_their_oldest_living_session(
    st: SessionTokens, clock: ManualClock, settle: Settle
) -> None:
    st.open_session("carol", max_age=10)
    for name in ("ann", "bob", "ann", "carol", "dora", "ann"):
        clock.advance(1)
        st.open_session(name)
    st.log_in(None)
    clock.advance(9)
    settle(st)
    everybody = owners(st, anonymous=True)

    assert ["ann", "bob", "carol", "dora"] == owners(st)
    assert ["dora", "carol", "bob", "ann"] == owners(st, newest=True)
    assert everybody[::-1] == owners(st, anonymous=True, newest=True)
    assert 5 == len(everybody) and everybody[-1].startswith("anonymous:")
    assert 3 == next(owner.sessions for owner in st.list_owners() if owner.owner == "ann")


def test_disabled_owners_are_listed_and_no_others(st: SessionTokens) -> None:
    for name in ("ann", "bob", "carol"):
        st.disable_owner(name)
    st.enable_owner("bob")
    named: list[str] = []
    page = st.list_disabled_owners(limit=1)
    named += [owner.owner for owner in page]
    while page.after is not None:
        page = st.list_disabled_owners(after=page.after, limit=1)
        named += [owner.owner for owner in page]

    assert ["ann", "carol"] == named
    assert all(owner.disabled_at is not None for owner in st.list_disabled_owners())


def test_a_loan_of_what_ran_out_goes_with_the_owner_who_is_forgotten(st: SessionTokens, clock: ManualClock) -> None:
    agent, ann = st.open_session("agent", max_age=None), st.open_session("ann")
    parked = st.issue_token(ann.id, transferable=True, timeout=10)
    st.transfer_token(parked.id, giver="ann", receiver="bob")
    st.lend_token(parked.id, borrower="agent")
    clock.advance(11)
    st.forget_owner("bob")
    _, (held,) = st.store.read_now([Count("tokens_of", agent.id)])
    assert held.value == 0


def test_what_a_forgotten_owner_had_parked_is_offered_on_as_after_a_session(
    st: SessionTokens, clock: ManualClock
) -> None:
    ann = st.open_session("ann")
    parked, held = (st.issue_token(ann.id, transferable=True) for _ in range(2))
    st.transfer_token(parked.id, giver="ann", receiver="bob")
    st.transfer_token(held.id, giver="ann", receiver="carol")
    st.open_session("carol")
    for token in (parked, held):
        st.offer_token(token.id, price=3, to="dan", until=20)
    for owner in ("bob", "carol"):
        st.forget_owner(owner)
    clock.advance(10)
    seen = [st.get_token(token.id) for token in (parked, held)]

    assert [("dan", Decimal(3))] * 2 == [(each.reserved_for, each.price) for each in seen if each is not None]


def test_a_version_that_was_seen_stands_for_nothing_else_once_its_owner_is_forgotten(
    st: SessionTokens, clock: ManualClock
) -> None:
    ann = st.open_session("ann")
    parked = st.issue_token(ann.id, transferable=True)
    st.transfer_token(parked.id, giver="ann", receiver="bob")
    st.offer_token(parked.id, to="bob", until=10)
    clock.advance(10)
    seen = st.get_token(parked.id)
    st.forget_owner("bob")
    left = st.get_token(parked.id)

    assert seen is not None and left is not None and seen.version < left.version
    assert (None, False) == (left.reserved_for, left.is_sellable)
