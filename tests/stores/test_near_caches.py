"""Near caches of stores in tables: an answer is kept for as long as the bound, or until the log tells of a change.

Where the log is tried, the bound is a minute: what is seen sooner was told by it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings, StoreUnavailable
from tests.helpers.at_once import in_a_child
from tests.helpers.near_caches import BOUND_S, answers_near, stalest_s, verifying
from tests.helpers.servers.proxy import always, proxy_to
from tests.helpers.waiting import PATIENCE_S, wait_until

PEPPER = bytes(range(32))
A_MINUTE = 60.0


@pytest.fixture(params=["postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    made: str = request.getfixturevalue(request.param)
    return made


def opened(url: str, near_cache: float = 0) -> SessionTokens:
    return SessionTokens.open(url, pepper=PEPPER, near_cache=near_cache, sweep=False)


def opened_with_events(url: str, near_cache: float = 0) -> SessionTokens:
    settings = Settings(events="durable")
    return SessionTokens.open(url, pepper=PEPPER, near_cache=near_cache, settings=settings, sweep=False)


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
def test_a_store_that_was_closed_answers_nothing_from_it(url: str) -> None:
    with opened(url, A_MINUTE) as tokens:
        issued = tokens.open_session("ann")
        wait_until(lambda: answers_near(tokens, issued.secret))

    with pytest.raises(StoreUnavailable, match="closed"):
        tokens.verify_session(issued.secret)


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


def soon(holds: Callable[[], object]) -> None:
    """Wait for what comes long before the bound."""
    until_s = time.monotonic() + A_MINUTE / 2
    while not holds():
        assert time.monotonic() < until_s, "nobody told"
        time.sleep(0.01)


def refuses_soon(reader: SessionTokens, secret: str, change: Callable[[], object]) -> bool:
    """Whether what is answered near is not answered any more, long before the bound, after a change elsewhere."""
    wait_until(lambda: answers_near(reader, secret))
    change()
    soon(lambda: verifying(reader, secret)(secret) is None)
    return True


@pytest.mark.server
def test_the_log_of_events_tells_of_ends_elsewhere(url: str) -> None:
    with opened_with_events(url) as writer, opened_with_events(url, A_MINUTE) as reader:
        ends: list[Callable[[Any], object]] = [
            lambda issued: writer.destroy_session(issued.id),
            lambda issued: writer.destroy_sessions(issued.session.owner),
            lambda issued: writer.rotate_session(issued.id),
            lambda issued: writer.disable_owner(issued.session.owner),
            lambda issued: writer.forget_owner(issued.session.owner),
        ]
        for number, end in enumerate(ends):
            issued = writer.open_session(f"owner {number}")
            assert refuses_soon(reader, issued.secret, partial(end, issued))


@pytest.mark.server
def test_the_log_of_events_tells_what_became_of_tokens(url: str) -> None:
    with opened_with_events(url) as writer, opened_with_events(url, A_MINUTE) as reader:
        holder = writer.open_session("ann")
        writer.open_session("bea")
        changes: list[Callable[[Any], object]] = [
            lambda token: writer.transfer_token(token.id, giver="ann", receiver="bea"),
            lambda token: writer.reissue_token(token.id, owner="ann"),
            lambda token: writer.destroy_token(token.id),
        ]
        for change in changes:
            token = writer.issue_token(holder.id, "deed", transferable=True)
            assert refuses_soon(reader, token.secret, partial(change, token))
        bound = writer.issue_token(holder.id, "seat")
        assert refuses_soon(reader, bound.secret, lambda: writer.destroy_session(holder.id))


@pytest.mark.server
def test_all_sessions_of_an_owner_are_seen_to_end_long_before_they_are_cleaned_up(url: str) -> None:
    """One commit ends them, the rest is tidied away later, a hundred at a time."""
    with opened_with_events(url) as writer, opened_with_events(url, A_MINUTE) as reader:
        issued = [writer.open_session("ann") for _ in range(130)]
        wait_until(lambda: all(answers_near(reader, each.secret) for each in issued))
        writer.destroy_sessions("ann")

        soon(lambda: not any(reader.verify_session(each.secret) for each in issued))


@pytest.mark.server
async def test_the_log_of_events_tells_tasks_too(url: str) -> None:
    settings = Settings(events="durable")
    with opened_with_events(url) as writer:
        async with await AsyncSessionTokens.open(
            url, pepper=PEPPER, near_cache=A_MINUTE, settings=settings, sweep=False
        ) as reader:
            near = reader.store.near_cache
            assert near is not None
            issued, until_s = writer.open_session("ann"), time.monotonic() + A_MINUTE / 2
            while near.hits < 10:
                assert await reader.verify_session(issued.secret) is not None
            writer.destroy_session(issued.id)
            while await reader.verify_session(issued.secret) is not None:
                assert time.monotonic() < until_s, "nobody told"
                await asyncio.sleep(0.01)


@pytest.mark.server
def test_where_no_events_are_kept_there_is_no_thread(url: str) -> None:
    before = set(threading.enumerate())
    with opened(url, A_MINUTE) as reader, opened(url) as writer:
        assert answers_near(reader, writer.open_session("ann").secret)
        more = [thread.name for thread in threading.enumerate() if thread not in before]

    assert not [name for name in more if "near cache" in name]


@pytest.mark.server
def test_events_that_are_switched_on_later_are_heard(url: str) -> None:
    with opened(url, A_MINUTE) as reader, opened_with_events(url) as writer:
        reader.refresh_settings()
        issued = writer.open_session("ann")

        assert refuses_soon(reader, issued.secret, lambda: writer.destroy_session(issued.id))


@pytest.mark.server
def test_a_log_whose_connection_was_cut_is_followed_again(postgres_url: str) -> None:
    with opened_with_events(postgres_url) as writer, opened_with_events(postgres_url, A_MINUTE) as reader:
        issued = writer.open_session("ann")
        wait_until(lambda: answers_near(reader, issued.secret))
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        wait_until(lambda: ends(writer, issued.id))

        soon(lambda: reader.verify_session(issued.secret) is None)


def ends(writer: SessionTokens, id: str) -> bool:
    try:
        writer.destroy_session(id)
    except StoreUnavailable:
        return False
    return True


@pytest.mark.server
def test_a_log_that_a_long_transaction_holds_back_changes_nothing_of_the_bound(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT pg_current_xact_id()")  # and stays open
        with opened_with_events(postgres_url) as writer, opened_with_events(postgres_url, BOUND_S) as reader:
            issued = writer.open_session("ann")

            assert stalest_s(reader, issued.secret, lambda: writer.destroy_session(issued.id)) <= BOUND_S


@pytest.mark.server
def test_a_forked_process_follows_the_log_by_itself(postgres_url: str) -> None:
    """As workers do whose server opened the store before it forked them."""
    with opened_with_events(postgres_url) as writer, opened_with_events(postgres_url, A_MINUTE) as reader:
        issued = writer.open_session("ann")
        wait_until(lambda: answers_near(reader, issued.secret))

        def in_the_child() -> None:
            wait_until(lambda: answers_near(reader, issued.secret))
            writer.destroy_session(issued.id)
            soon(lambda: reader.verify_session(issued.secret) is None)

        assert in_a_child(in_the_child) == 0
