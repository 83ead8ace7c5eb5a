"""Changing hands: transfers, tokens that wait for their owner or for any, and who may take them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_tokens import (
    Conflict,
    Event,
    Issued,
    NotOwner,
    NotTransferable,
    OwnerDisabled,
    SessionEnded,
    SessionTokens,
    UnknownSession,
    UnknownToken,
)
from session_tokens.testing import ManualClock

Opening = Callable[..., SessionTokens]
Settle = Callable[[SessionTokens], None]


@pytest.fixture
def giving(st: SessionTokens) -> Issued:
    """The session of the giver, ann."""
    return st.open_session("ann", max_age=None)


@pytest.fixture
def token(st: SessionTokens, giving: Issued) -> Issued:
    return st.issue_token(giving.id, "seat 12", transferable=True, timeout=600, disownment_timeout=300)


@pytest.fixture
def unassigned(st: SessionTokens, giving: Issued, token: Issued, settle: Settle) -> Issued:
    """The token after ann's session ended."""
    st.destroy_session(giving.id)
    settle(st)
    return token


# Transfer.


def test_a_transfer_re_issues_the_secret(st: SessionTokens, token: Issued) -> None:
    given = st.transfer_token(token.id, giver="ann", receiver="bob")

    assert st.verify_token(token.secret) is None
    assert given.record == st.verify_token(given.secret)
    assert token.id == given.id


def test_the_receiver_holds_it_in_their_session_an_epoch_later(st: SessionTokens, token: Issued) -> None:
    receiving = st.open_session("bob")
    given = st.transfer_token(token.secret, giver="ann", receiver="bob").token

    assert ("bob", receiving.id, 1, "ann") == (given.owner, given.session_id, given.epoch, given.previous_owner)
    assert [] == st.list_tokens(owner="ann").items
    assert [given] == st.list_tokens(session=receiving.id).items


def test_the_receivers_newest_living_session_holds_it(st: SessionTokens, token: Issued, clock: ManualClock) -> None:
    opened = []
    for _ in range(4):
        opened.append(st.open_session("bob", detachable=True))
        clock.advance(1)
    st.destroy_session(opened[3].id)
    st.detach_session(opened[2].id)

    assert opened[2].id == st.transfer_token(token.id, giver="ann", receiver="bob").token.session_id


def test_deadline_and_value_are_kept_and_the_listing_is_cleared(
    st: SessionTokens, token: Issued, clock: ManualClock
) -> None:
    st.offer_token(token.id, price=3, gift=True)
    clock.advance(10)
    given = st.transfer_token(token.id, giver="ann", receiver="bob").token

    assert (token.token.expires_at, "seat 12", 300) == (given.expires_at, given.value, given.disownment_timeout)
    assert (None, False, False) == (given.price, given.gift, given.is_sellable)
    assert [] == st.list_tokens(sellable=True).items


def test_giver_and_receiver_may_be_the_same(st: SessionTokens, token: Issued, giving: Issued) -> None:
    given = st.transfer_token(token.id, giver="ann", receiver="ann")

    assert ("ann", giving.id, 1) == (given.token.owner, given.token.session_id, given.token.epoch)
    assert st.verify_token(token.secret) is None
    assert st.verify_token(given.secret) is not None


def test_only_from_its_present_owner(st: SessionTokens, token: Issued) -> None:
    st.transfer_token(token.id, giver="ann", receiver="bob")
    for giver in ("ann", "cyn", None):
        with pytest.raises(NotOwner):
            st.transfer_token(token.id, giver=giver, receiver="cyn")

    assert "cyn" == st.transfer_token(token.id, giver="bob", receiver="cyn").token.owner


def test_a_givers_dead_secret_is_no_key(st: SessionTokens, token: Issued) -> None:
    st.transfer_token(token.id, giver="ann", receiver="bob")

    with pytest.raises(UnknownToken):
        st.transfer_token(token.secret, giver="bob", receiver="cyn")


def test_only_a_transferable_token_is_transferred(st: SessionTokens, giving: Issued) -> None:
    bound, free = st.issue_token(giving.id), st.issue_token(None)

    for issued, giver in ((bound, "ann"), (free, None)):
        with pytest.raises(NotTransferable):
            st.transfer_token(issued.id, giver=giver, receiver="bob")
        assert issued.record == st.verify_token(issued.secret)


def test_an_epoch_that_is_past_is_a_conflict(st: SessionTokens, token: Issued) -> None:
    st.transfer_token(token.id, giver="ann", receiver="bob", epoch=0)

    with pytest.raises(Conflict):
        st.transfer_token(token.id, giver="bob", receiver="cyn", epoch=0)


def test_a_failed_transfer_changes_and_tells_nothing(st: SessionTokens, token: Issued) -> None:
    told: list[Event] = []
    st.disable_owner("cyn")
    st.subscribe(told.append)
    for giver, receiver, epoch in (("bob", "ann", None), ("ann", "cyn", None), ("ann", "bob", 7)):
        with pytest.raises((NotOwner, OwnerDisabled, Conflict)):
            st.transfer_token(token.id, giver=giver, receiver=receiver, epoch=epoch)

    assert token.record == st.verify_token(token.secret)
    assert [] == told


def test_a_transfer_is_told_with_both_owners(st: SessionTokens, token: Issued) -> None:
    told: list[Event] = []
    st.subscribe(told.append)
    st.transfer_token(token.id, giver="ann", receiver="bob")

    assert [("token_transferred", token.id, "bob", "ann")] == [
        (event.kind, event.subject_id, event.owner, event.previous_owner) for event in told
    ]


def test_a_given_token_outlives_the_givers_session(st: SessionTokens, token: Issued, giving: Issued) -> None:
    st.open_session("bob")
    given = st.transfer_token(token.id, giver="ann", receiver="bob")
    st.destroy_session(giving.id)

    assert given.record == st.verify_token(given.secret)


# Parked.


def test_a_receiver_without_a_session_has_it_parked(st: SessionTokens, token: Issued) -> None:
    parked = st.transfer_token(token.id, giver="ann", receiver="bob")

    assert ("bob", None, False) == (parked.token.owner, parked.token.session_id, parked.token.is_unassigned)
    assert parked.record == st.verify_token(parked.secret)
    assert [parked.record] == st.list_tokens(owner="bob").items


def test_a_receiver_whose_session_is_over_has_it_parked(
    st: SessionTokens, token: Issued, clock: ManualClock, settle: Settle
) -> None:
    st.open_session("bob", max_age=10)
    clock.advance(10)
    settle(st)

    assert st.transfer_token(token.id, giver="ann", receiver="bob").token.session_id is None


def test_a_parked_token_ends_by_its_own_timeout_only(st: SessionTokens, token: Issued, clock: ManualClock) -> None:
    parked = st.transfer_token(token.id, giver="ann", receiver="bob")
    clock.advance(599.999)
    alive = st.verify_token(parked.secret)
    clock.advance(ms=1)

    assert alive is not None
    assert st.verify_token(parked.secret) is None


def test_a_parked_token_joins_the_next_session_with_secret_and_epoch_kept(st: SessionTokens, token: Issued) -> None:
    parked = st.transfer_token(token.id, giver="ann", receiver="bob")
    opened = st.open_session("bob")
    joined = st.verify_token(parked.secret)

    assert joined is not None
    assert (opened.id, 1, "bob") == (joined.session_id, joined.epoch, joined.owner)


def test_a_parked_token_that_ran_out_does_not_join(st: SessionTokens, token: Issued, clock: ManualClock) -> None:
    st.transfer_token(token.id, giver="ann", receiver="bob")
    clock.advance(600)
    opened = st.open_session("bob")

    assert [] == st.list_tokens(session=opened.id).items


def test_a_parked_token_that_joined_becomes_unassigned_with_that_session(
    st: SessionTokens, token: Issued, settle: Settle
) -> None:
    st.transfer_token(token.id, giver="ann", receiver="bob")
    st.destroy_session(st.open_session("bob").id)
    settle(st)
    left = st.get_token(token.id)

    assert left is not None
    assert (None, "bob") == (left.owner, left.previous_owner)


def test_a_parked_token_is_given_on_by_its_owner(st: SessionTokens, token: Issued) -> None:
    parked = st.transfer_token(token.id, giver="ann", receiver="bob")
    given = st.transfer_token(parked.secret, giver="bob", receiver="ann")

    assert ("ann", 2) == (given.token.owner, given.token.epoch)
    assert [] == st.list_tokens(owner="bob").items


# Unassigned.


def test_an_unassigned_token_does_not_authenticate_but_is_shown(st: SessionTokens, unassigned: Issued) -> None:
    shown = st.get_token(unassigned.id)

    assert st.verify_token(unassigned.secret) is None
    assert shown is not None
    assert ("seat 12", None, "ann") == (shown.value, shown.owner, shown.previous_owner)
    assert [shown] == st.list_tokens(unassigned=True).items


def test_the_secret_of_an_unassigned_token_is_no_key(st: SessionTokens, unassigned: Issued) -> None:
    opened = st.open_session("bob")

    with pytest.raises(UnknownToken):
        st.claim_token(unassigned.secret, session_key=opened.id)
    with pytest.raises(UnknownToken):
        st.transfer_token(unassigned.secret, giver="ann", receiver="bob")


def test_the_previous_owners_next_log_in_does_not_take_it_back(st: SessionTokens, unassigned: Issued) -> None:
    st.open_session("ann")
    shown = st.get_token(unassigned.id)

    assert shown is not None
    assert shown.is_unassigned


@pytest.mark.parametrize("giver", [None, "ann"])
def test_it_is_transferred_by_the_application_or_its_previous_owner(
    st: SessionTokens, unassigned: Issued, giver: str | None
) -> None:
    given = st.transfer_token(unassigned.id, giver=giver, receiver="bob")

    assert ("bob", 1, "ann", None) == (
        given.token.owner, given.token.epoch, given.token.previous_owner, given.token.unassigned_at,
    )  # fmt: skip
    assert given.record == st.verify_token(given.secret)


def test_it_is_not_transferred_by_anyone_else(st: SessionTokens, unassigned: Issued) -> None:
    with pytest.raises(NotOwner):
        st.transfer_token(unassigned.id, giver="bob", receiver="bob")

    shown = st.get_token(unassigned.id)
    assert shown is not None
    assert shown.is_unassigned


@pytest.mark.parametrize("by", ["id", "secret"])
def test_a_claim_takes_it_into_a_session(st: SessionTokens, unassigned: Issued, by: str) -> None:
    opened = st.open_session("bob")
    claimed = st.claim_token(unassigned.id, session_key=getattr(opened, by))

    assert ("bob", opened.id, 1, "ann") == (
        claimed.token.owner, claimed.token.session_id, claimed.token.epoch, claimed.token.previous_owner,
    )  # fmt: skip
    assert claimed.record == st.verify_token(claimed.secret)
    assert st.verify_token(unassigned.secret) is None
    assert [] == st.list_tokens(unassigned=True).items


def test_a_claim_by_the_previous_owner_is_a_claim_like_any(st: SessionTokens, unassigned: Issued) -> None:
    claimed = st.claim_token(unassigned.id, session_key=st.open_session("ann").id)

    assert ("ann", 1) == (claimed.token.owner, claimed.token.epoch)


def test_a_claimed_token_has_its_own_deadline_again(st: SessionTokens, unassigned: Issued, clock: ManualClock) -> None:
    clock.advance(299.999)
    claimed = st.claim_token(unassigned.id, session_key=st.open_session("bob").id)

    assert unassigned.token.expires_at == claimed.token.expires_at


def test_a_claim_at_the_disownment_timeout_is_too_late(
    st: SessionTokens, unassigned: Issued, clock: ManualClock
) -> None:
    opened = st.open_session("bob")
    clock.advance(300)

    with pytest.raises(UnknownToken):
        st.claim_token(unassigned.id, session_key=opened.id)


def test_what_someone_owns_is_not_claimed(st: SessionTokens, token: Issued) -> None:
    opened = st.open_session("bob")
    with pytest.raises(Conflict):
        st.claim_token(token.id, session_key=opened.id)
    parked = st.transfer_token(token.id, giver="ann", receiver="cyn")
    with pytest.raises(Conflict):
        st.claim_token(token.id, session_key=opened.id)

    assert parked.record == st.verify_token(parked.secret)


def test_bound_and_free_tokens_are_never_claimed(st: SessionTokens, giving: Issued) -> None:
    for issued in (st.issue_token(giving.id), st.issue_token(None)):
        with pytest.raises(NotTransferable):
            st.claim_token(issued.id, session_key=giving.id)


def test_a_claim_needs_a_living_session(st: SessionTokens, unassigned: Issued) -> None:
    over = st.open_session("bob")
    st.destroy_session(over.id)

    with pytest.raises(SessionEnded):
        st.claim_token(unassigned.id, session_key=over.id)
    with pytest.raises(UnknownSession):
        st.claim_token(unassigned.id, session_key=over.secret)
    assert st.claim_token(unassigned.id, session_key=st.open_session("bob").id).token.owner == "bob"


def test_an_unassigned_token_is_offered_and_its_offer_ends_with_the_claim(
    st: SessionTokens, unassigned: Issued
) -> None:
    st.offer_token(unassigned.id, price=2)
    claimed = st.claim_token(unassigned.id, session_key=st.open_session("bob").id)

    assert claimed.token.price is None


def test_epochs_only_grow_and_once_for_each_change_of_hands(st: SessionTokens, unassigned: Issued) -> None:
    bob = st.open_session("bob")
    epochs = [st.claim_token(unassigned.id, session_key=bob.id).token.epoch]
    epochs.append(st.transfer_token(unassigned.id, giver="bob", receiver="cyn").token.epoch)
    st.open_session("cyn")
    epochs.append(st.reissue_token(unassigned.id, owner="cyn").token.epoch)
    epochs.append(st.transfer_token(unassigned.id, giver="cyn", receiver="bob").token.epoch)

    assert [1, 2, 2, 3] == epochs
