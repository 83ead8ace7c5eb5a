"""The model on its own: the few sentences on which everything that is compared with it stands."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.naive import NaiveTokens, Refusal

SETTINGS = {
    "max_age": 100_000, "idle_timeout": None, "detached_timeout": 20_000, "token_timeout": None,
    "disownment_timeout": 30_000, "max_sessions": 1, "session_policy": "replace_oldest",
}  # fmt: skip


def model_with(**settings: Any) -> NaiveTokens:
    return NaiveTokens(SETTINGS | settings, now=0)


def test_a_session_lives_until_its_deadline_and_not_at_it() -> None:
    model = model_with()
    secret = model.open_session("ann")["secret"]
    model.advance(99_999)
    before = model.verify_session(secret)
    model.advance(100_000)

    assert before is not None
    assert model.verify_session(secret) is None
    assert model.expired == {"s1": ["expired"]}


def test_use_moves_the_idle_deadline_only_after_a_sixteenth_of_the_window() -> None:
    model = model_with(idle_timeout=16_000, max_age=None)
    secret = model.open_session("ann")["secret"]
    model.advance(999)
    too_soon = model.verify_session(secret)
    model.advance(1_000)
    soon_enough = model.verify_session(secret)

    assert too_soon is not None and too_soon["expires_at"] == 17_000
    assert soon_enough is not None and soon_enough["expires_at"] == 18_000


def test_ending_a_session_kills_its_bound_tokens_and_frees_its_transferable_ones() -> None:
    model = model_with()
    model.open_session("ann")
    bound = model.issue_token("s1")
    transferable = model.issue_token("s1", transferable=True)
    model.advance(5_000)
    model.destroy_session("s1")

    assert model.get_token(bound["id"]) is None
    assert model.verify_token(transferable["secret"]) is None
    orphan = model.get_token(transferable["id"])
    assert orphan is not None
    assert (orphan["owner"], orphan["previous_owner"], orphan["expires_at"]) == (None, "ann", 35_000)


def test_the_disownment_clock_runs_from_the_sessions_deadline_however_late_anybody_looks() -> None:
    model = model_with()
    model.open_session("ann")
    model.issue_token("s1", transferable=True)
    model.advance(129_999)
    still_there = model.get_token("t1")
    model.advance(130_000)

    assert still_there is not None and still_there["expires_at"] == 130_000
    assert model.get_token("t1") is None


def test_a_replaced_sessions_transferable_token_moves_and_an_expired_sessions_does_not() -> None:
    replaced, expired = model_with(), model_with()
    for model, opened_again_at in ((replaced, 50_000), (expired, 100_000)):
        model.open_session("ann")
        model.issue_token("s1", transferable=True)
        model.advance(opened_again_at)
        model.open_session("ann")

    assert replaced.tokens["t1"].session_id == "s2"
    assert expired.tokens["t1"].owner is None


def test_a_parked_token_verifies_and_joins_its_owners_next_session() -> None:
    model = model_with()
    model.open_session("ann")
    model.issue_token("s1", transferable=True)
    secret = model.transfer_token("t1", giver="ann", receiver="bob")["secret"]
    parked = model.verify_token(secret)
    model.open_session("bob")
    joined = model.verify_token(secret)

    assert parked is not None and parked["session_id"] is None
    assert joined is not None and joined["session_id"] == "s2"


def test_a_hand_over_kills_the_givers_secret_and_clears_the_listing() -> None:
    model = model_with()
    model.open_session("ann")
    given = model.issue_token("s1", transferable=True)
    model.offer_token("t1", price=1, currency="EUR")
    received = model.transfer_token("t1", giver="ann", receiver="bob")

    assert model.verify_token(given["secret"]) is None
    assert (received["owner"], received["epoch"], received["currency"]) == ("bob", 1, None)
    with pytest.raises(Refusal, match="NotOwner"):
        model.transfer_token("t1", giver="ann", receiver="cyn")


def test_a_detached_session_has_no_secret_and_is_attached_by_its_id_alone() -> None:
    model = model_with()
    secret = model.open_session("ann", detachable=True)["secret"]
    model.detach_session(secret)
    with pytest.raises(Refusal, match="UnknownSession"):
        model.attach_session(secret)
    attached = model.attach_session("s1")

    assert model.verify_session(secret) is None
    assert model.verify_session(attached["secret"]) is not None


def test_the_attached_session_is_replaced_before_the_older_detached_one() -> None:
    model = model_with(max_sessions=2)
    model.open_session("ann", detachable=True)
    model.detach_session("s1")
    model.open_session("ann")
    model.open_session("ann")

    assert [session.id for session in model.living_sessions("ann")] == ["s1", "s3"]


def test_enabling_an_owner_brings_no_session_back() -> None:
    model = model_with()
    model.open_session("ann")
    model.disable_owner("ann")
    with pytest.raises(Refusal, match="OwnerDisabled"):
        model.open_session("ann")
    model.enable_owner("ann")

    assert model.living_sessions("ann") == []
    assert model.events[-1] == ("owner_enabled", "ann", None)


def test_an_ended_session_is_known_by_its_id_for_a_while_and_its_secret_is_not() -> None:
    model = model_with()
    secret = model.open_session("ann")["secret"]
    model.destroy_session("s1")
    with pytest.raises(Refusal, match="UnknownSession"):
        model.rotate_session(secret)
    with pytest.raises(Refusal, match="SessionEnded"):
        model.rotate_session("s1")
    model.advance(3_600_000)
    with pytest.raises(Refusal, match="UnknownSession"):
        model.rotate_session("s1")


def test_a_former_secret_is_good_for_its_grace_and_ends_the_session_after_it() -> None:
    model = model_with()
    first = model.open_session("ann")["secret"]
    second = model.rotate_session(first, grace=1_000)["secret"]

    assert model.rotate_session(first, grace=1_000)["secret"] == second
    assert model.verify_session(first)["secret_until"] == model.now + 1_000  # type: ignore[index]
    model.advance(model.now + 1_000)
    assert model.stolen_secrets() == [first]
    assert model.verify_session(second) is not None
    with pytest.raises(Refusal, match="UnknownSession"):
        model.rotate_session(first)
    assert model.events[-1] == ("session_ended", "s1", "theft")
    assert model.verify_session(second) is None


def test_a_rotation_without_grace_and_a_detaching_forget_all_former_secrets() -> None:
    model = model_with()
    for forget in ("rotate_session", "detach_session"):
        secret = model.open_session("ann", detachable=True)["secret"]
        id = secret.partition("#")[0]
        model.rotate_session(secret, grace=1_000)
        getattr(model, forget)(id)
        assert model.verify_session(secret) is None
        model.advance(model.now + 1_000)
        assert model.verify_session(secret) is None
        assert id in {session.id for session in model.living_sessions()}


def test_data_written_since_a_version_conflicts_field_by_field() -> None:
    model = model_with()
    model.open_session("ann", data={"a": 1, "b": 1})
    model.update_session_data("s1", {}, removed=["a"], version=1)
    other_field = model.update_session_data("s1", {"b": 2}, version=1)

    assert other_field["data"] == {"b": 2}
    with pytest.raises(Refusal, match="Conflict"):
        model.update_session_data("s1", {"a": 3}, version=1)


def test_a_token_ends_with_its_last_use_and_is_known_for_an_hour() -> None:
    model = model_with(max_age=None)
    token = model.issue_token(None, uses=2)
    model.consume_token(token["id"])
    with pytest.raises(Refusal, match="LimitReached"):
        model.consume_token(token["id"], amount=2)
    last = model.consume_token(token["secret"])

    assert last["uses_left"] == 0
    assert model.verify_token(token["secret"]) is None
    with pytest.raises(Refusal, match="LimitReached"):
        model.consume_token(token["secret"])
    model.advance(3_600_000)
    with pytest.raises(Refusal, match="UnknownToken"):
        model.consume_token(token["secret"])


def test_a_token_of_the_pool_waits_without_a_secret_and_queues_anew_when_it_is_put_back() -> None:
    model = model_with()
    model.open_session("ann")
    born = model.issue_token(None, transferable=True, tag="seat")
    model.advance(1)
    model.issue_token(None, transferable=True, tag="seat")
    first = model.claim_next_token(session_key="s1", tag="seat")
    model.advance(2)
    model.release_token("t1", owner="ann")
    second = model.claim_next_token(session_key="s1", tag="seat")

    assert (born["secret"], born["expires_at"]) == (None, None)
    assert first is not None and second is not None
    assert (first["id"], second["id"]) == ("t1", "t2")
    assert model.verify_token(first["secret"]) is None
    assert model.claim_next_token(session_key="s1", tag="job") is None


def test_an_offer_to_one_owner_outlives_the_sellers_session_and_the_disownment_clock_runs_after_it() -> None:
    model = model_with()
    model.open_session("ann")
    model.open_session("cyn")
    model.issue_token("s1", transferable=True)
    model.offer_token("t1", price=5, to="bob", until=20_000)
    model.destroy_session("s1")
    with pytest.raises(Refusal, match="Conflict"):
        model.claim_token("t1", session_key="s2")
    reserved = model.get_token("t1")
    model.advance(20_000)
    free = model.get_token("t1")

    assert reserved is not None and free is not None
    assert (reserved["reserved_for"], reserved["expires_at"]) == ("bob", 50_000)
    assert (free["reserved_for"], free["price"], free["expires_at"]) == (None, None, 50_000)


def test_a_loan_ends_with_the_epoch_of_the_token_and_with_either_session() -> None:
    for ending in ("s1", "s2", "epoch"):
        model = model_with()
        model.open_session("ann")
        model.open_session("agent")
        model.issue_token("s1", transferable=True)
        loan = model.lend_token("t1", borrower="agent")
        seen = model.verify_token(loan["secret"])
        if ending == "epoch":
            model.transfer_token("t1", giver="ann", receiver="ann")
        else:
            model.destroy_session(ending)

        assert seen is not None and (seen["owner"], seen["borrower"]) == ("ann", "agent")
        assert model.verify_token(loan["secret"]) is None


def test_a_renamed_owner_takes_everything_along_and_a_name_that_lives_is_refused() -> None:
    model = model_with()
    secret = model.open_session("ann")["secret"]
    model.open_session("bob")
    for _ in range(2):
        model.issue_token("s1", transferable=True)
    model.transfer_token("t2", giver="ann", receiver="cyn")
    model.offer_token("t2", price=5, to="ann")
    with pytest.raises(Refusal, match="Conflict"):
        model.rename_owner("ann", "cyn")
    moved = model.rename_owner("ann", "anna")
    session, token, offered = model.verify_session(secret), model.get_token("t1"), model.get_token("t2")

    assert moved == 2
    assert session is not None and session["owner"] == "anna"
    assert token is not None and token["owner"] == "anna"
    assert offered is not None and offered["reserved_for"] == "anna"


def test_of_a_forgotten_owner_nothing_lives_and_no_name_is_left() -> None:
    model = model_with()
    secret = model.open_session("ann")["secret"]
    model.open_session("bob")
    model.issue_token("s1", transferable=True)
    model.issue_token("s2", transferable=True)
    model.offer_token("t2", to="ann")
    loan = model.lend_token("t2", borrower="ann", until=9_000)["secret"]
    pseudonym = model.forget_owner("ann")["pseudonym"]
    left, offered = model.get_token("t1"), model.get_token("t2")

    assert model.verify_session(secret) is None and model.verify_token(loan) is None
    assert left is not None and (left["owner"], left["previous_owner"]) == (None, pseudonym)
    assert offered is not None and (offered["owner"], offered["reserved_for"]) == ("bob", None)
    assert model.open_session("ann")["owner"] == "ann", "the name is free"
