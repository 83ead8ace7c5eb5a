"""Commits over several partitions, step by step: what each round trip does, and what may come of it in any order.

Tokens lie in partition ``P``; the sessions of its owners, and what each of them holds, in ``Q``, ``R`` and so on.
Each partition does one thing at a time, nothing is done in two at once, processes die between any two steps, and what
was sent may be carried out long after its sender gave up. Commands are generators that yield one step on one partition
at a time, as ``stores/valkey/joint.py`` does.

What commands made of them promise is in ``joint_histories.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

LIVING, ENDED, DONE, VOID = "living", "ended", "done", "void"
HOME = {"a": "O", "b": "Q", "c": "R", "d": "Q"}
"""Owner → the partition of their session and of what it holds."""
LOOKS = 4


class Cell(NamedTuple):
    """What stands under a name.

    Attributes:
        version: the stamp, which never comes back.
        txns: the transactions that hold it.
        how: ``r`` where they only rest on it, ``a`` where they add members or take them out, ``w`` where one writes it.
        members: which members they add or take out.
    """

    said: Any
    version: int = 0
    txns: tuple[str, ...] = ()
    how: str = ""
    members: tuple[str, ...] = ()

    @property
    def is_in_doubt(self) -> bool:
        return bool(self.txns) and self.how != "r"

    def stops(self, how: str, member: str) -> bool:
        """Whether somebody else may not hold it in a way."""
        return bool(self.txns) and (how == "w" or self.how != how or member in self.members)

    def held(self, txn: str, how: str, member: str) -> Cell:
        return self._replace(txns=(*self.txns, txn), how=how, members=(*self.members, member))

    def let_go(self, txn: str) -> Cell:
        if txn not in self.txns:
            return self
        at = self.txns.index(txn)
        txns, members = self.txns[:at] + self.txns[at + 1 :], self.members[:at] + self.members[at + 1 :]
        return self._replace(txns=txns, members=members, how=self.how if txns else "")

    def written(self, said: Any) -> Cell:
        """Return it with something else, or with a member more (``+``) or less (``-``)."""
        if isinstance(said, Move):
            said = self.said | {said.member} if said.sign == "+" else self.said - {said.member}
        return self._replace(said=said, version=self.version + 1)


class Move(NamedTuple):
    """A member that is added to what stands there or taken out of it, whatever else that is."""

    sign: str
    member: str


class World(NamedTuple):
    """All partitions; what a name begins with is where it lies.

    Attributes:
        cells: what stands under each name.
        kept: partition and transaction of each hold → what is to be written there.
        verdicts: what is recorded of transactions.
        settled: transactions whose verdict may be forgotten in a while.
        flying: steps that were sent, and may be carried out at any time.
        hours: how many have passed.
    """

    cells: tuple[tuple[str, Cell], ...] = (
        ("P:hat", Cell(("a", 0))), ("P:cap", Cell(("d", 0))),
        ("O:a session", Cell(LIVING)), ("O:a holds", Cell(frozenset({"hat"}))),
        ("Q:b session", Cell(LIVING)), ("Q:b holds", Cell(frozenset())), ("Q:d session", Cell(LIVING)),
        ("Q:d holds", Cell(frozenset({"cap"}))), ("R:c session", Cell(LIVING)), ("R:c holds", Cell(frozenset())),
    )  # fmt: skip
    kept: tuple[tuple[tuple[str, str], tuple[tuple[str, Any], ...]], ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()
    settled: frozenset[str] = frozenset()
    flying: tuple[Step, ...] = ()
    hours: int = 0

    def put(self, cells: Mapping[str, Cell]) -> World:
        return self._replace(cells=tuple((name, cells.get(name, cell)) for name, cell in self.cells))

    def written(self, writes: Sequence[tuple[str, Any]]) -> World:
        cells = dict(self.cells)
        return self.put({name: cells[name].written(said) for name, said in writes})

    def verdict(self, txn: str) -> str:
        return dict(self.verdicts).get(txn, "")

    def record(self, txn: str, verdict: str) -> World:
        return self._replace(verdicts=tuple(sorted({**dict(self.verdicts), txn: verdict}.items())))


Writes = tuple[tuple[str, Any], ...]
Checks = tuple[tuple[str, int], ...]


# --- steps ---


class Step(NamedTuple):
    """One round trip; two of the same words are the same, so that worlds can be told apart."""

    what: str
    words: tuple[Any, ...]

    def carried_out(self, world: World) -> tuple[World, Any]:
        """Return what it changes, and what it answers."""
        return STEPS[self.what](world, *self.words)


def read(world: World, names: tuple[str, ...]) -> tuple[World, Any]:
    cells = dict(world.cells)
    return world, tuple(cells[name] for name in names)


def alone(world: World, checks: Checks, writes: Writes) -> tuple[World, Any]:
    """Commit in one partition: nothing that somebody holds is written or was read."""
    cells = dict(world.cells)
    if holder := next((cells[name].txns[0] for name, _ in (*checks, *writes) if cells[name].txns), ""):
        return world, holder
    if any(cells[name].version != version for name, version in checks):
        return world, False
    return world.written(writes), True


def hold(world: World, where: str, txn: str, checks: Checks, writes: Writes, hour: int) -> tuple[World, Any]:
    cells, needs = dict(world.cells), needed(checks, writes)
    if holder := next((cells[name].txns[0] for name, need in needs.items() if cells[name].stops(*need)), ""):
        return world, holder
    if world.hours > hour or any(cells[name].version != version for name, version in checks):
        return world, False
    held = {name: cells[name].held(txn, *need) for name, need in needs.items()}
    return world.put(held)._replace(kept=tuple(sorted((*world.kept, ((where, txn), writes)), key=repr))), True


def needed(checks: Checks, writes: Writes) -> dict[str, tuple[str, str]]:
    """Return how each name is to be held, and for which member."""
    needs = {name: ("r", "") for name, _ in checks}
    for name, said in writes:
        is_moved = isinstance(said, Move) and name not in needs
        needs[name] = ("a", said.member) if is_moved else ("w", "")
    return needs


def decide(world: World, txn: str, checks: Checks, writes: Writes, hour: int) -> tuple[World, Any]:
    if world.verdict(txn) or world.hours > hour:
        return world, False
    after, answer = alone(world, checks, writes)
    return (after.record(txn, DONE) if answer is True else after), answer


def finish(world: World, where: str, txn: str) -> tuple[World, Any]:
    kept = dict(world.kept)
    writes = kept.pop((where, txn), None)
    if writes is None:
        return world, False
    return _let_go(world, where, txn).written(writes), True


def release(world: World, where: str, txn: str) -> tuple[World, Any]:
    return _let_go(world, where, txn), None


def _let_go(world: World, where: str, txn: str) -> World:
    free = {name: cell.let_go(txn) for name, cell in world.cells if name[0] == where}
    return world.put(free)._replace(kept=tuple(kept for kept in world.kept if kept[0] != (where, txn)))


def ask(world: World, txn: str) -> tuple[World, Any]:
    return world, world.verdict(txn)


def void(world: World, txn: str) -> tuple[World, Any]:
    if verdict := world.verdict(txn):
        return world, verdict
    return world.record(txn, VOID), VOID


def settle(world: World, txn: str) -> tuple[World, Any]:
    return world._replace(settled=world.settled | {txn}), None


def send(world: World, step: Step) -> tuple[World, Any]:
    """What is sent may be carried out now, or at any time later; its sender hears nothing of it."""
    return world._replace(flying=(*world.flying, step)), None


def deliver(world: World) -> tuple[World, Any]:
    """Carry out what was sent first."""
    if not world.flying:
        return world, None
    return world.flying[0].carried_out(world._replace(flying=world.flying[1:]))[0], None


def hour(world: World) -> tuple[World, Any]:
    """Let the time pass after which verdicts are forgotten, but those that somebody still has to act upon."""
    verdicts = tuple((txn, said) for txn, said in world.verdicts if said == DONE and txn not in world.settled)
    return world._replace(hours=world.hours + 1, verdicts=verdicts), None


def holders(world: World, where: str) -> tuple[World, Any]:
    return world, tuple(txn for (partition, txn), _ in world.kept if partition == where)


STEPS: dict[str, Callable[..., tuple[World, Any]]] = {
    step.__name__: step
    for step in (read, alone, hold, decide, finish, release, ask, void, settle, send, deliver, hour, holders)
}
"""Their names; a form that is wrong puts others beside them."""

Steps = Generator[Step, Any, Any]


def step(what: str, *words: Any) -> Step:
    return Step(what, words)


# --- the protocol ---


class Protocol:
    """What ``Joint`` does; forms that are wrong do some of it otherwise."""

    def read(self, names: Sequence[str]) -> Steps:
        """Return what stands under names in one partition, none of it in doubt; ``None`` after too many looks."""
        for _ in range(LOOKS):
            cells = yield step("read", tuple(names))
            doubted = tuple(name for name, cell in zip(names, cells, strict=True) if cell.is_in_doubt)
            if not doubted:
                return cells
            versions = {name: cell.version for name, cell in zip(names, cells, strict=True)}
            if not (yield from self.look_again(names[0][0], doubted, versions)):
                return cells
        return None

    def is_still(self, *seen: tuple[tuple[Cell, ...], tuple[str, ...]]) -> Steps:
        """Whether what was read in several partitions is as it was: then all of it stood there at one instant."""
        for cells, names in seen:
            again = yield from self.read(names)
            if again is None or [cell.version for cell in again] != [cell.version for cell in cells]:
                return False
        return True

    def look_again(self, where: str, names: Sequence[str], versions: Mapping[str, int]) -> Steps:
        """Return whether what was read in doubt is to be read again: else it was right."""
        cells = yield step("read", tuple(names))
        if any(not cell.txns or cell.version != versions[name] for name, cell in zip(names, cells, strict=True)):
            return True
        is_done = False
        for txn in dict.fromkeys(txn for cell in cells for txn in cell.txns):
            is_done |= (yield from self.resolve(where, txn)) == DONE
        return is_done

    def resolve(self, where: str, txn: str) -> Steps:
        """Finish or release what somebody holds, as was decided; return the verdict."""
        verdict = yield step("ask", txn)
        if verdict:
            yield step("finish" if verdict == DONE else "release", where, txn)
        return verdict

    def commit(self, txn: str, checks: Mapping[str, int], writes: Mapping[str, Any], lost: str = "") -> Steps:
        """Commit over as many partitions as it takes; return whether it was, or who was in the way and where.

        Args:
            lost: the step of which nothing is heard.
        """
        wheres = list(dict.fromkeys(name[0] for name in (*writes, *checks)))
        parts = {where: (_of(where, checks), _of(where, writes)) for where in wheres}
        if len(wheres) == 1:
            return met(wheres[0], (yield step("alone", *parts[wheres[0]])))
        decider = "P" if "P" in wheres else wheres[0]
        others = [where for where in wheres if where != decider]
        hours = (yield step("now")) if lost else 0
        for number, where in enumerate(others):
            holding = step("hold", where, txn, *parts[where], hours)
            answer = yield step("send", holding) if lost == "hold" and number == 0 else holding
            if answer is not True:
                held = others[: number + (answer is None)]
                if answer is None:
                    yield step("void", txn)
                for one in held:
                    yield step("release", one, txn)
                return met(where, answer or False)
        deciding = step("decide", txn, *parts[decider], hours)
        answer = yield step("send", deciding) if lost == "decide" else deciding
        if answer is None:
            answer = (yield step("void", txn)) == DONE
        if answer is not True:
            for one in others:
                yield step("release", one, txn)
        return met(decider, answer)

    def finish(self, txn: str, wheres: Sequence[str]) -> Steps:
        """Finish everywhere what was decided."""
        for where in wheres:
            yield step("finish", where, txn)
        yield step("settle", txn)


def met(where: str, answer: Any) -> Any:
    """Return what a step answered, with the partition of who was in its way."""
    return (where, answer) if isinstance(answer, str) else answer


def now(world: World) -> tuple[World, Any]:
    return world, world.hours


STEPS["now"] = now


def _of(where: str, names: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, said) for name, said in names.items() if name[0] == where)
