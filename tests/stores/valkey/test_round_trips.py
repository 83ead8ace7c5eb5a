"""How often the Valkey store goes to the server: the server itself counts what it reads from its connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET, TOKEN_SECRET
from tests.helpers.servers.valkey import client_of

OLD = {"old": bytes(range(32))}
BOTH = {"new": bytes(range(1, 33)), **OLD}


class RoundTrips:
    """How many there were within a block."""

    count = 0


@contextmanager
def round_trips(url: str) -> Iterator[RoundTrips]:
    """Count what a server with no other clients reads while the block runs."""
    counted = RoundTrips()
    with client_of(url) as client:
        before = client.info("stats")["total_reads_processed"]
        yield counted
        counted.count = client.info("stats")["total_reads_processed"] - before - 1  # the second question itself


@pytest.fixture(params=[OLD, BOTH], ids=["one pepper", "two peppers"])
def blocking(request: pytest.FixtureRequest, valkey_url: str) -> Iterator[SessionTokens]:
    with SessionTokens.open(valkey_url, pepper=request.param, sweep=False) as tokens:
        yield tokens


def test_a_verification_is_one(blocking: SessionTokens, valkey_url: str) -> None:
    opened = blocking.open_session("alice")
    token = blocking.issue_token(opened.id, "seat")
    for _ in range(3):  # seen first, then by a way that is made, then by one that is known
        with round_trips(valkey_url) as made:
            assert blocking.verify_session(opened.secret) is not None
        assert made.count == 1
        with round_trips(valkey_url) as made:
            assert blocking.verify_token(token.secret) is not None
        assert made.count == 1


def test_an_unknown_secret_is_one(blocking: SessionTokens, valkey_url: str) -> None:
    blocking.open_session("alice")
    with round_trips(valkey_url) as made:
        assert blocking.verify_session(new_secret(SESSION_SECRET)) is None
    assert made.count == 1
    with round_trips(valkey_url) as made:
        assert blocking.verify_token(new_secret(TOKEN_SECRET)) is None
    assert made.count == 1


async def test_an_unknown_secret_is_one_for_tasks(valkey_url: str) -> None:
    async with await AsyncSessionTokens.open(valkey_url, pepper=BOTH, sweep=False) as tokens:
        await tokens.open_session("alice")
        with round_trips(valkey_url) as made:
            assert await tokens.verify_session(new_secret(SESSION_SECRET)) is None
        assert made.count == 1
        with round_trips(valkey_url) as made:
            assert await tokens.verify_token(new_secret(TOKEN_SECRET)) is None
        assert made.count == 1


def test_a_secret_that_is_dead_by_now_is_one_after_the_first_time(blocking: SessionTokens, valkey_url: str) -> None:
    opened = blocking.open_session("alice")
    for _ in range(3):
        assert blocking.verify_session(opened.secret) is not None
    blocking.destroy_session(opened.id)
    assert blocking.verify_session(opened.secret) is None
    for _ in range(2):
        with round_trips(valkey_url) as made:
            assert blocking.verify_session(opened.secret) is None
        assert made.count == 1


def test_what_is_not_found_while_a_pepper_is_missing_may_be_there(valkey_url: str) -> None:
    with SessionTokens.open(valkey_url, pepper=OLD, sweep=False) as tokens:
        opened = tokens.open_session("alice")
        token = tokens.issue_token(opened.id, "seat")
        with SessionTokens.open(valkey_url, pepper=BOTH, sweep=False) as ahead:
            assert ahead.open_session("bob").secret
        for _ in range(3):
            assert tokens.verify_session(opened.secret) is not None
            assert tokens.verify_token(token.secret) is not None
        with pytest.raises(StoreUnavailable, match="new"):
            tokens.verify_session(new_secret(SESSION_SECRET))
        with pytest.raises(StoreUnavailable, match="new"):
            tokens.verify_token(new_secret(TOKEN_SECRET))
