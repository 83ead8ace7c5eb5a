"""What callers hold in their hands: frozen records, pages, errors with a code, events, the door by URL."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_tokens import (
    Event,
    InvalidInput,
    Session,
    SessionTokens,
    SessionTokensError,
    Settings,
    StoreError,
    StoreUnavailable,
    Token,
    errors,
)
from session_tokens.testing import ManualClock


def test_records_are_frozen(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id)
    for record, name in (
        (opened.record, "owner"),
        (opened.record, "new"),
        (token.record, "epoch"),
        (token.record, "id"),
    ):
        with pytest.raises(AttributeError):
            setattr(record, name, "eve")
        with pytest.raises(AttributeError):
            delattr(record, name)

    assert "ann" == opened.session.owner


def test_records_are_equal_by_content_and_can_be_kept_in_sets(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    again = st.get_session(opened.id)
    other = st.open_session("ann")

    assert opened.record == again
    assert opened.record != other.record
    assert opened.record != st.issue_token(opened.id).record
    assert {opened.record, again, other.record} == {opened.record, other.record}


def test_records_are_of_the_public_classes(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    changed = st.change_session(opened.id, label="changed")
    token = st.issue_token(opened.id).record

    assert [Session, Session, Token] == [type(opened.record), type(changed), type(token)]


def test_a_record_is_its_own_copy_and_a_token_can_be_pickled(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id, {"deep": [1]}).token
    pickled = pickle.loads(pickle.dumps(token))  # noqa: S301  # its own bytes

    assert copy.copy(token) is token
    assert copy.deepcopy(opened.session) is opened.session
    assert (token, Token) == (pickled, type(pickled))


def test_a_kept_record_does_not_change_under_its_holder(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    st.change_session(opened.id, label="changed")

    assert (None, 1) == (opened.session.label, opened.session.version)


def test_pages_follow_one_another_to_the_end(st: SessionTokens, clock: ManualClock) -> None:
    ids = []
    for _ in range(7):
        ids.append(st.open_session("ann").id)
        clock.advance(ms=1)
    pages = []
    after = None
    while True:
        page = st.list_sessions("ann", after=after, limit=3)
        pages.append([session.id for session in page.items])
        after = page.after
        if after is None:
            break

    assert [ids[:3], ids[3:6], ids[6:]] == pages


def test_a_full_last_page_has_no_next(st: SessionTokens) -> None:
    for _ in range(4):
        st.issue_token(None)

    assert st.list_tokens(limit=4).after is None
    assert st.list_tokens(limit=3).after is not None
    assert [] == st.list_sessions().items


def tree(root: type[SessionTokensError]) -> list[type[SessionTokensError]]:
    classes = [root]
    for child in root.__subclasses__():
        classes += tree(child)
    return classes


def test_each_error_has_a_code_of_its_own() -> None:
    classes = [error for error in tree(SessionTokensError) if error.__module__ == errors.__name__]
    codes = [error.code for error in classes]

    assert sorted(set(codes)) == sorted(codes)
    assert all(code.isidentifier() and code.islower() for code in codes)
    assert len(codes) >= 20


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = inspect.getdoc(errors) or ""

    for error in tree(SessionTokensError):
        if error.__module__ == errors.__name__:
            assert error.__name__ in drawn


def test_an_error_has_words_and_details() -> None:
    error = errors.SessionEnded("it ended", reason="logout")

    assert ("it ended", {"reason": "logout"}) == (str(error), error.details)
    assert "The owner is disabled; enable_owner() lifts it." == str(errors.OwnerDisabled())
    assert isinstance(InvalidInput("x"), ValueError)


def test_a_callback_is_taken_off_again(st: SessionTokens) -> None:
    told: list[Event] = []
    remove = st.subscribe(told.append)
    st.open_session("ann")
    remove()
    remove()
    st.open_session("ann")

    assert ["session_opened"] == [event.kind for event in told]


def test_closing_is_idempotent_and_afterwards_the_store_is_unavailable(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    st.close()
    st.close()
    calls: list[Callable[[], Any]] = [
        lambda: st.verify_session(opened.secret), lambda: st.open_session("ann"), lambda: st.get_session(opened.id),
        lambda: st.list_tokens(), st.sweep,
    ]  # fmt: skip

    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    assert st.verify_session("junk") is None


@pytest.mark.parametrize(
    "url",
    ["", "memory", "memory://host", "memory:///path", "sqlite://", "sqlite:///", "sqlite:///:memory:", "oracle://x/y",
     "sqlite:///x.db?colour=red", "sqlite:///x.db?synchronous=FULL&synchronous=OFF", "file:///etc/passwd"],
)  # fmt: skip
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        SessionTokens.open(url, pepper=bytes(32), sweep=False)


def test_a_url_is_a_string() -> None:
    with pytest.raises(TypeError):
        SessionTokens.open(Path("x.db"), sweep=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("pepper", [b"", b"x" * 31, {}, {"": bytes(32)}, {"a b": bytes(32)}, {"a": b"short"}], ids=repr)
def test_a_pepper_that_is_none_is_refused(tmp_path: Path, pepper: Any) -> None:
    with pytest.raises(InvalidInput):
        SessionTokens.open(f"sqlite:///{tmp_path / 'x.db'}", pepper=pepper, sweep=False)


def test_a_folder_that_is_not_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        SessionTokens.open(f"sqlite:///{tmp_path / 'no' / 'x.db'}", pepper=bytes(32), sweep=False)

    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"max_sessions": 0}, InvalidInput), ({"max_sessions": -1}, InvalidInput), ({"max_sessions": 1.5}, TypeError),
        ({"max_tokens_per_session": 0}, InvalidInput), ({"session_policy": "oldest"}, InvalidInput),
        ({"sweep_interval": None}, TypeError), ({"colour": "red"}, TypeError),
    ],
)  # fmt: skip
def test_settings_that_can_never_be_right_are_refused(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Settings(**given)


def test_a_page_is_a_sequence_of_its_items() -> None:
    with SessionTokens.open("memory://", sweep=False, settings=Settings(max_sessions=None)) as st:
        assert not st.list_sessions("ann")
        opened = [st.open_session("ann").session for _ in range(3)]
        page = st.list_sessions("ann", limit=2)

        assert len(page) == 2
        assert list(page) == page.items == [page[0], page[1]]
        assert page[0] in opened
        assert [*page, *st.list_sessions("ann", after=page.after)] == sorted(
            opened, key=lambda it: (it.created_at, it.id)
        )
