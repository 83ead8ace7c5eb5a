"""What many records have alike is one object for all of them, and nobody notices."""

from __future__ import annotations

import copy
import pickle

import pytest

from session_tokens import SessionTokens, TokenTables
from session_tokens.records import traits
from session_tokens.records.traits import KNOWN_MAX, TRANSFERABLE, TokenTraits, session_traits, token_traits


def test_records_share_the_traits_that_they_have_alike(st: SessionTokens) -> None:
    ann, bob = st.open_session("ann"), st.open_session("bob")
    first, second = st.issue_token(ann.id, 1), st.issue_token(bob.id, {"a": 2})

    assert ann.session.traits is bob.session.traits
    assert first.token.traits is second.token.traits


def test_what_a_change_makes_different_is_different_in_that_record_alone(st: SessionTokens) -> None:
    ann, bob = st.open_session("ann"), st.open_session("bob")
    changed = st.change_session(ann.id, idle_timeout=60, detachable=True, label="changed")
    kept = st.get_session(bob.id)

    assert (60, True, "changed") == (changed.idle_timeout, changed.detachable, changed.label)
    assert kept == bob.session
    assert (None, False) == (bob.session.idle_timeout, bob.session.detachable)


def test_a_token_that_changes_hands_keeps_its_traits() -> None:
    tables = TokenTables()
    for owner in ("ann", "bob"):
        tables.add_session(f"session of {owner}", owner)
    tables.add_transferable_token("ticket", "value", "ann")
    before = tables.store.tokens["ticket"]  # type: ignore[attr-defined]  # of a memory store
    assert tables.transfer_token("ticket", "ann", "bob")
    after = tables.store.tokens["ticket"]  # type: ignore[attr-defined]  # of a memory store

    assert ("ann", "bob") == (before.owner, after.owner)
    assert before.traits is after.traits
    tables.shutdown()


def test_traits_are_frozen() -> None:
    for made, name in (
        (session_traits(1, 2, 3, True, None), "max_age_ms"),
        (token_traits(TRANSFERABLE, True, 1, 2, None), "kind"),
    ):
        with pytest.raises(AttributeError):
            setattr(made, name, None)
        with pytest.raises(AttributeError):
            delattr(made, name)


def test_traits_that_were_forgotten_are_equal_to_those_that_are_made_anew() -> None:
    first = token_traits(TRANSFERABLE, False, 7, None, "key_1")
    for number in range(KNOWN_MAX + 1):
        token_traits(TRANSFERABLE, False, number, 99, None)
        session_traits(number, 99, None, False, None)
    again = token_traits(TRANSFERABLE, False, 7, None, "key_1")

    assert first == again
    assert hash(first) == hash(again)
    assert first != token_traits(TRANSFERABLE, True, 7, None, "key_1")
    assert len(traits._met_in_tokens) <= KNOWN_MAX
    assert len(traits._met_in_sessions) <= KNOWN_MAX


def test_traits_come_through_copies_and_pickles() -> None:
    made: TokenTraits = token_traits(TRANSFERABLE, True, 1, 2, "key_1")

    assert made is copy.copy(made) is copy.deepcopy(made)
    assert made is pickle.loads(pickle.dumps(made))  # noqa: S301  # we made it
