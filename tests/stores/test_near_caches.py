"""Near caches of stores in tables, where nobody tells what changes: each answer is kept for as long as the bound."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens
from tests.helpers.near_caches import BOUND_S, answers_near, stalest_s
from tests.helpers.servers.proxy import always, proxy_to
from tests.helpers.waiting import PATIENCE_S, wait_until

PEPPER = bytes(range(32))


@pytest.fixture(params=["postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    made: str = request.getfixturevalue(request.param)
    return made


def opened(url: str, near_cache: float = 0) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, near_cache=near_cache, sweep=False)


@pytest.mark.server
def test_no_answer_is_older_than_the_bound(url: str) -> None:
    with opened(url, BOUND_S) as reader, opened(url) as writer:
        issued = writer.open_session("ann")

        assert stalest_s(reader, issued.secret, lambda: writer.destroy_session(issued.id)) <= BOUND_S


def test_no_answer_is_older_than_the_bound_where_the_server_says_no_word_any_more(postgres_url: str) -> None:
    before, _, database = postgres_url.rpartition("/")
    with proxy_to(int(before.rpartition(":")[2])) as proxy, opened(postgres_url) as writer:
        through = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}?timeout=0.2"
        with opened(through, BOUND_S) as reader:
            issued = writer.open_session("ann")

            def cut_and_end() -> None:
                proxy.reply_fate = always("swallow")
                writer.destroy_session(issued.id)

            assert stalest_s(reader, issued.secret, cut_and_end) <= BOUND_S


@pytest.mark.server
def test_own_writes_are_seen_at_once(url: str) -> None:
    with opened(url, BOUND_S) as tokens:
        issued = tokens.open_session("ann")
        token = tokens.issue_token(issued.id, "deed", transferable=True)
        for number in range(10):
            changed = tokens.update_session_data(issued.id, {"number": number})
            assert tokens.verify_session(issued.secret) == changed
            wait_until(lambda: answers_near(tokens, issued.secret))
        assert tokens.verify_token(token.secret) is not None
        given = tokens.transfer_token(token.id, giver="ann", receiver="bea")
        assert tokens.verify_token(token.secret) is None
        assert tokens.verify_token(given.secret) is not None
        tokens.destroy_session(issued.id)

        assert tokens.verify_session(issued.secret) is None


@pytest.mark.server
async def test_own_writes_are_seen_at_once_by_tasks_too(url: str) -> None:
    async with await AsyncSessionTokens.open(url, pepper=PEPPER, near_cache=BOUND_S, sweep=False) as tokens:
        near = tokens.store.near_cache
        assert near is not None
        issued, until_s = await tokens.open_session("ann"), time.monotonic() + PATIENCE_S
        while not near.hits:
            assert time.monotonic() < until_s
            assert await tokens.verify_session(issued.secret) == issued.session
        await tokens.destroy_session(issued.id)

        assert await tokens.verify_session(issued.secret) is None


@pytest.mark.parametrize("near", ["memory://", "sqlite:///{}/s.db"])
def test_a_store_that_is_near_already_keeps_nothing(near: str, tmp_path: Path) -> None:
    with opened(near.format(tmp_path), BOUND_S) as tokens:
        assert tokens.store.near_cache is None
