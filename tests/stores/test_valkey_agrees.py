"""Valkey beside memory: the same script of commands, the same answers and listings, and indexes that match records."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_tokens import Issued, SessionTokens, SessionTokensError, Settings
from session_tokens.records import Session, Token
from session_tokens.stores.valkey.store import BlockingValkeyStore, open_valkey_blocking

from ..servers.valkey import _valkey_url  # noqa: F401  # a fixture

PROVING = os.environ.get("SESSION_TOKENS_PROVE") == "1"
PEPPER = bytes(range(32))
OWNERS = ("alice", "bob", "{carol}:\n", "dän")


class Side:
    """One library, its ids and secrets under names that both sides share."""

    def __init__(self, tokens: SessionTokens) -> None:
        self.tokens = tokens
        self.strings: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def learn(self, name: str, string: str) -> None:
        self.strings[name] = string
        self.names[string] = name

    def ask(self, made: str, command: str, *positional: Any, **named: Any) -> Any:
        """Give a command; answer what it answered without what depends on the clock and on chance."""
        words = [self.strings.get(word, word) if isinstance(word, str) else word for word in positional]
        named = {name: self.strings.get(word, word) if isinstance(word, str) else word for name, word in named.items()}
        try:
            answer = getattr(self.tokens, command)(*words, **named)
        except SessionTokensError as error:
            return type(error).__name__
        if command == "open_session":
            self.let_a_millisecond_pass()
        if isinstance(answer, Issued):
            self.learn(f"{made} secret", answer.secret)
            if answer.id not in self.names:
                self.learn(made, answer.id)
            answer = answer.record
        return self.plain(answer)

    def let_a_millisecond_pass(self) -> None:
        """Of two sessions of one millisecond the lower id counts as the older, and ids are drawn by lot."""
        now, _ = self.tokens.store.read_now([])
        while self.tokens.store.read_now([])[0] == now:
            pass

    def plain(self, answer: Any) -> Any:
        if isinstance(answer, Session):
            return (
                self.names[answer.id], answer.owner, answer.detachable, answer.is_detached, answer.max_age, answer.data,
                answer.idle_timeout, answer.version, answer.end_reason, answer.label, answer.ended_at is None,
            )  # fmt: skip
        if isinstance(answer, Token):
            return (
                self.names[answer.id], answer.owner, str(answer.kind), self.names.get(answer.session_id or ""),
                answer.value, answer.epoch, answer.version, answer.is_unassigned, answer.previous_owner, answer.price,
                answer.is_sellable, answer.timeout,
            )  # fmt: skip
        if hasattr(answer, "items") and hasattr(answer, "after"):
            return sorted(map(self.plain, answer.items), key=repr), answer.after is None
        return answer


@pytest.fixture
def sides(valkey_url: str) -> Iterator[tuple[Side, Side, BlockingValkeyStore]]:
    store = open_valkey_blocking(valkey_url, pepper=PEPPER)
    settings = Settings(max_sessions=3, idle_timeout=1800)
    valkey = SessionTokens(store, settings)
    memory = SessionTokens.open("memory://", settings=settings, sweep=False)
    yield Side(memory), Side(valkey), store
    memory.close()
    valkey.close()


def draw(chance: random.Random, sessions: list[str], tokens: list[str], number: int) -> tuple[str, list[Any], Any]:
    """Draw one command with its arguments."""
    session = chance.choice(sessions) + chance.choice(["", " secret"])
    token = chance.choice(tokens) + chance.choice(["", "", " secret"])
    owner, other = chance.choice(OWNERS), chance.choice(OWNERS)
    commands: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("open_session", [owner], {"detachable": chance.random() < 0.7, "label": chance.choice([None, "phone"])}),
        ("issue_token", [session, {"n": number}], {"transferable": True}),
        ("issue_token", [chance.choice([session, None]), "välue"], {"timeout": chance.choice([None, 60])}),
        ("verify_session", [session], {}),
        ("verify_token", [token], {}),
        ("get_session", [session.removesuffix(" secret")], {}),
        ("get_token", [token.removesuffix(" secret")], {}),
        ("transfer_token", [token], {"giver": owner, "receiver": other}),
        ("transfer_token", [token.removesuffix(" secret")], {"giver": None, "receiver": other}),
        ("claim_token", [token.removesuffix(" secret")], {"session_key": session}),
        ("rotate_session", [session], {}),
        ("detach_session", [session], {}),
        ("attach_session", [session.removesuffix(" secret")], {}),
        ("change_session", [session], {"max_age": chance.choice([None, 7200]), "label": f"l{number}"}),
        ("update_session_data", [session, {f"f{number % 3}": number}], {}),
        ("offer_token", [token], {"price": number % 5}),
        ("withdraw_token", [token], {}),
        ("destroy_token", [token], {}),
        ("destroy_session", [session], {}),
        ("destroy_sessions", [owner], {}),
        ("disable_owner", [owner], {}),
        ("enable_owner", [owner], {}),
        ("enable_owner", [owner], {}),
        ("list_sessions", [], {"owner": chance.choice([owner, None])}),
        ("list_sessions", [], {"detached": True}),
        ("list_tokens", [], {"owner": owner}),
        ("list_tokens", [], {"unassigned": True}),
        ("list_tokens", [], {"sellable": True}),
        ("list_tokens", [], {}),
        ("sweep", [], {}),
    ]
    return chance.choice(commands)


@pytest.mark.parametrize("seed", range(500 if PROVING else 20))
def test_a_script_of_commands_gets_the_same_answers(sides: tuple[Side, Side, BlockingValkeyStore], seed: int) -> None:
    memory, valkey, store = sides
    chance = random.Random(seed)
    sessions, tokens = ["no session"], ["no token"]
    done: list[Any] = []
    for number in range(250):
        command, positional, named = draw(chance, sessions, tokens, number)
        made = f"{command} {number}"
        expected = memory.ask(made, command, *positional, **named)
        actual = valkey.ask(made, command, *positional, **named)
        done.append((command, positional, named, expected))

        assert expected == actual, done[-5:]
        if command == "open_session" and not isinstance(expected, str):
            sessions.append(made)
        if command == "issue_token" and not isinstance(expected, str):
            tokens.append(made)
    assert store.check_now() == []
    kinds = {command for command, _, _, answer in done if not isinstance(answer, str)}
    assert len(kinds) > 10  # the script did more than to be refused


def test_pages_come_in_order_of_creation_and_leave_nothing_out(valkey_url: str) -> None:
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER), Settings(max_sessions=None)) as tokens:
        sessions = [tokens.open_session(OWNERS[number % 2]).session for number in range(60)]
        issued = [tokens.issue_token(sessions[number % 60].id, number).token for number in range(90)]

        assert paged(tokens.list_sessions, limit=7) == in_order(sessions)
        assert paged(tokens.list_sessions, limit=7, owner=OWNERS[1]) == in_order(sessions[1::2])
        assert paged(tokens.list_tokens, limit=11) == in_order(issued)
        alice = {session.id for session in sessions[::2]}
        of_alice = [token for token in issued if token.session_id in alice]
        assert paged(tokens.list_tokens, limit=11, owner=OWNERS[0]) == in_order(of_alice)


def paged(listing: Callable[..., Any], **named: Any) -> list[str]:
    ids: list[str] = []
    after = None
    while True:
        page = listing(after=after, **named)
        ids += [record.id for record in page.items]
        after = page.after
        if after is None:
            return ids


def in_order(records: list[Any]) -> list[str]:
    return [record.id for record in sorted(records, key=lambda record: (record.created_at, record.id))]
