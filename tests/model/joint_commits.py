"""Commits over several partitions, step by step: what each round trip does, and what may come of it in any order.

A token lies in partition ``P``; the sessions of its owners, and what each of them holds, in ``Q``, ``R`` and so on.
Each partition does one thing at a time, nothing is done in two at once, processes die between any two steps, and what
was sent may be carried out long after its sender gave up. Commands are generators that yield one step on one partition
at a time, as ``stores/valkey/joint.py`` does.

What they promise (``Ideal``) is that each command is one instant: a transfer is decided, leaves the giver and stands
with the receiver's living session all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

NOT_OWNER, NO_SESSION, BUSY, ENDED_BEFORE = "not owner", "no session", "busy", "ended before"
LIVING, ENDED, DONE, VOID = "living", "ended", "done", "void"
HOME = {"a": "O", "b": "Q", "c": "R", "d": "Q"}
"""Owner → the partition of their session and of what it holds."""
LOOKS = 4


class Cell(NamedTuple):
    """What stands under a name.

    Attributes:
        version: the stamp, which never comes back.
        txn: the transaction that holds it, if any.
        is_written: whether that one writes it.
    """

    said: Any
    version: int = 0
    txn: str = ""
    is_written: bool = False

    @property
    def is_in_doubt(self) -> bool:
        return bool(self.txn) and self.is_written


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
        ("P:token", Cell(("a", 0))), ("O:a session", Cell(LIVING)), ("O:a holds", Cell(0)),
        ("Q:b session", Cell(LIVING)), ("Q:b holds", Cell(None)), ("Q:d session", Cell(LIVING)),
        ("Q:d holds", Cell(None)), ("R:c session", Cell(LIVING)), ("R:c holds", Cell(None)),
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
        return self.put({name: Cell(said, cells[name].version + 1) for name, said in writes})

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
    if holder := next((cells[name].txn for name, _ in (*checks, *writes) if cells[name].txn), ""):
        return world, holder
    if any(cells[name].version != version for name, version in checks):
        return world, False
    return world.written(writes), True


def hold(world: World, where: str, txn: str, checks: Checks, writes: Writes, hour: int) -> tuple[World, Any]:
    cells = dict(world.cells)
    names = dict.fromkeys(name for name, _ in (*checks, *writes))
    if holder := next((cells[name].txn for name in names if cells[name].txn), ""):
        return world, holder
    if world.hours > hour or any(cells[name].version != version for name, version in checks):
        return world, False
    held = {name: cells[name]._replace(txn=txn, is_written=name in dict(writes)) for name in names}
    return world.put(held)._replace(kept=tuple(sorted((*world.kept, ((where, txn), writes))))), True


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
    free = {
        name: cell._replace(txn="", is_written=False)
        for name, cell in world.cells
        if cell.txn == txn and name[0] == where
    }
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
        if any(not cell.txn or cell.version != versions[name] for name, cell in zip(names, cells, strict=True)):
            return True
        is_done = False
        for txn in dict.fromkeys(cell.txn for cell in cells):
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


# --- commands ---


def names_of(owner: str) -> tuple[str, str]:
    """Return the names of an owner's session, and of what it holds."""
    return f"{HOME[owner]}:{owner} session", f"{HOME[owner]}:{owner} holds"


def transfer(protocol: Protocol, giver: str, receiver: str, txn: str, lost: str = "") -> Steps:
    """Judge what stands in two partitions; commit, and answer before it is finished everywhere."""
    session, holds = names_of(receiver)
    for attempt in range(2):
        tokens = yield from protocol.read(("P:token",))
        sessions = yield from protocol.read((session,))
        if tokens is None or sessions is None:
            return BUSY
        owner, epoch = tokens[0].said
        refusal = NOT_OWNER if owner != giver else NO_SESSION if sessions[0].said != LIVING else ""
        if refusal:
            if (yield from protocol.is_still((tokens, ("P:token",)), (sessions, (session,)))):
                return refusal
            continue
        checks = {"P:token": tokens[0].version, session: sessions[0].version}
        writes = {"P:token": (receiver, epoch + 1), names_of(giver)[1]: None, holds: epoch + 1}
        name = f"{txn}.{attempt}"
        answer = yield from protocol.commit(name, checks, writes, lost)
        if answer is True:
            others = [where for where in dict.fromkeys(name[0] for name in (*writes, *checks)) if where != "P"]
            return Answered(epoch + 1, protocol.finish(name, others))
        if answer:
            yield from protocol.resolve(*answer)
    return BUSY


class Answered(NamedTuple):
    """An answer that was given before all was done."""

    answer: Any
    rest: Steps


def end(protocol: Protocol, owner: str) -> Steps:
    session, _ = names_of(owner)
    for _ in range(2):
        cells = yield from protocol.read((session,))
        if cells is None:
            return BUSY
        if cells[0].said != LIVING:
            return ENDED_BEFORE
        answer = yield from protocol.commit("", {session: cells[0].version}, {session: ENDED})
        if answer is True:
            return ENDED
        if answer:
            yield from protocol.resolve(*answer)
    return BUSY


def give_back(protocol: Protocol, owner: str) -> Steps:
    """Write what a session holds without having read it."""
    answer = yield from protocol.commit("", {}, {names_of(owner)[1]: "x"})
    return "given" if answer is True else BUSY


def look(protocol: Protocol, owner: str) -> Steps:
    """Read an owner's session and what it holds, which lie in one partition."""
    cells = yield from protocol.read(names_of(owner))
    return BUSY if cells is None else tuple(cell.said for cell in cells)


def verify(protocol: Protocol) -> Steps:
    """Read the token, then the session that holds it where that lies; once more, so that both stood there at once."""
    for _ in range(2):
        tokens = yield from protocol.read(("P:token",))
        names = names_of(tokens[0].said[0])
        cells = yield from protocol.read(names)
        if cells is not None and (yield from protocol.is_still((tokens, ("P:token",)), (cells, names))):
            return (*tokens[0].said, *(cell.said for cell in cells))
    return BUSY


def heal(protocol: Protocol, where: str) -> Steps:
    """Resolve all that is held in a partition, giving up what is undecided."""
    for txn in (yield step("holders", where)):
        verdict = yield step("void", txn)
        yield step("finish" if verdict == DONE else "release", where, txn)
    return None


def delivered(_: Protocol) -> Steps:
    yield step("deliver")
    return None


def hour_passes(_: Protocol) -> Steps:
    yield step("hour")
    return None


COMMANDS: dict[str, Callable[..., Steps]] = {
    "transfer": transfer, "end": end, "give back": give_back, "look": look, "verify": verify, "heal": heal,
    "deliver": delivered, "hour": hour_passes,
}  # fmt: skip


# --- what is promised ---


class Ideal(NamedTuple):
    """All of it as those see it who think that there is one partition."""

    owner: str = "a"
    epoch: int = 0
    living: frozenset[str] = frozenset("abcd")
    holds: tuple[tuple[str, Any], ...] = (("a", 0), ("b", None), ("c", None), ("d", None))

    def of(self, owner: str) -> tuple[Any, Any]:
        return LIVING if owner in self.living else ENDED, dict(self.holds)[owner]

    def holding(self, **holds: Any) -> Ideal:
        return self._replace(holds=tuple(sorted({**dict(self.holds), **holds}.items())))

    def all(self) -> tuple[Any, ...]:
        return self.owner, self.epoch, *(self.of(owner) for owner in "abcd")

    def after(self, name: str, args: Sequence[str]) -> tuple[Ideal, Any]:
        """Return what a command makes of it at one instant, and what it answers."""
        if name == "all":
            return self, self.all()
        if name == "verify":
            return self, (self.owner, self.epoch, *self.of(self.owner))
        if name == "look":
            return self, self.of(args[0])
        if name == "give back":
            return self.holding(**{args[0]: "x"}), "given"
        if name == "end":
            if args[0] not in self.living:
                return self, ENDED_BEFORE
            return self._replace(living=self.living - {args[0]}), ENDED
        if name != "transfer":
            return self, None
        giver, receiver, *_ = args
        if self.owner != giver:
            return self, NOT_OWNER
        if receiver not in self.living:
            return self, NO_SESSION
        moved = self._replace(owner=receiver, epoch=self.epoch + 1)
        return moved.holding(**{giver: None}).holding(**{receiver: self.epoch + 1}), self.epoch + 1


class Done(NamedTuple):
    """A command as a caller saw it: from when to when (never: it died), and what came of it."""

    name: str
    args: tuple[str, ...]
    begun: int
    ended: float
    answer: Any


def is_explained(history: Sequence[Done]) -> bool:
    """Whether there is an instant for each command between its begin and its end at which it did what it answered."""

    @cache
    def explained(state: Ideal, left: frozenset[int]) -> bool:
        if not left:
            return True
        soonest = min(history[number].ended for number in left)
        if soonest == float("inf"):
            return True
        for number in left:
            done = history[number]
            if done.begun > soonest:
                continue
            if done.answer == BUSY and done.ended != float("inf"):
                if explained(state, left - {number}):
                    return True
                continue
            after, answer = state.after(done.name, done.args)
            if (done.ended == float("inf") or answer == done.answer) and explained(after, left - {number}):
                return True
        return False

    return explained(Ideal(), frozenset(range(len(history))))


# --- every order of all steps ---

Program = tuple[tuple[str, ...], ...]
"""What one client does: commands with their arguments, one after another."""


class _Client(NamedTuple):
    """How far a client is: what its command has been answered, which one it is, and since when.

    Attributes:
        rest: how many of its answers came after it had given its own.
    """

    at: int = 0
    begun: int = -1
    answers: tuple[Any, ...] = ()
    is_told: bool = False
    is_dead: bool = False


_State = tuple[World, tuple[_Client, ...], tuple[Done, ...], int]


def histories(protocol: Protocol, programs: Sequence[Program], deaths: int = 0) -> Iterator[tuple[Done, ...]]:
    """Yield how every order of the steps of all clients ends, each different outcome once.

    Whoever does not die finishes what was decided; at the end of all, the rest is resolved and everything read.

    Args:
        protocol: what clients do.
        programs: the commands of each.
        deaths: how many clients may die between two steps of theirs.
    """
    begin: _State = (World(), tuple(_Client() for _ in programs), (), deaths)
    ahead, seen = [begin], {begin}
    outcomes: set[tuple[Done, ...]] = set()
    while ahead:
        world, clients, history, may_die = ahead.pop()
        is_over = True
        for number, client in enumerate(clients):
            if client.is_dead or client.at == len(programs[number]):
                continue
            is_over = False
            told = programs[number][client.at]
            nexts = [(*_next(protocol, world, client, told, history), may_die)]
            if may_die and client.answers:
                died = () if client.is_told else (Done(told[0], told[1:], client.begun, float("inf"), None),)
                nexts.append((world, client._replace(is_dead=True), (*history, *died), may_die - 1))
            for after, moved, known, left in nexts:
                state: _State = (after, (*clients[:number], moved, *clients[number + 1 :]), known, left)
                if state not in seen:
                    seen.add(state)
                    ahead.append(state)
        if is_over:
            last = _all_in(protocol, world)
            outcome = (*history, Done("all", (), len(history) + 1, len(history) + 1, last))
            if outcome not in outcomes:
                outcomes.add(outcome)
                yield outcome


def _all_in(protocol: Protocol, world: World) -> tuple[Any, ...]:
    """Return what stands everywhere once what is held is resolved."""
    for where in "OQR":
        steps, answer = heal(protocol, where), None
        try:
            while True:
                world, answer = steps.send(answer).carried_out(world)
        except StopIteration:
            pass
    cells = {name: cell.said for name, cell in world.cells}
    return (*cells["P:token"], *(tuple(cells[name] for name in names_of(owner)) for owner in "abcd"))


def _next(
    protocol: Protocol, world: World, client: _Client, told: tuple[str, ...], history: tuple[Done, ...]
) -> tuple[World, _Client, tuple[Done, ...]]:
    """Return what is there after a client's next step: its command is run again up to there, which has no effect."""
    name, *args = told
    command = _flat(COMMANDS[name](protocol, *args))
    following = next(command)
    for answer in client.answers:
        following = command.send(answer)
    begun = client.begun if client.answers else len(history)
    after, answer = following.carried_out(world)
    try:
        following = command.send(answer)
    except StopIteration as stop:
        done = () if client.is_told else (Done(name, tuple(args), begun, len(history), stop.value),)
        return after, _Client(client.at + 1), (*history, *done)
    answers = (*client.answers, answer)
    if following.what == "told":
        command.send(None)
        done = (Done(name, tuple(args), begun, len(history), following.words[0]),)
        return after, client._replace(begun=begun, answers=(*answers, None), is_told=True), (*history, *done)
    return after, client._replace(begun=begun, answers=answers), history


def _flat(command: Steps) -> Steps:
    """Carry out a command, and after it has answered what is left to do."""
    result = yield from command
    if isinstance(result, Answered):
        yield step("told", result.answer)
        yield from result.rest
        return None
    return result
