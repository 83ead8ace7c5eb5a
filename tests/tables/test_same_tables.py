"""One script of the seed's commands, given to `TokenTables` on all stores at once: the same answers on each of them."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import TokenTables
from tests.helpers.effort import times

PEPPER = bytes(range(32))
OWNERS = ("alice", "bob", "dän")
SESSIONS = [f"session {number}" for number in range(4)]
TOKENS = [f"token {number}" for number in range(6)]
STEPS = 250
SCRIPTS = times(4, proving=100)
BY_THE_CLOCK = {"get_session_time_left", "get_token_time_left"}
NOT_IN_SCRIPTS = {
    "open",
    "close",
    "shutdown",
    "set_token_creator",
    "create_token",
    "share_general_session_timeout",
}


@pytest.fixture
def tables(tmp_path: Path, postgres_url: str, mariadb_url: str, valkey_url: str) -> Iterator[dict[str, TokenTables]]:
    urls = {
        "memory": "memory://",
        "sqlite": f"sqlite:///{tmp_path / 'tables.db'}",
        "postgres": postgres_url + "?timeout=10",
        "mariadb": mariadb_url + "?timeout=10",
        "valkey": valkey_url + "&timeout=10",
    }
    opened = {name: TokenTables.open(url, pepper=PEPPER, sweep=False) for name, url in urls.items()}
    yield opened
    for one in opened.values():
        one.close()


def draw(chance: random.Random, number: int) -> tuple[str, tuple[Any, ...]]:
    """Draw one command of the seed's with its arguments; few strings, so that most of them mean something."""
    place = chance.randrange(len(SESSIONS))
    session, owner = SESSIONS[place], OWNERS[place % len(OWNERS)]  # mostly whose session it is
    owner, receiver = chance.choice([owner, owner, *OWNERS]), chance.choice(OWNERS)
    string = chance.choice(TOKENS)
    either = chance.choice([string, session])
    timeout = chance.choice([None, 60_000, 600_000])
    commands: list[tuple[str, tuple[Any, ...]]] = [
        ("add_session", (session, owner, chance.choice([None, string]), False)),
        ("add_session", (either, owner)),
        ("active_session", (session, owner)),
        ("destroy_session", (either,)),
        ("allow_session_detach", (session,)),
        ("allow_session_detach", (session,)),
        *[("detach_session", (session,))] * 2,
        *[("attach_session", (session,))] * 3,
        ("reload_session_info", (session, owner, "no hash")),
        ("quick_insert_active_session", (session, "no hash")),
        ("discard_quick_insert", (session,)),
        ("add_token", (string, f"value {number}")),
        ("add_session_bounded_token", (string, number, owner)),
        ("add_transferable_token", (string, {"n": number}, owner)),
        *[("add_transferable_token", (string, "seat", owner))] * 4,
        ("transition_token_is_active", (either,)),
        ("from_token", (either,)),
        ("owner_from_session", (session,)),
        ("session_from_owner", (owner,)),
        ("session_from_token", (either,)),
        ("tokens_from_session", (session,)),
        ("tokens_from_owner", (owner,)),
        ("token_is_transferable", (string,)),
        ("transfer_token", (string, owner, receiver)),
        ("transfer_token", (string, owner, receiver)),
        *[("acquire_token", (string, session, owner))] * 9,
        ("destroy_token", (either,)),
        ("reload_token_info", (either,)),
        ("set_general_session_timeout", (7_200_000 + number,)),
        ("set_session_timeout", (session, timeout)),
        ("get_session_timeout", (session,)),
        ("get_session_time_left", (session,)),
        ("set_general_token_timeout", (timeout,)),
        ("set_token_timeout", (string, timeout)),
        ("set_disownment_token_timeout", (string, timeout)),
        ("get_token_timeout", (string,)),
        ("get_token_time_left", (string,)),
        ("set_token_sellable", (string, number % 5)),
        ("unset_token_sellable", (string,)),
        ("set_token_gift", (string,)),
        ("unset_token_gift", (string,)),
        ("list_tranferable_tokens", (session,)),
        ("list_transferable_tokens", (session,)),
        ("list_sellable_tokens", ()),
        ("map_sellable_tokens", ()),
        ("list_gifted_tokens", ()),
        ("list_unassigned_tokens", ()),
        ("list_detached_sessions", ()),
        ("decrement_timers", ()),
        ("sweep", ()),
    ]
    return chance.choice(commands)


def ask(tables: TokenTables, command: str, words: tuple[Any, ...]) -> Any:
    """Return what a command answers, less what depends on the clock."""
    answer = getattr(tables, command)(*words)
    if command in BY_THE_CLOCK:
        return type(answer)
    if command == "get_session_timeout" and isinstance(answer, int):
        return round(answer / 60_000)  # what the seed sets anew counts from the call
    if command == "transition_token_is_active" and re.fullmatch("[0-9a-f]{64}", answer or ""):
        return "a hash"  # the value of a session's first token, under a key of the store's own
    return sorted(answer) if isinstance(answer, list) else answer


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_a_script_of_the_seeds_commands_gets_the_same_answers(tables: dict[str, TokenTables], seed: int) -> None:
    chance = random.Random(f"same tables {seed}")
    for number in range(STEPS):
        command, words = draw(chance, number)
        expected = ask(tables["memory"], command, words)
        for name, one in tables.items():
            assert name == "memory" or expected == ask(one, command, words), (name, command, words)


def test_the_scripts_give_every_command_of_the_seed() -> None:
    """Which ones a test run gives is not left to chance: the seeds are fixed."""
    given, useful = set(), set()
    for seed in range(4):
        chance = random.Random(f"same tables {seed}")
        with TokenTables.open("memory://", sweep=False) as tables:
            for number in range(STEPS):
                command, words = draw(chance, number)
                given.add(command)
                if ask(tables, command, words) not in (None, False, "", [], {}, 0):
                    useful.add(command)
    public = {name for name, member in inspect.getmembers(TokenTables, callable) if not name.startswith("_")}

    assert public - NOT_IN_SCRIPTS == given
    assert {"transfer_token", "acquire_token", "detach_session", "attach_session", "destroy_session"} <= useful
