"""Every order of the steps of a few commands on a token between partitions: each outcome is one that was promised."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.helpers.effort import PROVING
from tests.model.between_partitions import (
    COMMANDS,
    NOT_OWNER,
    REFUSED,
    UNASSIGNED,
    Command,
    Done,
    Ideal,
    Program,
    Step,
    World,
    decide,
    histories,
    is_explained,
    join,
    judged,
    read_home,
    read_token,
)

AT_FIRST = Ideal("a", 0, "a1", frozenset(("a1", "b1", "c1")))
SCENARIOS: dict[str, tuple[list[Program], int]] = {
    "the receiver leaves": ([(("transfer", "a", "b"),), (("end", "b1"), ("verify",), ("verify",))], 0),
    "the receiver leaves, another claims": (
        [(("transfer", "a", "b"),), (("end", "b1"), ("verify",), ("claim", "c"), ("verify",))], 0,
    ),
    "the receiver comes back": ([(("transfer", "a", "b"),), (("end", "b1"), ("open", "b2"), ("verify",))], 0),
    "to and fro": (
        [(("transfer", "a", "b"),), (("transfer", "b", "a"), ("transfer", "a", "b"), ("verify",), ("verify",))], 0,
    ),
    "to two": ([(("transfer", "a", "b"),), (("transfer", "a", "c"), ("verify",)), (("verify",),)], 0),
    "two claim": ([(("end", "a1"), ("claim", "b")), (("claim", "c"), ("verify",))], 0),
    "on, and the one before leaves": (
        [(("transfer", "a", "b"), ("transfer", "b", "c"), ("end", "b1")), (("verify",),)], 0,
    ),
    "asked for where it was": (
        [(("transfer", "a", "b"), ("transfer", "b", "c"), ("end", "b1")), (("verify_at_once", "b"), ("verify",))], 0,
    ),
    "a process dies on the way": (
        [(("transfer", "a", "b"),), (("verify",), ("care",), ("verify",)), (("end", "b1"),)], 1,
    ),
    "a process dies, another claims": (
        [(("transfer", "a", "b"),), (("end", "b1"), ("claim", "c"), ("verify",))], 1,
    ),
}  # fmt: skip
LARGE: dict[str, tuple[list[Program], int]] = {
    "three": ([(("transfer", "a", "b"),), (("end", "b1"), ("claim", "c")), (("transfer", "b", "c"), ("verify",))], 1),
    "four": (
        [
            (("transfer", "a", "b"),), (("transfer", "a", "c"),), (("end", "b1"), ("end", "c1")),
            (("claim", "a"), ("verify",)),
        ], 1,
    ),
    "a process dies on the way, and the receiver comes back": (
        [(("transfer", "a", "b"),), (("verify",), ("care",), ("verify",)), (("end", "b1"), ("open", "b2"))], 1,
    ),
}  # fmt: skip


def unexplained(
    scenario: tuple[list[Program], int], commands: dict[str, Callable[..., Command]] = COMMANDS
) -> tuple[int, list[tuple[Done, ...]]]:
    """Return how many outcomes a scenario has, and those that nothing promised explains."""
    programs, deaths = scenario
    outcomes = {history for _, history in histories(programs, commands, deaths)}
    return len(outcomes), [history for history in outcomes if not is_explained(AT_FIRST, history)]


@pytest.mark.parametrize("name", [*SCENARIOS, *(LARGE if PROVING else ())])
def test_every_order_of_the_steps_is_explained(name: str) -> None:
    count, bad = unexplained((SCENARIOS | LARGE)[name])

    assert bad == []
    assert count > 2


# --- forms that are wrong, each of which has looked right ---


def newest(owner: str) -> Step:
    return lambda world: (world, world.newest_of(owner))


def join_blindly(owner: str, epoch: int, session: str) -> Step:
    """Let a session hold the token that lived when it was read."""

    def step(world: World) -> tuple[World, None]:
        is_late = not session or world.join_of(owner)[0] >= epoch
        return (world if is_late else world.joined(owner, epoch, session)), None

    return step


def names_the_session(giver: str, receiver: str) -> Command:
    """One compare-and-set on the token's record, which names the session too."""
    while True:
        owner, epoch = yield read_token
        if owner != giver:
            return NOT_OWNER
        session = yield newest(receiver)

        def at_once(world: World, epoch: int = epoch, session: str = session) -> tuple[World, bool]:
            after, is_done = decide(epoch, receiver)(world)
            return (join_blindly(receiver, epoch + 1, session)(after)[0] if is_done else after), is_done

        if (yield at_once):
            return epoch + 1


def reads_the_session_after(giver: str, receiver: str) -> Command:
    """The session is read again after the decision, and named then."""
    while True:
        owner, epoch = yield read_token
        if owner != giver:
            return NOT_OWNER
        if (yield decide(epoch, receiver)):
            session = yield newest(receiver)
            yield join_blindly(receiver, epoch + 1, session)
            return epoch + 1


def joins_whoever_it_saw(giver: str, receiver: str) -> Command:
    """The join record does not look whether the session lives."""
    while True:
        owner, epoch = yield read_token
        if owner != giver:
            return NOT_OWNER
        session = yield newest(receiver)
        if (yield decide(epoch, receiver)):
            yield join_blindly(receiver, epoch + 1, session)
            return epoch + 1


def joins_again(giver: str, receiver: str) -> Command:
    """A join record is written whatever stands there."""
    while True:
        owner, epoch = yield read_token
        if owner != giver:
            return NOT_OWNER
        if (yield decide(epoch, receiver)):

            def over_all(world: World, epoch: int = epoch) -> tuple[World, None]:
                session = world.newest_of(receiver)
                return (world.joined(receiver, epoch + 1, session) if session else world), None

            yield over_all
            return epoch + 1


def answers_before_it_joins(giver: str, receiver: str) -> Command:
    owner, epoch = yield read_token
    if owner != giver:
        return NOT_OWNER
    return epoch + 1 if (yield decide(epoch, receiver)) else NOT_OWNER


def refuses_at_first_sight() -> Command:
    """A refusal is not looked at once more."""
    owner, epoch = yield read_token
    joined_at, lives = yield read_home(owner)
    return owner, epoch, judged(epoch, joined_at, lives)


def claims_what_is_parked(claimant: str) -> Command:
    owner, epoch = yield read_token
    joined_at, lives = yield read_home(owner)
    if joined_at == epoch and lives:
        return REFUSED
    if not (yield decide(epoch, claimant)):
        return REFUSED
    yield join(claimant, epoch + 1)
    return epoch + 1


def claims_without_comparing(claimant: str) -> Command:
    owner, epoch = yield read_token
    if judged(epoch, *(yield read_home(owner))) != UNASSIGNED:
        return REFUSED
    yield lambda world: (world._replace(owner=claimant, epoch=epoch + 1), None)
    yield join(claimant, epoch + 1)
    return epoch + 1


WRONG: list[tuple[str, Callable[..., Command]]] = [
    ("transfer", names_the_session), ("transfer", reads_the_session_after), ("transfer", joins_whoever_it_saw),
    ("transfer", joins_again), ("transfer", answers_before_it_joins), ("verify", refuses_at_first_sight),
    ("claim", claims_what_is_parked), ("claim", claims_without_comparing),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=[wrong.__name__ for _, wrong in WRONG])
def test_each_wrong_form_is_found_out(name: str, wrong: Callable[..., Command]) -> None:
    commands = {**COMMANDS, name: wrong}

    assert any(unexplained(scenario, commands)[1] for scenario in SCENARIOS.values())
