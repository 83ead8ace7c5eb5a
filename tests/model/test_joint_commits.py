"""Every order of the steps of a few commands over several partitions: each outcome is one that was promised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from tests.helpers.effort import PROVING
from tests.model.joint_commits import DONE, STEPS, VOID, Cell, Protocol, Step, Steps, World, step
from tests.model.joint_histories import Done, Program, histories, is_explained

A_TO_B, B_TO_C = ("transfer", "a", "b", "t1"), ("transfer", "b", "c", "t2")
CAP_TO_B = ("transfer", "d", "b", "t3", "", "cap")
Scenario = tuple[list[Program], int]
SCENARIOS: dict[str, Scenario] = {
    "the receiver leaves": ([(A_TO_B,), (("end", "b"), ("look", "b"))], 0),
    "two transfer to one": ([(A_TO_B,), (("transfer", "a", "d", "t2"),)], 0),
    "two transfer to two": ([(A_TO_B,), (("transfer", "a", "c", "t2"),)], 0),
    "a reader beside it": ([(A_TO_B,), (("verify",), ("look", "b"))], 0),
    "a reader of each end": ([(A_TO_B,), (("look", "b"), ("look", "a"))], 0),
    "a reader of the giver's end": ([(A_TO_B,), (("look", "a"), ("look", "b"))], 0),
    "on to the next": ([(A_TO_B, B_TO_C), (("look", "b"), ("look", "c"))], 0),
    "two tokens for one": ([(A_TO_B,), (CAP_TO_B, ("look", "b"))], 0),
    "two tokens for one, and one is given up": ([(A_TO_B,), (CAP_TO_B, ("heal", "Q"), ("look", "b"))], 1),
    "handed on by somebody else": ([(A_TO_B,), (B_TO_C, ("look", "b"))], 0),
    "a later one that comes first by its name": (
        [(("transfer", "a", "b", "t2"), ("transfer", "b", "c", "t1")), (("look", "b"),)], 0,
    ),
    "who writes without reading": ([(A_TO_B,), (("give back", "b"), ("look", "b"))], 0),
    "a process dies": ([(A_TO_B,), (("look", "b"), ("heal", "Q"), ("look", "b"))], 1),
    "a process dies, the receiver leaves": ([(A_TO_B,), (("heal", "Q"), ("end", "b"))], 1),
    "a slow process is given up": ([(A_TO_B,), (("heal", "Q"), ("end", "b"), ("look", "b"))], 0),
    "two give it up": ([(A_TO_B,), (("heal", "Q"),), (("heal", "Q"), ("end", "b"))], 0),
    "an answer of a decision is lost": (
        [(("transfer", "a", "b", "t1", "decide"),), (("deliver",), ("look", "b"))], 0,
    ),
    "an answer of a hold is lost": ([(("transfer", "a", "b", "t1", "hold"),), (("deliver",), ("end", "b"))], 0),
    "a decision comes an hour late": (
        [(("transfer", "a", "b", "t1", "decide"),), (("hour",), ("deliver",), ("look", "b"))], 0,
    ),
}  # fmt: skip
LARGE: dict[str, Scenario] = {
    "two tokens for one, who leaves": ([(A_TO_B,), (CAP_TO_B,), (("end", "b"),)], 0),
    "read on both sides of a transfer": ([(A_TO_B, B_TO_C), (("verify",),)], 0),
    "three": ([(A_TO_B,), (("end", "b"), ("look", "b")), (("transfer", "a", "c", "t2"),)], 1),
    "two readers": ([(A_TO_B, B_TO_C), (("verify",), ("look", "b")), (("look", "c"),)], 0),
    "to and fro, and given up": ([(A_TO_B, ("transfer", "b", "a", "t2")), (("heal", "Q"), ("verify",))], 1),
}


def unexplained(protocol: Protocol, scenario: Scenario) -> tuple[int, list[tuple[Done, ...]]]:
    """Return how many outcomes a scenario has, and those that nothing promised explains."""
    outcomes = list(histories(protocol, *scenario))
    return len(outcomes), [history for history in outcomes if not is_explained(history)]


@pytest.mark.parametrize("name", [*SCENARIOS, *(LARGE if PROVING else ())])
def test_every_order_of_the_steps_is_explained(name: str) -> None:
    count, bad = unexplained(Protocol(), (SCENARIOS | LARGE)[name])

    assert bad == []
    assert count > 2


# --- forms that are wrong, each of which looks right ---


class HoldsNothing(Protocol):
    """The others are written after the decision, as they were read before."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        if all(name[0] != "P" for name in (*checks, *writes)):
            return (yield from super().commit(txn, checks, writes, lost))
        is_done = yield step("decide", txn, *_parts("P", checks, writes), 0)
        if is_done is True:
            for where in _others(checks, writes):
                yield step("alone", (), _parts(where, checks, writes)[1])
        return is_done


class DecidesBeforeAllIsHeld(Protocol):
    """The decision is sent together with the last hold."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        if all(name[0] != "P" for name in (*checks, *writes)):
            return (yield from super().commit(txn, checks, writes, lost))
        is_done = yield step("decide", txn, *_parts("P", checks, writes), 0)
        if is_done is True:
            for where in _others(checks, writes):
                yield step("hold", where, txn, *_parts(where, checks, writes), 0)
        return is_done


class AnswersTheOldWithoutAsking(Protocol):
    """What is held stands there, so it is right."""

    def look_again(self, where: str, names: Sequence[str], versions: Mapping[str, int]) -> Steps:
        yield step("ask", "nobody")
        return False


class BelievesReadsOfTwoInstants(Protocol):
    """What was read in two partitions stood there at once."""

    def is_still(self, *seen: tuple[tuple[Cell, ...], tuple[str, ...]]) -> Steps:
        yield step("ask", "nobody")
        return True


class TakesWhoeverHoldsItNow(Protocol):
    """Who holds it when he is asked for held it when it was read."""

    def look_again(self, where: str, names: Sequence[str], versions: Mapping[str, int]) -> Steps:
        is_done = False
        for cell in (yield step("read", tuple(names))):
            for txn in cell.txns:
                is_done |= (yield from self.resolve(where, txn)) == DONE
        return is_done


class ForgetsBeforeAllIsFinished(Protocol):
    """The verdict goes with the answer."""

    def finish(self, txn: str, wheres: Sequence[str]) -> Steps:
        yield step("forget", txn)
        yield from super().finish(txn, wheres)


class ForgetsAtOnce(Protocol):
    """The verdict goes when all is finished: who read before that and asks afterwards finds nothing."""

    def finish(self, txn: str, wheres: Sequence[str]) -> Steps:
        yield from super().finish(txn, wheres)
        yield step("forget", txn)


class HoldsWhatItChecks(Protocol):
    """What is only written is not marked."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        steps, answer = super().commit(txn, checks, writes, lost), None
        while True:
            try:
                following = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            what = "hold_checked" if following.what == "hold" else following.what
            answer = yield Step(what, following.words)


class SharesMembers(Protocol):
    """Who adds a member and who takes it out again hold it beside each other."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        steps, answer = super().commit(txn, checks, writes, lost), None
        while True:
            try:
                following = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            what = "hold_loosely" if following.what == "hold" else following.what
            answer = yield Step(what, following.words)


class WritesUnchecked(Protocol):
    """A commit that has not read what somebody holds may write it."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        if not checks:
            return (yield step("write", tuple(writes.items())))
        return (yield from super().commit(txn, checks, writes, lost))


class DoesNotFindOut(Protocol):
    """A decision that was not answered was not made."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        steps, answer = super().commit(txn, checks, writes, lost), None
        while True:
            try:
                following = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = VOID if following.what == "void" else (yield following)


class DecidesHowLate(Protocol):
    """A decision has no instant after which it is refused."""

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        steps, answer = super().commit(txn, checks, writes, lost), None
        while True:
            try:
                following = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = 9 if following.what == "now" else (yield following)


def _parts(where: str, checks: Mapping[str, int], writes: Mapping[str, Any]) -> tuple[Any, Any]:
    def here(names: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((name, said) for name, said in names.items() if name[0] == where)

    return here(checks), here(writes)


def _others(checks: Mapping[str, int], writes: Mapping[str, Any]) -> list[str]:
    return [where for where in dict.fromkeys(name[0] for name in (*writes, *checks)) if where != "P"]


def forget(world: World, txn: str) -> tuple[World, Any]:
    return world._replace(verdicts=tuple(said for said in world.verdicts if said[0] != txn)), None


def write(world: World, writes: Any) -> tuple[World, Any]:
    after = world.written(writes)
    names = [name for name, _ in writes]
    return after.put({name: cell._replace(txns=(), members=()) for name, cell in after.cells if name in names}), True


def hold_checked(
    right: Any, world: World, where: str, txn: str, checks: Any, writes: Any, hour: int
) -> tuple[World, Any]:
    after, answer = right(world, where, txn, checks, writes, hour)
    if answer is not True:
        return after, answer
    before = dict(world.cells)
    return after.put({name: before[name] for name, _ in writes if name not in dict(checks)}), True


def hold_loosely(
    right: Any, world: World, where: str, txn: str, checks: Any, writes: Any, hour: int
) -> tuple[World, Any]:
    before = {name: cell._replace(members=("",) * len(cell.members)) for name, cell in world.cells}
    after, answer = right(world.put(before), where, txn, checks, writes, hour)
    return after, answer


def void_over(_: Any, world: World, txn: str) -> tuple[World, Any]:
    """Record that it is void whatever is recorded."""
    return world.record(txn, VOID), VOID


def decide_over(
    right: Callable[..., tuple[World, Any]], world: World, txn: str, checks: Any, writes: Any, hour: int
) -> tuple[World, Any]:
    """Decide whatever is recorded."""
    return right(forget(world, txn)[0], txn, checks, writes, hour)


def release_without_a_word(_: Any, world: World, txn: str) -> tuple[World, Any]:
    """Take for void what is not recorded, and record nothing."""
    return world, world.verdict(txn) or VOID


def finish_twice(right: Any, world: World, where: str, txn: str) -> tuple[World, Any]:
    """Carry out what was kept, whoever has done so before."""
    after, answer = right(world, where, txn)
    return after._replace(kept=world.kept), answer


WRONG = [
    (HoldsNothing, "the receiver leaves"), (DecidesBeforeAllIsHeld, "the receiver leaves"),
    (AnswersTheOldWithoutAsking, "a reader beside it"),
    (BelievesReadsOfTwoInstants, "read on both sides of a transfer"),
    (TakesWhoeverHoldsItNow, "on to the next"), (ForgetsBeforeAllIsFinished, "a process dies"),
    (ForgetsAtOnce, "a reader of each end"), (HoldsWhatItChecks, "a reader beside it"),
    (WritesUnchecked, "who writes without reading"), (SharesMembers, "handed on by somebody else"),
    (DoesNotFindOut, "an answer of a decision is lost"),
    (DecidesHowLate, "a decision comes an hour late"),
]  # fmt: skip
WRONG_STEPS = [
    ("void", void_over, "a slow process is given up"), ("decide", decide_over, "a slow process is given up"),
    ("void", release_without_a_word, "a slow process is given up"),
    ("finish", finish_twice, "a later one that comes first by its name"),
]  # fmt: skip


def is_found_out(protocol: Protocol, name: str) -> bool:
    """Whether a scenario has an outcome that nothing explains."""
    return any(not is_explained(history) for history in histories(protocol, *(SCENARIOS | LARGE)[name]))


@pytest.mark.parametrize(("wrong", "scenario"), WRONG)
def test_each_wrong_form_is_found_out(wrong: type[Protocol], scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "forget", forget)
    monkeypatch.setitem(STEPS, "write", write)
    for wrongly in (hold_checked, hold_loosely):
        monkeypatch.setitem(STEPS, wrongly.__name__, partial(wrongly, STEPS["hold"]))

    assert is_found_out(wrong(), scenario)


@pytest.mark.parametrize(("name", "wrong", "scenario"), WRONG_STEPS)
def test_each_wrong_step_is_found_out(name: str, wrong: Any, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, name, partial(wrong, STEPS[name]))

    assert is_found_out(Protocol(), scenario)
