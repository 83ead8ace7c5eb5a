"""A token's way between partitions, step by step: what each round trip of a command does, and what may come of it.

A token and each owner's sessions lie in partitions of their own, each of which does one thing at a time; nothing is
done in two at once. A transfer is decided where the token lies: owner and epoch change there, and from then on it is
*parked* with the receiver. Which session holds it is a *join record* where the receiver's sessions lie, written there
alone, by who sees one that lives, once for each epoch. Commands are generators that yield one step on one partition at
a time.

What they promise (``Ideal``) is two things at two instants: the token is parked with the receiver; and then, before the
command answers, held by one of the receiver's sessions if any lives then. A session that ends between the two leaves
the token parked, and never free for all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

HELD, PARKED, UNASSIGNED = "held", "parked", "unassigned"
NOT_OWNER, REFUSED = "not owner", "refused"


class World(NamedTuple):
    """All partitions.

    Attributes:
        owner, epoch: of the token, in its partition.
        living: sessions, each named by its owner and a number, as ``b1``.
        joins: owner, epoch and session of each join record, in the partition of its owner.
    """

    owner: str = "a"
    epoch: int = 0
    living: frozenset[str] = frozenset(("a1", "b1", "c1"))
    joins: tuple[tuple[str, int, str], ...] = (("a", 0, "a1"),)

    def join_of(self, owner: str) -> tuple[int, str]:
        """Return epoch and session of an owner's join record; epoch -1 where there is none."""
        return next((join[1:] for join in self.joins if join[0] == owner), (-1, ""))

    def newest_of(self, owner: str) -> str:
        """Return an owner's newest living session, empty for none."""
        return max((session for session in self.living if session[0] == owner), default="")

    def joined(self, owner: str, epoch: int, session: str) -> World:
        """Return the world with another join record of an owner."""
        others = (join for join in self.joins if join[0] != owner)
        return self._replace(joins=tuple(sorted((*others, (owner, epoch, session)))))


Step = Callable[[World], tuple[World, Any]]
"""One round trip: what it changes, and what it answers."""
Command = Generator[Step, Any, Any]


# --- steps ---


def read_token(world: World) -> tuple[World, Any]:
    """Where the token lies: whose it is, and its epoch."""
    return world, (world.owner, world.epoch)


def decide(epoch: int, receiver: str) -> Step:
    """Where the token lies: give it to somebody else, if it is as it was read."""

    def step(world: World) -> tuple[World, Any]:
        if world.epoch != epoch:
            return world, False
        return world._replace(owner=receiver, epoch=epoch + 1), True

    return step


def read_home(owner: str) -> Step:
    """Where an owner's sessions lie: epoch of the join record, and whether its session lives."""

    def step(world: World) -> tuple[World, Any]:
        epoch, session = world.join_of(owner)
        return world, (epoch, session in world.living)

    return step


def join(owner: str, epoch: int) -> Step:
    """Where an owner's sessions lie: let the newest that lives hold the token, unless one did at that epoch already."""

    def step(world: World) -> tuple[World, Any]:
        newest = world.newest_of(owner)
        if not newest or world.join_of(owner)[0] >= epoch:
            return world, None
        return world.joined(owner, epoch, newest), None

    return step


def judged(epoch: int, joined_at: int, lives: bool) -> str:
    """What a token is, by its epoch and the join record of its owner."""
    return PARKED if joined_at < epoch else HELD if lives else UNASSIGNED


# --- commands ---


def transfer(giver: str, receiver: str) -> Command:
    while True:
        owner, epoch = yield read_token
        if owner != giver:
            return NOT_OWNER
        if (yield decide(epoch, receiver)):
            yield join(receiver, epoch + 1)
            return epoch + 1


def claim(claimant: str) -> Command:
    while True:
        owner, epoch = yield read_token
        if judged(epoch, *(yield read_home(owner))) != UNASSIGNED:
            return REFUSED
        if (yield decide(epoch, claimant)):
            yield join(claimant, epoch + 1)
            return epoch + 1


def verify() -> Command:
    """Read where the token lies, then where its owner's sessions lie; a refusal is looked at once more."""
    while True:
        owner, epoch = yield read_token
        joined_at, lives = yield read_home(owner)
        said = judged(epoch, joined_at, lives)
        if joined_at <= epoch and (said != UNASSIGNED or (yield read_token) == (owner, epoch)):
            return owner, epoch, said


def verify_at_once(owner: str) -> Command:
    """Read both at once, in the worse order, where it is remembered whose the token was; else as ``verify``."""
    joined_at, lives = yield read_home(owner)
    if (yield read_token) != (owner, joined_at):
        return (yield from verify())
    return owner, joined_at, judged(joined_at, joined_at, lives)


def end(session: str) -> Command:
    yield lambda world: (world._replace(living=world.living - {session}), None)


def open_session(session: str) -> Command:
    """Open a session; what is parked with its owner is joined by the sweeper (``care``), or the next command."""
    yield lambda world: (world._replace(living=world.living | {session}), None)


def care() -> Command:
    """Join what a process left parked that died on its way."""
    owner, epoch = yield read_token
    yield join(owner, epoch)


COMMANDS: dict[str, Callable[..., Command]] = {
    "transfer": transfer, "claim": claim, "verify": verify, "verify_at_once": verify_at_once, "end": end,
    "open": open_session, "care": care,
}  # fmt: skip


# --- what is promised ---


class Ideal(NamedTuple):
    """The token as those see it who think that there is one partition.

    Attributes:
        holder: the session that holds it, empty while it is parked.
    """

    owner: str
    epoch: int
    holder: str
    living: frozenset[str]

    def said(self) -> tuple[str, int, str]:
        state = PARKED if not self.holder else HELD if self.holder in self.living else UNASSIGNED
        return self.owner, self.epoch, state

    def after(self, name: str, args: Sequence[str]) -> tuple[Ideal, Any]:
        """Return what a command makes of it at one instant, and what it answers."""
        said = self.said()[2]
        if name in ("verify", "verify_at_once"):
            return self, self.said()
        if name == "end":
            return self._replace(living=self.living - {args[0]}), None
        if name == "open":
            return self._replace(living=self.living | {args[0]}), None
        if name == "care":
            return self, None
        if name == "transfer" and self.owner != args[0]:
            return self, NOT_OWNER
        if name == "claim" and said != UNASSIGNED:
            return self, REFUSED
        return self._replace(owner=args[-1], epoch=self.epoch + 1, holder=""), self.epoch + 1

    def joined(self) -> Iterator[Ideal]:
        """Yield what it may become by itself: held by one of its owner's living sessions."""
        if not self.holder:
            yield from (self._replace(holder=one) for one in self.living if one[0] == self.owner)


class Done(NamedTuple):
    """A command as a caller saw it: from when to when (never: it died), and what came of it."""

    name: str
    args: tuple[str, ...]
    begun: int
    ended: float
    answer: Any


class _Part(NamedTuple):
    """What is to be put at one instant: a command, or of a transfer that it has joined (``settles`` is its epoch)."""

    done: Done
    settles: int | None
    follows: int | None


def is_explained(ideal: Ideal, history: Sequence[Done]) -> bool:
    """Whether there is an instant for each command between its begin and its end at which it did what it answered."""
    parts: list[_Part] = []
    for done in history:
        parts.append(_Part(done, None, None))
        if done.name in ("transfer", "claim") and isinstance(done.answer, int):
            parts.append(_Part(done, done.answer, len(parts) - 1))

    @cache
    def explained(state: Ideal, left: frozenset[int]) -> bool:
        if all(parts[number].done.ended == float("inf") for number in left):
            return True
        soonest = min(parts[number].done.ended for number in left)
        for number in left:
            part = parts[number]
            if part.done.begun > soonest or part.follows in left:
                continue
            others = left - {number}
            if part.settles is not None:
                is_open = state.epoch == part.settles and not state.holder and any(state.joined())
                if not is_open and explained(state, others):
                    return True
                continue
            after, answer = state.after(part.done.name, part.done.args)
            if (part.done.ended == float("inf") or answer == part.done.answer) and explained(after, others):
                return True
        return any(explained(joined, left) for joined in state.joined())

    return explained(ideal, frozenset(range(len(parts))))


# --- every order of all steps ---

Program = tuple[tuple[str, ...], ...]
"""What one client does: commands with their arguments, one after another."""


class _Client(NamedTuple):
    """How far a client is: what its command has been answered, which one it is, and since when."""

    at: int = 0
    begun: int = -1
    answers: tuple[Any, ...] = ()
    is_dead: bool = False


_State = tuple[World, tuple[_Client, ...], tuple[Done, ...], int]


def histories(
    programs: Sequence[Program], commands: dict[str, Callable[..., Command]], deaths: int = 0
) -> Iterator[tuple[World, tuple[Done, ...]]]:
    """Yield how every order of the steps of all clients ends, each different outcome once.

    Args:
        programs: what each client does.
        commands: what the names in them mean.
        deaths: how many clients may die between two steps of theirs.
    """
    begin: _State = (World(), tuple(_Client() for _ in programs), (), deaths)
    ahead, seen = [begin], {begin}
    while ahead:
        world, clients, history, may_die = ahead.pop()
        is_over = True
        for number, client in enumerate(clients):
            if client.is_dead or client.at == len(programs[number]):
                continue
            is_over = False
            nexts = [_next(world, client, programs[number][client.at], commands, history)]
            if may_die and client.answers:
                name, *args = programs[number][client.at]
                died = Done(name, tuple(args), client.begun, float("inf"), None)
                nexts.append((world, client._replace(is_dead=True), (*history, died)))
            for after, moved, known in nexts:
                left = may_die - (moved.is_dead and not client.is_dead)
                state: _State = (after, (*clients[:number], moved, *clients[number + 1 :]), known, left)
                if state not in seen:
                    seen.add(state)
                    ahead.append(state)
        if is_over:
            yield world, history


def _next(
    world: World,
    client: _Client,
    told: tuple[str, ...],
    commands: dict[str, Callable[..., Command]],
    history: tuple[Done, ...],
) -> tuple[World, _Client, tuple[Done, ...]]:
    """Return what is there after a client's next step: its command is run again up to there, which has no effect."""
    name, *args = told
    command = commands[name](*args)
    step = next(command)
    for answer in client.answers:
        step = command.send(answer)
    begun = client.begun if client.answers else len(history)
    after, answer = step(world)
    try:
        command.send(answer)
    except StopIteration as stop:
        done = Done(name, tuple(args), begun, len(history), stop.value)
        return after, _Client(client.at + 1), (*history, done)
    return after, client._replace(begun=begun, answers=(*client.answers, answer)), history
