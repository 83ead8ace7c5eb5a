"""What few tokens are issued with: a tag, a scope and an audience."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.errors import IdempotencyMismatch, InvalidInput
from session_tokens.records import NO_TOKEN_DETAILS, Token


@pytest.fixture
def tokens() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", sweep=False) as opened:
        yield opened


def issued(tokens: SessionTokens, **details: Any) -> Token:
    token = tokens.verify_token(tokens.issue_token(None, "value", **details).secret)
    assert token is not None
    return token


def test_a_token_tells_what_it_was_issued_with(tokens: SessionTokens) -> None:
    token = issued(tokens, tag="a seat", scope="read write", audience=["https://api", "https://shop"], for_client="app")

    assert ("a seat", "read write", ("https://api", "https://shop")) == (token.tag, token.scope, token.audience)
    assert ("app", "app") == (token.for_client, token.to_dict()["for_client"])
    assert ["https://api", "https://shop"] == token.to_dict()["audience"]
    assert ("https://api",) == issued(tokens, audience="https://api").audience
    assert issued(tokens).details is NO_TOKEN_DETAILS


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"tag": ""}, "tag"),
        ({"tag": "é" * 33}, "tag"),
        ({"scope": "two  blanks"}, "scope is words"),
        ({"scope": 'a"quote'}, "scope is words"),
        ({"scope": "é"}, "scope is words"),
        ({"audience": []}, "audience is 1 to 16"),
        ({"audience": ["a"] * 17}, "audience is 1 to 16"),
        ({"audience": [""]}, "audience"),
        ({"for_client": ""}, "for_client is empty"),
        ({"for_client": "a" * 256}, "for_client"),
    ],
)
def test_what_can_never_be_right_is_refused(tokens: SessionTokens, details: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        tokens.issue_token(None, "value", **details)


@pytest.mark.parametrize(
    "details", [{"tag": 1}, {"scope": b"read"}, {"audience": 1}, {"audience": [1]}, {"for_client": 1}]
)
def test_what_is_no_text_is_a_type_error(tokens: SessionTokens, details: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        tokens.issue_token(None, "value", **details)


def test_details_hold_no_secret(tokens: SessionTokens) -> None:
    secret = tokens.issue_token(None).secret

    for name in ("tag", "scope", "audience", "for_client"):
        with pytest.raises(InvalidInput, match="secret") as caught:
            tokens.issue_token(None, **{name: secret})  # type: ignore[arg-type]  # each of them takes a text
        assert secret not in str(caught.value)


def test_another_tag_is_another_request(tokens: SessionTokens) -> None:
    first = tokens.issue_token(None, "value", tag="a seat", idempotency_key="k")

    assert first.id == tokens.issue_token(None, "value", tag="a seat", idempotency_key="k").id
    with pytest.raises(IdempotencyMismatch):
        tokens.issue_token(None, "value", tag="a job", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        tokens.issue_token(None, "value", idempotency_key="k")
