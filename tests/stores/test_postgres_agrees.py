"""PostgreSQL beside memory: the same script of commands, the same answers and listings, and records that agree."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.stores.postgres.store import BlockingPostgresStore, open_postgres_blocking

from .test_valkey_agrees import OWNERS, Side, draw, in_order, paged

PROVING = os.environ.get("SESSION_TOKENS_PROVE") == "1"
PEPPER = bytes(range(32))


@pytest.fixture
def sides(postgres_url: str) -> Iterator[tuple[Side, Side, BlockingPostgresStore]]:
    store = open_postgres_blocking(postgres_url + "?timeout=10", pepper=PEPPER)
    settings = Settings(max_sessions=3, idle_timeout=1800)
    postgres = SessionTokens(store, settings)
    memory = SessionTokens.open("memory://", settings=settings, sweep=False)
    yield Side(memory), Side(postgres), store
    memory.close()
    postgres.close()


@pytest.mark.parametrize("seed", range(500 if PROVING else 12))
def test_a_script_of_commands_gets_the_same_answers(sides: tuple[Side, Side, BlockingPostgresStore], seed: int) -> None:
    memory, postgres, store = sides
    chance = random.Random(seed)
    sessions, tokens = ["no session"], ["no token"]
    done: list[Any] = []
    for number in range(200):
        command, positional, named = draw(chance, sessions, tokens, number)
        made = f"{command} {number}"
        expected = memory.ask(made, command, *positional, **named)
        actual = postgres.ask(made, command, *positional, **named)
        done.append((command, positional, named, expected))

        assert expected == actual, done[-5:]
        if command == "open_session" and not isinstance(expected, str):
            sessions.append(made)
        if command == "issue_token" and not isinstance(expected, str):
            tokens.append(made)
    assert [] == store.check_now()
    kinds = {command for command, _, _, answer in done if not isinstance(answer, str)}
    assert len(kinds) > 10  # the script did more than to be refused


def test_pages_come_in_order_of_creation_and_leave_nothing_out(postgres_url: str) -> None:
    with SessionTokens(open_postgres_blocking(postgres_url, pepper=PEPPER), Settings(max_sessions=None)) as tokens:
        sessions = [tokens.open_session(OWNERS[number % 2]).session for number in range(60)]
        issued = [tokens.issue_token(sessions[number % 60].id, number).token for number in range(90)]

        assert in_order(sessions) == paged(tokens.list_sessions, limit=7)
        assert in_order(sessions[1::2]) == paged(tokens.list_sessions, limit=7, owner=OWNERS[1])
        assert in_order(issued) == paged(tokens.list_tokens, limit=11)
        alice = {session.id for session in sessions[::2]}
        of_alice = [token for token in issued if token.session_id in alice]
        assert in_order(of_alice) == paged(tokens.list_tokens, limit=11, owner=OWNERS[0])
