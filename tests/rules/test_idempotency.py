"""Commands that may be sent twice: the first outcome under a key is the only one, for 24 hours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import Conflict, IdempotencyMismatch, InvalidInput, Issued, NotDetachable, Session, SessionTokens
from session_tokens.events import Event
from session_tokens.records import JSON
from session_tokens.testing import ManualClock

Settle = Callable[[SessionTokens], None]


@pytest.fixture
def commands(st: SessionTokens) -> dict[str, Callable[..., Any]]:
    """Every mutating command, each ready to be called with an idempotency key."""
    session = st.open_session("ann", detachable=True)
    detached = st.open_session("ann", detachable=True)
    st.detach_session(detached.id)
    ending, gone = st.open_session("bob"), st.open_session("dan")
    token = st.issue_token(session.id, transferable=True)
    free, offered, doomed = (st.issue_token(session.id, transferable=True) for _ in range(3))
    left = st.issue_token(gone.id, transferable=True)
    st.destroy_session(gone.id)
    st.disable_owner("eve")
    return {
        "open_session": lambda **key: st.open_session("cyn", data={"a": 1}, **key),
        "rotate_session": lambda **key: st.rotate_session(session.id, **key),
        "detach_session": lambda **key: st.detach_session(session.id, **key),
        "attach_session": lambda **key: st.attach_session(detached.id, **key),
        "change_session": lambda **key: st.change_session(session.id, label="x", **key),
        "update_session_data": lambda **key: st.update_session_data(session.id, {"b": [1]}, **key),
        "destroy_session": lambda **key: st.destroy_session(ending.id, **key),
        "destroy_sessions": lambda **key: st.destroy_sessions("bob", **key),
        "disable_owner": lambda **key: st.disable_owner("fay", **key),
        "enable_owner": lambda **key: st.enable_owner("eve", **key),
        "issue_token": lambda **key: st.issue_token(session.id, {"v": 1}, **key),
        "transfer_token": lambda **key: st.transfer_token(token.id, giver="ann", receiver="bob", **key),
        "claim_token": lambda **key: st.claim_token(left.id, session_key=session.id, **key),
        "reissue_token": lambda **key: st.reissue_token(free.id, owner="ann", **key),
        "offer_token": lambda **key: st.offer_token(offered.id, price="1.50", **key),
        "withdraw_token": lambda **key: st.withdraw_token(offered.id, **key),
        "change_token": lambda **key: st.change_token(offered.id, value=2, **key),
        "destroy_token": lambda **key: st.destroy_token(doomed.id, **key),
    }


NAMES = [
    "open_session", "rotate_session", "detach_session", "attach_session", "change_session", "update_session_data",
    "destroy_session", "destroy_sessions", "disable_owner", "enable_owner", "issue_token", "transfer_token",
    "claim_token", "reissue_token", "offer_token", "withdraw_token", "change_token", "destroy_token",
]  # fmt: skip


def outcome_of(answer: object) -> tuple[object, str | None]:
    return (answer.record, answer.secret) if isinstance(answer, Issued) else (answer, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_retry_gets_the_first_outcome_and_does_nothing_more(
    st: SessionTokens, commands: dict[str, Callable[..., Any]], name: str
) -> None:
    first = outcome_of(commands[name](idempotency_key="once"))
    told: list[object] = []
    st.subscribe(told.append)
    again = outcome_of(commands[name](idempotency_key="once"))

    assert first == again
    assert [] == told


@pytest.mark.parametrize("name", NAMES)
def test_every_mutating_command_takes_a_key(name: str, commands: dict[str, Callable[..., Any]]) -> None:
    for bad, error in (("", InvalidInput), ("x" * 256, InvalidInput), ("a\nb", InvalidInput), (5, TypeError)):
        with pytest.raises(error):
            commands[name](idempotency_key=bad)


def test_the_secret_of_a_retry_is_alive(st: SessionTokens) -> None:
    st.open_session("ann", idempotency_key="once")
    again = st.open_session("ann", idempotency_key="once")

    assert again.record == st.verify_session(again.secret)
    assert 1 == len(st.list_sessions("ann").items)


def test_a_retry_gets_the_outcome_as_it_was_then(st: SessionTokens) -> None:
    opened = st.open_session("ann", idempotency_key="once")
    st.destroy_session(opened.id)
    again = st.open_session("ann", idempotency_key="once")

    assert (opened.record, opened.secret) == (again.record, again.secret)
    assert st.verify_session(again.secret) is None


def test_secrets_under_different_keys_differ(st: SessionTokens) -> None:
    secrets = {st.open_session("ann", idempotency_key=f"key {number}").secret for number in range(20)}

    assert 20 == len(secrets)


def test_the_same_key_with_another_request_is_refused(st: SessionTokens) -> None:
    st.open_session("ann", label="phone", idempotency_key="once")

    with pytest.raises(IdempotencyMismatch):
        st.open_session("ann", label="desk", idempotency_key="once")
    with pytest.raises(Conflict):
        st.open_session("bob", label="phone", idempotency_key="once")
    assert 1 == len(st.list_sessions().items)


def test_values_of_other_types_are_other_requests(st: SessionTokens) -> None:
    st.issue_token(None, "1", idempotency_key="once")

    for value in (1, True, 1.0, ["1"], None):
        with pytest.raises(IdempotencyMismatch):
            st.issue_token(None, value, idempotency_key="once")  # type: ignore[arg-type]  # each is JSON


def test_the_order_of_what_has_none_is_nothing_of_the_request(st: SessionTokens) -> None:
    """Another process has sets in another order, and so have many languages the fields of an object."""
    one: dict[str, JSON] = {"b": 1, "a": {"d": 1, "c": [2, 1]}}
    other: dict[str, JSON] = {"a": {"c": [2, 1], "d": 1}, "b": 1}
    opened = st.open_session("ann", data=one, amr={"pwd", "otp"}, idempotency_key="once")
    logged_in = st.log_in("bob", data=one, removed=["x", "y"], idempotency_key="once")
    issued = st.issue_token(opened.id, one, idempotency_key="once")
    changed = st.change_token(issued.id, value=one, idempotency_key="once")
    updated = st.update_session_data(opened.id, one, removed=["x", "y"], idempotency_key="once")

    assert opened.secret == st.open_session("ann", data=other, amr={"otp", "pwd"}, idempotency_key="once").secret
    assert isinstance(opened.record, Session) and opened.record.amr == ("otp", "pwd")
    assert logged_in.secret == st.log_in("bob", data=other, removed=["y", "x"], idempotency_key="once").secret
    assert issued.secret == st.issue_token(opened.id, other, idempotency_key="once").secret
    assert changed == st.change_token(issued.id, value=other, idempotency_key="once")
    assert updated == st.update_session_data(opened.id, other, removed=["y", "x"], idempotency_key="once")
    for text in ('{"a":{"c":[1,2],"d":1},"b":1}', '{"a":{"c":[2,1],"d":1},"b":true}'):
        with pytest.raises(IdempotencyMismatch):
            st.issue_token(opened.id, json.loads(text), idempotency_key="once")


def test_each_command_has_keys_of_its_own(st: SessionTokens) -> None:
    opened = st.open_session("ann", idempotency_key="once")
    token = st.issue_token(opened.id, idempotency_key="once")

    assert st.verify_token(token.secret) is not None


def test_a_refusal_keeps_nothing(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    with pytest.raises(NotDetachable):
        st.detach_session(opened.id, idempotency_key="once")
    st.change_session(opened.id, detachable=True)

    assert st.detach_session(opened.id, idempotency_key="once").is_detached


def test_an_outcome_is_kept_for_24_hours_swept_or_not(st: SessionTokens, clock: ManualClock, settle: Settle) -> None:
    first = st.issue_token(None, idempotency_key="once")
    clock.advance(86_399.999)
    settle(st)
    again = st.issue_token(None, idempotency_key="once")
    clock.advance(ms=1)
    settle(st)
    anew = st.issue_token(None, idempotency_key="once")

    assert (first.id, first.secret) == (again.id, again.secret)
    assert anew.id != first.id
    assert anew.secret != first.secret


def test_the_kept_outcome_holds_no_secret(st: SessionTokens) -> None:
    opened = st.open_session("ann", idempotency_key="a key of the caller")
    kept = st.store.outcomes  # type: ignore[attr-defined]  # of the memory store

    assert 1 == len(kept)
    for record in kept.values():
        assert opened.secret not in repr([record.key, record.request, record.nonce, record.key_id])
        assert "a key of the caller" not in repr(record)


def test_nothing_given_is_another_request_than_the_word_for_it(st: SessionTokens) -> None:
    opened = st.open_session("ann", idempotency_key="open")
    token = st.issue_token(opened.id, transferable=True)
    st.offer_token(token.id, idempotency_key="offer")
    free = st.issue_token(None)
    st.reissue_token(free.id, owner=None, idempotency_key="reissue")
    st.change_session(opened.id, detachable=True, idempotency_key="change")

    for call in (
        lambda: st.open_session("ann", label="None", idempotency_key="open"),
        lambda: st.offer_token(token.id, to="None", idempotency_key="offer"),
        lambda: st.reissue_token(free.id, owner="None", idempotency_key="reissue"),
        lambda: st.change_session(opened.id, detachable=True, label="…", idempotency_key="change"),
    ):
        with pytest.raises(IdempotencyMismatch):
            call()


def test_what_was_handed_over_before_a_call_broke_off_is_answered_by_the_next(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    tokens = [st.issue_token(opened.id, transferable=True) for _ in range(3)]

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    end_listening = st.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        st.hand_over("ann", receiver="bob", idempotency_key="leaves")
    end_listening()
    with pytest.raises(IdempotencyMismatch):
        st.hand_over("ann", receiver="cyn", idempotency_key="leaves")
    st.issue_token(opened.id, transferable=True)

    assert [4, 4] == [st.hand_over("ann", receiver="bob", idempotency_key="leaves") for _ in range(2)]
    assert ["bob"] * 3 == [token.owner for each in tokens if (token := st.get_token(each.id)) is not None]
