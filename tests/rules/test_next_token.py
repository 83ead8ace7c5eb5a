"""Claiming the next token where those that have waited for longest are all offered to others alone."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import SessionTokens, StoreBusy
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
