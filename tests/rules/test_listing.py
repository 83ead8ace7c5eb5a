"""What lists show, and what they leave out unless they are asked for it."""

from __future__ import annotations

import pytest

from session_tokens import SessionTokens


def test_visitors_who_have_not_logged_in_are_listed_only_where_they_are_asked_for(st: SessionTokens) -> None:
    visitor, user = st.log_in(None).session, st.open_session("ann").session

    assert [user] == st.list_sessions().items
    assert {visitor.id, user.id} == {session.id for session in st.list_sessions(anonymous=True)}
    assert [visitor] == st.list_sessions(visitor.owner).items
    assert [visitor] == st.list_sessions(visitor.owner, anonymous=False).items
    assert [] == st.list_sessions(detached=True, anonymous=True).items


def test_many_visitors_hide_no_user(st: SessionTokens) -> None:
    """A page may be short, even empty, and name a next one: one call looks at a bounded number of records."""
    for _ in range(1_200):
        st.log_in(None)
    user = st.open_session("ann").session
    listed, after = [], None
    while True:
        page = st.list_sessions(after=after)
        listed += page.items
        after = page.after
        if after is None:
            break

    assert [user] == listed


def test_whether_visitors_are_wanted_is_a_flag(st: SessionTokens) -> None:
    with pytest.raises(TypeError, match="anonymous"):
        st.list_sessions(anonymous=1)  # type: ignore[arg-type]  # what is tried
