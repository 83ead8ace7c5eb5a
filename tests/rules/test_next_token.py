"""Claiming the next token where those that have waited for longest are all offered to others alone."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import SessionTokens, SessionTokensError, StoreBusy
from session_tokens._sync import passing
from session_tokens.testing import ManualClock


def test_a_search_is_bounded_and_the_next_one_goes_on(
    st: SessionTokens, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "WAITING_LOOKED_AT", 40)
    monkeypatch.setattr(passing, "CHUNK", 20)
    worker = st.open_session("worker")
    for number in range(70):
        token = st.issue_token(None, number, transferable=True, tag="job")
        st.offer_token(token.id, to="somebody else")
    clock.advance(1)
    free = st.issue_token(None, "free", transferable=True, tag="job")
    read, asked = st.store.read_now, list[Any]()

    def counted(_: Any, queries: Any) -> Any:
        asked.append(queries)
        return read(queries)

    monkeypatch.setattr(st.store.__class__, "read_now", counted)
    with pytest.raises(StoreBusy):
        st.claim_next_token(session_key=worker.id, tag="job")
    steps = len(asked)
    claimed = st.claim_next_token(session_key=worker.id, tag="job")

    assert steps <= 3
    assert claimed is not None and free.id == claimed.id
    with pytest.raises(StoreBusy):
        st.claim_next_token(session_key=worker.id, tag="job")
    assert st.claim_next_token(session_key=worker.id, tag="job") is None


def test_what_an_offer_kept_waits_for_everybody_from_its_end_on(st: SessionTokens, clock: ManualClock) -> None:
    worker = st.open_session("worker")
    kept = st.issue_token(None, "kept", transferable=True)
    st.offer_token(kept.id, to="somebody else", until=10)
    clock.advance(5)
    longer = st.issue_token(None, "has waited for longer", transferable=True)
    clock.advance(5)
    claimed = [st.claim_next_token(session_key=worker.id) for _ in range(2)]

    assert [longer.id, kept.id] == [each.id for each in claimed if each is not None]


def test_a_stolen_secret_ends_its_session_whatever_it_shall_claim(st: SessionTokens, clock: ManualClock) -> None:
    worker = st.open_session("worker")
    bound = st.issue_token(worker.id, "nobody's to claim")
    st.rotate_session(worker.secret, grace=10)
    clock.advance(10)
    for key in ("tok_none", bound.id):
        with pytest.raises(SessionTokensError):
            st.claim_token(key, session_key=worker.secret)
    assert st.explain(worker.id).reason == "theft"
