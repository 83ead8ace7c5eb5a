"""How often the PostgreSQL store asks the server for one secret."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.contract.queries import Get, Query
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import KEY_SECRET, SESSION_SECRET, TOKEN_SECRET

OLD = {"old": bytes(range(32))}
BOTH = {"new": bytes(range(1, 33)), **OLD}


class Trips:
    """Counts what a store sends to its server, which it sends all the same."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        retrying = store.retrying
        ask, ask_now = retrying.ask, retrying.ask_now

        async def counting(*args: Any, **options: Any) -> Any:
            self.made += 1
            return await ask(*args, **options)

        def counting_now(*args: Any, **options: Any) -> Any:
            self.made += 1
            return ask_now(*args, **options)

        monkeypatch.setattr(retrying, "ask", counting)
        monkeypatch.setattr(retrying, "ask_now", counting_now)

    def taken(self) -> int:
        """Return how many there were since this was asked last."""
        made, self.made = self.made, 0
        return made


@pytest.fixture(params=[OLD, BOTH], ids=["one pepper", "two peppers"])
def blocking(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[SessionTokens]:
    with SessionTokens.open(postgres_url, pepper=request.param, sweep=False) as tokens:
        yield tokens


def test_a_secret_is_one_known_or_not(blocking: SessionTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = blocking.open_session("alice")
    token = blocking.issue_token(opened.id, "seat")
    trips = Trips(blocking.store, monkeypatch)

    assert blocking.verify_session(opened.secret) is not None
    assert blocking.verify_token(str(token.secret)) is not None
    assert trips.taken() == 2
    assert blocking.verify_session(new_secret(SESSION_SECRET)) is None
    assert blocking.verify_token(new_secret(TOKEN_SECRET)) is None
    assert trips.taken() == 2
    blocking.destroy_session(opened.id)
    trips.taken()
    assert blocking.verify_session(opened.secret) is None
    assert blocking.verify_token(str(token.secret)) is None
    assert trips.taken() == 2


async def test_a_task_that_comes_alone_takes_one_too(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await AsyncSessionTokens.open(postgres_url, pepper=BOTH, sweep=False) as tokens:
        opened = await tokens.open_session("alice")
        assert await tokens.verify_session(opened.secret) is not None
        trips = Trips(tokens.store, monkeypatch)

        assert await tokens.verify_session(new_secret(SESSION_SECRET)) is None
        assert await tokens.verify_token(new_secret(TOKEN_SECRET)) is None
        assert trips.taken() == 2


@pytest.mark.parametrize("pepper", [OLD, BOTH], ids=["one pepper", "two peppers"])
async def test_tasks_that_share_a_batch_take_no_more_for_what_is_not_there(
    pepper: dict[str, bytes], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await AsyncSessionTokens.open(postgres_url, pepper=pepper, sweep=False) as tokens:
        opened = await tokens.open_session("alice")
        token = await tokens.issue_token(opened.id, "seat")
        assert await tokens.verify_token(str(token.secret)) is not None
        # Of the first ones each asks alone; from then on they are known to come together.
        await asyncio.gather(*(tokens.verify_session(opened.secret) for _ in range(8)))
        trips = Trips(tokens.store, monkeypatch)

        seen = await asyncio.gather(*(tokens.verify_session(opened.secret) for _ in range(8)))
        assert None not in seen
        taken = trips.taken()
        unknown = [tokens.verify_session(new_secret(SESSION_SECRET)) for _ in range(4)]
        nobody = await asyncio.gather(*unknown, *(tokens.verify_token(new_secret(TOKEN_SECRET)) for _ in range(4)))
        assert [None] * 8 == nobody
        assert trips.taken() == taken == 1


async def test_a_caller_s_key_and_what_is_not_there_are_one(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await AsyncSessionTokens.open(postgres_url, pepper=OLD, sweep=False) as tokens:
        opened = await tokens.open_session("alice")
        lookup = tokens.store.keyring.lookup
        asked: list[Query] = [
            Get("key_lookup", lookup(new_secret(KEY_SECRET))),
            Get("session_lookup", lookup(opened.secret)),
            Get("session_lookup", lookup(new_secret(SESSION_SECRET))),
            Get("token_lookup", lookup(new_secret(TOKEN_SECRET))),
        ]
        trips = Trips(tokens.store, monkeypatch)

        found = (await tokens.store.look(asked)).found
        assert [None, opened.id, None, None] == [
            found[0].value, found[1].value.session.id, found[2].value.session, found[3].value.token
        ]  # fmt: skip
        assert trips.taken() == 1


def test_what_is_not_found_while_a_pepper_is_missing_may_be_there(postgres_url: str) -> None:
    with SessionTokens.open(postgres_url, pepper=OLD, sweep=False) as tokens:
        opened = tokens.open_session("alice")
        token = tokens.issue_token(opened.id, "seat")
        with SessionTokens.open(postgres_url, pepper=BOTH, sweep=False) as ahead:
            assert ahead.open_session("bob").secret
        assert tokens.verify_session(opened.secret) is not None
        assert tokens.verify_token(str(token.secret)) is not None
        with pytest.raises(StoreUnavailable, match="new"):
            tokens.verify_session(new_secret(SESSION_SECRET))
        with pytest.raises(StoreUnavailable, match="new"):
            tokens.verify_token(new_secret(TOKEN_SECRET))
