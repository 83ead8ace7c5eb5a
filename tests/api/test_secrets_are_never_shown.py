"""No secret is ever in a repr, a str, an error, an event, a log or a listing: canaries are looked for in each."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest

from session_tokens import Event, Issued, SessionTokens, SessionTokensError
from session_tokens.testing import ManualClock


@pytest.fixture
def canaries(st: SessionTokens) -> list[Issued]:
    """Sessions and tokens in every state."""
    opened = [st.open_session("ann", detachable=True) for _ in range(3)]
    tokens = [st.issue_token(opened[0].id, transferable=True) for _ in range(3)]
    issued = [*opened, *tokens, st.issue_token(None), st.rotate_session(opened[0].id)]
    issued.append(st.transfer_token(tokens[1].id, giver="ann", receiver="bob"))
    st.detach_session(opened[1].id)
    st.destroy_session(opened[2].id)
    return issued


def holds_none(text: str, canaries: list[Issued]) -> bool:
    """Whether a text holds neither a secret nor the random part of one."""
    return not any(issued.secret in text or issued.secret[6:49] in text for issued in canaries)


def test_issued_hides_its_secret(canaries: list[Issued]) -> None:
    for issued in canaries:
        for shown in (repr(issued), str(issued), f"{issued}", repr([issued]), repr(issued.record), str(issued.record)):
            assert holds_none(shown, canaries)


def test_issued_answers_what_it_is(st: SessionTokens) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id)

    assert (opened.record, token.record) == (opened.session, token.token)
    assert (opened.session.id, token.token.id) == (opened.id, token.id)
    with pytest.raises(AttributeError, match=r"\.session"):
        _ = opened.token
    with pytest.raises(AttributeError, match=r"\.token"):
        _ = token.session


def test_errors_hold_no_secret(st: SessionTokens, canaries: list[Issued]) -> None:
    commands: list[Callable[[str], object]] = [
        st.rotate_session, st.detach_session, st.attach_session, st.offer_token, st.withdraw_token,
        lambda key: st.change_session(key, label="x", version=99), lambda key: st.issue_token(key, "v" * 20_000),
        lambda key: st.transfer_token(key, giver="x", receiver="y"), lambda key: st.reissue_token(key, owner="x"),
        lambda key: st.claim_token(key, session_key=key), lambda key: st.update_session_data(key, {"a": 1}, version=99),
        lambda key: st.destroy_sessions("eve", except_session=key), lambda key: st.list_tokens(session=key),
        lambda key: st.list_sessions(after=key), lambda key: st.change_token(key, disownment_timeout=1, version=99),
    ]  # fmt: skip
    refused = 0
    for issued in canaries:
        for key in (issued.secret, issued.secret + "x"):
            for command in commands:
                try:
                    command(key)
                except SessionTokensError as error:
                    refused += 1
                    text = "".join(traceback.format_exception_only(error)) + repr(error) + repr(error.details)
                    assert holds_none(text, canaries)

    assert refused > 150


def test_events_hold_no_secret(st: SessionTokens) -> None:
    told: list[Event] = []
    st.subscribe(told.append)
    opened = st.open_session("ann", detachable=True)
    issued = [opened, st.rotate_session(opened.id), st.issue_token(opened.id, transferable=True)]
    issued.append(st.reissue_token(issued[-1].id, owner="ann"))
    issued.append(st.transfer_token(issued[-1].id, giver="ann", receiver="bob"))
    st.detach_session(opened.id)
    issued.append(st.attach_session(opened.id))
    st.destroy_session(opened.id)

    assert 8 == len(told)
    assert holds_none(repr(told), issued)


def test_listings_and_records_hold_no_secret(st: SessionTokens, canaries: list[Issued]) -> None:
    records = [*st.list_sessions().items, *st.list_tokens().items]

    assert len(records) > 5
    for record in records:
        shown = [repr(record), *(repr(getattr(record, name)) for name in dir(record) if is_shown(name))]
        assert holds_none(" ".join(shown), canaries)


def is_shown(name: str) -> bool:
    """Whether a field is for callers; `lookup` is what a store finds a record by, the secret itself in memory."""
    return not name.startswith("_") and name != "lookup"


def test_logs_hold_no_secret(
    st: SessionTokens, canaries: list[Issued], clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("a callback that fails is logged")

    st.subscribe(fail)
    with caplog.at_level(logging.DEBUG):
        opened = st.open_session("ann")
        st.verify_session(opened.secret[:-1])
        st.destroy_session(opened.secret)
        clock.advance(10**6)
        st.sweep()

    assert "a callback that fails is logged" in caplog.text
    assert holds_none(caplog.text, [*canaries, opened])
