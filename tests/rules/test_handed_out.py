"""What records hand out: read-only data and values, plain JSON, datetimes; and what clients said, cleaned."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.testing import ManualClock


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.__setitem__("n", 1), lambda data: data.__delitem__("a"), lambda data: data.update(n=1),
        lambda data: data.setdefault("n", 1), lambda data: data.pop("a"), lambda data: data.popitem(),
        lambda data: data.clear(), lambda data: data.__ior__({"n": 1}), lambda data: data["a"].append(1),
        lambda data: data["a"].__setitem__(0, 2), lambda data: data["a"].extend([1]), lambda data: data["a"].sort(),
        lambda data: data["a"].insert(0, 1), lambda data: data["a"].remove(1), lambda data: data["a"].pop(),
        lambda data: data["a"].clear(), lambda data: data["a"].reverse(), lambda data: data["a"].__delitem__(0),
        lambda data: data["a"].__iadd__([1]), lambda data: data["a"].__imul__(2),
        lambda data: data["a"][1].__setitem__("deep", 2), lambda data: data["a"][1].pop("deep"),
    ],
)  # fmt: skip
def test_data_and_values_are_read_only_and_say_what_to_call(st: SessionTokens, change: Callable[[Any], Any]) -> None:
    kept: dict[str, Any] = {"a": [1, {"deep": 1}]}
    opened = st.open_session("ann", data=kept)
    token = st.issue_token(opened.id, kept).token

    with pytest.raises(TypeError, match="update_session_data"):
        change(opened.session.data)
    with pytest.raises(TypeError, match="change_token"):
        change(token.value)

    assert opened.session.data == kept == token.value


def test_read_only_data_is_used_as_any_dict_and_copies_are_the_callers_own(st: SessionTokens) -> None:
    kept: dict[str, Any] = {"a": [1, {"deep": 1}], "b": None}
    data = st.open_session("ann", data=kept).session.data

    assert isinstance(data, dict) and isinstance(data["a"], list)
    assert json.loads(json.dumps(data)) == kept and data | {"c": 1} == kept | {"c": 1}
    pickled = pickle.loads(pickle.dumps(data))  # noqa: S301  # made a line before
    for copied in (copy.deepcopy(data), pickled, copy.copy(data), dict(data), data.copy()):
        assert copied == kept
        copied["n"] = 1
    deep = copy.deepcopy(data)
    deep["a"][1]["deep"] = 2
    assert data == kept


# What clients send.


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Mozilla/5.0\tX", "Mozilla/5.0 X"), (" phone ", "phone"), ("a\x00b\r\nc", "a b c"), ("\ud800x", "?x"),
        ("e\u0301", "\xe9"), ("", ""), ("\t", ""), ("x" * 5_000, "x" * 255), ("\xe9" * 5_000, "\xe9" * 127),
        ("a" * 254 + " b", "a" * 254), ("line\u2028two", "line two"),
    ],
)  # fmt: skip
def test_what_a_client_sends_is_cleaned_and_never_fails_a_log_in(
    st: SessionTokens, sent: str, kept: str | None
) -> None:
    opened = st.open_session("ann", label=sent, address=sent, user_agent=sent)

    assert (opened.session.label, opened.session.address) == (kept, kept)
    agent = opened.session.user_agent
    assert (agent or "")[:127] == (kept or "")[:127] and len((agent or "").encode()) <= 1_024
    assert st.change_session(opened.id, label=sent).label == kept
    assert st.verify_session(opened.secret) == st.get_session(opened.id)


def test_a_label_that_is_no_text_is_refused(st: SessionTokens) -> None:
    for option in ("label", "address", "user_agent"):
        with pytest.raises(TypeError, match=option):
            st.open_session("ann", **{option: b"phone"})  # type: ignore[arg-type]  # that is the point


# What records say of themselves.


def test_a_session_as_json_and_its_instants_as_datetimes(st: SessionTokens, clock: ManualClock) -> None:
    clock.advance(ms=123)
    session = st.open_session("ann", data={"a": [1, None]}, idle_timeout=600, detachable=True).session

    told = json.loads(json.dumps(session.to_dict()))

    assert told == session.to_dict()
    assert {name: told[name] for name in ("id", "owner", "data", "idle_timeout", "expires_at")} == {
        "id": session.id, "owner": "ann", "data": {"a": [1, None]}, "idle_timeout": 600,
        "expires_at": session.expires_at,
    }  # fmt: skip
    assert "lookup" not in told and "secret" not in told
    session.to_dict()["data"] = 1
    at = datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert session.created_datetime == session.last_seen_datetime == session.authenticated_datetime == at
    assert session.expires_datetime is not None and session.expires_datetime.tzinfo is UTC
    assert session.expires_datetime.timestamp() * 1000 == session.expires_at
    assert session.detached_datetime is None is session.ended_datetime
    assert st.detach_session(session.id).detached_datetime == at
    assert st.open_session("bob", max_age=None).session.expires_datetime is None


def test_a_token_as_json_and_its_instants_as_datetimes(st: SessionTokens, clock: ManualClock) -> None:
    clock.advance(ms=123)
    login = st.open_session("ann")
    token = st.issue_token(login.id, {"a": [1]}, transferable=True, timeout=60).token
    token = st.offer_token(token.id, price="12.50", currency="EUR")

    told = json.loads(json.dumps(token.to_dict()))

    assert told == token.to_dict()
    assert (told["value"], told["price"], told["kind"], told["sellable"]) == ({"a": [1]}, "12.50", "transferable", True)
    assert "lookup" not in told and "secret" not in told
    at = datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert token.created_datetime == token.held_since_datetime == at
    assert token.expires_datetime == at + timedelta(seconds=60)
    assert token.unassigned_datetime is None
    st.destroy_session(login.id)
    left = st.get_token(token.id)
    assert left is not None and left.unassigned_datetime == at
    assert st.issue_token(None, "v").token.expires_datetime is None
