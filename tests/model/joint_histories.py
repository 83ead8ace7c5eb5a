"""Commands over several partitions, what they promise, and every order of their steps.

What they promise (``Ideal``) is that each command is one instant: a transfer is decided, leaves the giver and stands
with the receiver's living session all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from tests.model.joint_commits import DONE, ENDED, HOME, LIVING, Move, Protocol, Steps, World, step

NOT_OWNER, NO_SESSION, BUSY, ENDED_BEFORE = "not owner", "no session", "busy", "ended before"

# --- commands ---


def names_of(owner: str) -> tuple[str, str]:
    """Return the names of an owner's session, and of what it holds."""
    return f"{HOME[owner]}:{owner} session", f"{HOME[owner]}:{owner} holds"


def transfer(protocol: Protocol, giver: str, receiver: str, txn: str, lost: str = "", token: str = "hat") -> Steps:
    """Judge what stands in two partitions; commit, and answer before it is finished everywhere."""
    (session, holds), name = names_of(receiver), f"P:{token}"
    for attempt in range(2):
        tokens = yield from protocol.read((name,))
        sessions = yield from protocol.read((session,))
        if tokens is None or sessions is None:
            return BUSY
        owner, epoch = tokens[0].said
        refusal = NOT_OWNER if owner != giver else NO_SESSION if sessions[0].said != LIVING else ""
        if refusal:
            if (yield from protocol.is_still((tokens, (name,)), (sessions, (session,)))):
                return refusal
            continue
        checks = {name: tokens[0].version, session: sessions[0].version}
        writes = {name: (receiver, epoch + 1), names_of(giver)[1]: Move("-", token), holds: Move("+", token)}
        this = f"{txn}.{attempt}"
        answer = yield from protocol.commit(this, checks, writes, lost)
        if answer is True:
            others = [where for where in dict.fromkeys(name[0] for name in (*writes, *checks)) if where != "P"]
            return Answered(epoch + 1, protocol.finish(this, others))
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
    answer = yield from protocol.commit("", {}, {names_of(owner)[1]: Move("+", "tie")})
    return "given" if answer is True else BUSY


def look(protocol: Protocol, owner: str) -> Steps:
    """Read an owner's session and what it holds, which lie in one partition."""
    cells = yield from protocol.read(names_of(owner))
    return BUSY if cells is None else tuple(cell.said for cell in cells)


def verify(protocol: Protocol) -> Steps:
    """Read the token, then the session that holds it where that lies; once more, so that both stood there at once."""
    for _ in range(2):
        tokens = yield from protocol.read(("P:hat",))
        names = names_of(tokens[0].said[0])
        cells = yield from protocol.read(names)
        if cells is not None and (yield from protocol.is_still((tokens, ("P:hat",)), (cells, names))):
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

    hat: tuple[str, int] = ("a", 0)
    cap: tuple[str, int] = ("d", 0)
    living: frozenset[str] = frozenset("abcd")
    ties: frozenset[str] = frozenset()

    def of(self, owner: str) -> tuple[str, frozenset[str]]:
        held = {token for token, told in (("hat", self.hat), ("cap", self.cap)) if told[0] == owner}
        return LIVING if owner in self.living else ENDED, frozenset(held | ({"tie"} if owner in self.ties else set()))

    def all(self) -> tuple[Any, ...]:
        return self.hat, self.cap, *(self.of(owner) for owner in "abcd")

    def after(self, name: str, args: Sequence[str]) -> tuple[Ideal, Any]:
        """Return what a command makes of it at one instant, and what it answers."""
        if name == "all":
            return self, self.all()
        if name == "verify":
            return self, (*self.hat, *self.of(self.hat[0]))
        if name == "look":
            return self, self.of(args[0])
        if name == "give back":
            return self._replace(ties=self.ties | {args[0]}), "given"
        if name == "end":
            if args[0] not in self.living:
                return self, ENDED_BEFORE
            return self._replace(living=self.living - {args[0]}), ENDED
        if name != "transfer":
            return self, None
        giver, receiver, token = args[0], args[1], args[4] if len(args) > 4 else "hat"
        owner, epoch = self.cap if token == "cap" else self.hat
        if owner != giver:
            return self, NOT_OWNER
        if receiver not in self.living:
            return self, NO_SESSION
        told = receiver, epoch + 1
        return (self._replace(cap=told) if token == "cap" else self._replace(hat=told)), epoch + 1


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
    return (cells["P:hat"], cells["P:cap"], *(tuple(cells[name] for name in names_of(owner)) for owner in "abcd"))


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
