"""Every pair of two commands on a token with an end of session between, in every order: nothing revived, nothing lost.

The model says what each comes to. What is asked besides, of the library alone, is what no order may bring about: a
token that was dead and lives again, a secret that was refused and opens something, a token that nobody ended and that
can be found nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from random import Random
from typing import Any

import pytest

from session_tokens import Forgotten
from session_tokens.clock import ManualClock
from tests.helpers.effort import times
from tests.model.choices import START_MS
from tests.model.invariants import Watch
from tests.model.naive import NaiveTokens, Record, Refusal
from tests.model.worlds import MEMORY, SQLITE, Refused, StoreKind, World

SETTINGS = {
    "max_age": 600_000, "idle_timeout": None, "token_timeout": None, "disownment_timeout": 5_000,
    "max_sessions": None, "session_policy": "replace_oldest", "detached_timeout": 600_000,
}  # fmt: skip
Step = tuple[str, tuple[Any, ...], Record]
COMMANDS: dict[str, Step] = {
    "transfer": ("transfer_token", ("t1",), {"giver": "ann", "receiver": "bob"}),
    "transfer to a stranger": ("transfer_token", ("t1",), {"giver": "ann", "receiver": "dan"}),
    "claim": ("claim_token", ("t1",), {"session_key": "s2"}),
    "claim next": ("claim_next_token", (), {"session_key": "s2", "tag": "job"}),
    "release": ("release_token", ("t1",), {"owner": "ann"}),
    "reissue": ("reissue_token", ("t1",), {"owner": "ann"}),
    "offer": ("offer_token", ("t1",), {"price": 5}),
    "offer to one": ("offer_token", ("t1",), {"price": 5, "to": "bob", "until": 2_000}),
    "withdraw": ("withdraw_token", ("t1",), {}),
    "accept": ("accept_offer", ("t1",), {"receiver": "bob", "price": 5}),
    "lend": ("lend_token", ("t1",), {"borrower": "bob"}),
    "lend for a while": ("lend_token", ("t1",), {"borrower": "dan", "until": 2_000}),
    "recall": ("recall_token", ("t1",), {}),
    "consume": ("consume_token", ("t1",), {}),
    "change": ("change_token", ("t1",), {"timeout": 60_000}),
    "destroy": ("destroy_token", ("t1",), {}),
    "hand over": ("hand_over", ("ann",), {"receiver": "bob"}),
    "rename": ("rename_owner", ("ann", "anna"), {}),
    "forget": ("forget_owner", ("ann",), {}),
    "forget the other": ("forget_owner", ("bob",), {}),
}
ENDS: dict[str, Step] = {
    "log-out": ("destroy_session", ("s1",), {}),
    "log-out of the other": ("destroy_session", ("s2",), {}),
    "all at once": ("destroy_sessions", ("ann",), {}),
    "disabling": ("disable_owner", ("ann",), {}),
}
AGES_MS = (1_000, 2_000, 5_000, 600_000)


class Pair:
    """The model beside one store: ann holds a counted transferable token in her session, bob has a session."""

    def __init__(self, kind: StoreKind, beginning: str) -> None:
        self.clock = ManualClock(START_MS)
        self.model = NaiveTokens(SETTINGS, self.clock.now())
        self.world = World(kind, SETTINGS, self.clock)
        self.watch = Watch(self.world)
        self.ended = False
        for owner in ("ann", "bob"):
            self.do("open_session", owner)
        if beginning == "held":
            self.do("issue_token", "s1", "x", transferable=True, uses=2, tag="job")
        else:
            self.do("issue_token", None, "x", transferable=True, uses=2, tag="job")
            self.do("claim_token", "t1", session_key="s1")

    def do(self, command: str, *positional: Any, **named: Any) -> None:
        """Give a command to both, and look at everything."""
        while command == "claim_next_token" and self.world.store.sweep():
            pass
        try:
            expected = getattr(self.model, command)(*positional, **named)
        except Refusal as refusal:
            expected = Refused(str(refusal))
        answer = self.world.ask(command, *positional, **named)
        if isinstance(expected, dict) and "secret" in expected and not isinstance(answer, Refused):
            self.world.learn_issued(expected, answer)
        if isinstance(answer, Forgotten):
            self.world.learn(expected["pseudonym"], answer.pseudonym)
        got = self.world.in_model_terms(answer)
        if isinstance(expected, Refused):
            assert isinstance(got, Refused) and got.name in expected.name.split(" or "), (command, expected, got)
        elif not (isinstance(expected, dict) and "data" in expected):
            assert expected == got, (command, expected, got)
        self.look()

    def pass_time(self, ms: int) -> None:
        self.clock.advance(ms=ms)
        self.model.advance(self.clock.now())
        self.look()

    def look(self) -> None:
        self.watch.check(None)
        for name, string in self.world.strings.items():
            if name.startswith("t"):
                for command in ("verify_token", "get_token"):
                    got = self.world.in_model_terms(getattr(self.world.store, command)(string))
                    assert getattr(self.model, command)(name) == got, (command, name)

    def sweep(self) -> None:
        while self.world.store.sweep():
            pass
        self.look()


def orders() -> Iterator[tuple[str, ...]]:
    for first, second in product(COMMANDS, repeat=2):
        for end in ENDS:
            yield from sorted(set(permutations((first, second, end))))


@pytest.fixture(params=[MEMORY, SQLITE], ids=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest) -> StoreKind:
    given: StoreKind = request.param
    return given


def play(kind: StoreKind, beginning: str, order: tuple[str, ...], *, swept: bool) -> None:
    pair = Pair(kind, beginning)
    try:
        for name in order:
            command, positional, named = (COMMANDS | ENDS)[name]
            pair.do(command, *positional, **named)
            pair.pass_time(1_000)
            if swept:
                pair.sweep()
        for ms in AGES_MS:
            pair.pass_time(ms)
            pair.sweep()
    except AssertionError as error:
        raise AssertionError(f"{beginning}, {' then '.join(order)}, swept: {swept}: {error}") from error
    finally:
        pair.world.close()


def test_no_order_of_two_commands_and_an_end_revives_or_loses_a_token(kind: StoreKind) -> None:
    everything = list(orders())
    some = times(200, proving=len(everything)) if kind is MEMORY else times(12, proving=len(everything) // 20)
    for number, order in enumerate(Random(74).sample(everything, some)):
        play(kind, ("held", "claimed")[number % 2], order, swept=number % 3 == 0)

    assert len(everything) > 5_000


def test_a_token_that_comes_back_is_seen() -> None:
    """The test above can fail: where the end of a session is not told to the model, they differ."""
    pair = Pair(MEMORY, "held")
    pair.world.store.destroy_session(pair.world.strings["s1"])
    with pytest.raises(AssertionError):
        pair.look()
    pair.world.close()
