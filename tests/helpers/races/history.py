"""What happened in a race, and whether any order of single steps could explain it.

Theory of operation. Every operation is recorded with the instants at which it was invoked and at which it returned, on
a clock that all processes of one machine share. A history is right if each operation can be given one instant between
the two, so that the operations, done one by one in that order, give the answers that were seen (linearizability).
The search is Wing and Gong's with Lowe's memory: take any operation that nothing unfinished had to precede, do it on
the register if its answer allows that, remember each pair of (operations done, register) so as never to try it twice.
Each token and each session is a register of its own, which keeps the search small; when a history is still too wide
to be decided within a bound, `Undecided` is raised: never a silent yes.

An operation whose answer was never seen (the process was killed, the store did not answer) may have happened at any
instant after it was invoked, or not at all.

Histories hold no secrets: `mark` stands for each.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.helpers.races.registers import Register, SessionRegister, TokenRegister

NEVER_NS = 2**63 - 1
CONFIGURATIONS_MAX = 200_000  # of one token or session: some seconds of search
UNSEEN = ("StoreUnavailable", "StoreBusy", "AdapterError", "TimeoutError")  # what was asked may have happened or not

T = TypeVar("T")


class Undecided(Exception):
    """The history is too wide to be decided within the bound; record shorter ones."""


class BrokenHistory(AssertionError):
    """No order of single steps explains what was seen."""


@dataclass(frozen=True)
class Operation:
    """One call and what came of it.

    Attributes:
        subject: the id of the token or session.
        kind: a name that the subject's register knows, such as `transfer`.
        worker: who called.
        invoked_ns, returned_ns: on the shared clock; `NEVER_NS` where no answer was seen.
        outcome: `ok`, the name of an error, or `unseen`.
        given, answered: what was asked and what was answered, by name.
    """

    subject: str
    kind: str
    worker: str
    invoked_ns: int
    returned_ns: int = NEVER_NS
    outcome: str = "unseen"
    given: dict[str, Any] = field(default_factory=dict)
    answered: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.worker}: {self.kind}({self.given}) -> {self.outcome} {self.answered or ''}"


def mark(secret: str | None) -> str | None:
    """Return what stands for a secret in a history: the same for the same secret, and of no use to anybody."""
    return None if secret is None else hashlib.sha256(secret.encode()).hexdigest()[:12]


class Recorder:
    """Records operations of many threads or tasks of one process; several processes write a file each.

    Args:
        worker: the name of the process, put before each thread's or task's own name.
        clock: nanoseconds that never go back, the same clock in every process.
    """

    def __init__(self, worker: str = "", clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.worker, self.clock = worker, clock
        self.operations: list[Operation] = []
        self._lock = threading.Lock()

    def begin(self, kind: str, subject: str, *, worker: str = "", **given: Any) -> int:
        """Note down that a call begins; answer the number by which `finish` knows it. Call it before the call."""
        with self._lock:
            self.operations.append(Operation(subject, kind, self.worker + worker, self.clock(), given=given))
            return len(self.operations) - 1

    def finish(self, number: int, outcome: str = "ok", *, subject: str | None = None, **answered: Any) -> None:
        """Note down the answer, as soon as it is there. An `unseen` outcome leaves the call open for ever."""
        now = NEVER_NS if outcome == "unseen" else self.clock()
        with self._lock:
            begun = self.operations[number]
            self.operations[number] = replace(
                begun, returned_ns=now, outcome=outcome, answered=answered, subject=subject or begun.subject
            )

    def perform(
        self, kind: str, subject: str, call: Callable[[], T], tell: Callable[[T], dict[str, Any]], **given: Any
    ) -> T | None:
        """Make a call and record it; `tell` says what of the answer belongs into the history.

        Returns:
            The answer, `None` where the call was refused or not answered. Errors without a `code` go on to the caller.
        """
        number = self.begin(kind, subject, **given)
        try:
            answer = call()
        except Exception as error:
            name = type(error).__name__
            self.finish(number, "unseen" if name in UNSEEN or not hasattr(error, "code") else name)
            if not hasattr(error, "code"):
                raise
            return None
        self.finish(number, **tell(answer))
        return answer

    def save(self, path: Path) -> None:
        path.write_text("".join(json.dumps(asdict(operation)) + "\n" for operation in self.operations))


def load(paths: Iterable[Path]) -> list[Operation]:
    """Return the operations of several processes' files together; a line that a killed process left half is dropped."""
    lines = (line for path in paths for line in path.read_text().splitlines(keepends=True))
    return [Operation(**json.loads(line)) for line in lines if line.endswith("\n")]


# Judging.


def check_tokens(
    operations: Iterable[Operation],
    start: dict[str, TokenRegister] | None = None,
    configurations_max: int = CONFIGURATIONS_MAX,
) -> None:
    """Raise `BrokenHistory` unless each token's operations can be explained one by one.

    Args:
        operations: the history; only kinds that `TokenRegister` knows are looked at.
        start: the registers of tokens that were issued before the history began.
        configurations_max: how many pairs of operations done and register to try for one token.

    Raises:
        Undecided: when the bound was not enough.
    """
    check(operations, TokenRegister, start or {}, configurations_max)


def check_sessions(operations: Iterable[Operation], start: dict[str, SessionRegister] | None = None) -> None:
    """Raise `BrokenHistory` unless each session's operations can be explained one by one."""
    check(operations, SessionRegister, start or {}, CONFIGURATIONS_MAX)


def check(
    operations: Iterable[Operation], make: type[Register], start: dict[str, Any], configurations_max: int
) -> None:
    by_subject: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind in make.KINDS:
            by_subject[operation.subject].append(operation)
    no_secret_was_given_out_twice(operation for group in by_subject.values() for operation in group)
    for subject, group in by_subject.items():
        conflicts_have_a_cause(group)
        search(subject, group, start.get(subject) or make(), configurations_max)


def no_secret_was_given_out_twice(operations: Iterable[Operation]) -> None:
    given_out: dict[str, Operation] = {}
    for operation in operations:
        secret = operation.answered.get("secret")
        if secret is not None:
            if secret in given_out:
                raise BrokenHistory(f"one secret was given out twice:\n  {given_out[secret]}\n  {operation}")
            given_out[secret] = operation


def conflicts_have_a_cause(group: list[Operation]) -> None:
    """A command may lose a race only if there was one: something that changed the record, or may have, beside it."""
    for operation in group:
        if operation.outcome != "Conflict" or operation.kind not in ("transfer", "destroy", "change", "reissue"):
            continue
        rivals = [
            rival for rival in group
            if rival is not operation and rival.outcome in ("ok", "unseen") and rival.kind not in ("verify", "read")
            and rival.invoked_ns <= operation.returned_ns and operation.invoked_ns <= rival.returned_ns
        ]  # fmt: skip
        if not rivals:
            raise BrokenHistory(
                f"{operation.subject}: refused with Conflict, and nothing was beside it:\n  {operation}"
            )


def search(subject: str, group: list[Operation], register: Register, configurations_max: int) -> None:
    """Find one order of single steps that explains the group, depth first; raise `BrokenHistory` if there is none."""
    waiting = sorted(group, key=lambda operation: operation.invoked_ns)
    must_happen = sum(operation.outcome != "unseen" for operation in waiting)
    tried: set[tuple[int, frozenset[int], Register]] = set()
    stack: list[tuple[int, frozenset[int], Register, int]] = [(0, frozenset(), register, 0)]
    deepest: tuple[int, int, frozenset[int], Register] = (-1, 0, frozenset(), register)
    while stack:
        first, done, register, seen = stack.pop()
        while first in done:  # keep the set of what is done small: everything before `first` is
            done, first = done - {first}, first + 1
        if seen == must_happen:
            return
        if (first, done, register) in tried:
            continue
        tried.add((first, done, register))
        if len(tried) > configurations_max:
            raise Undecided(f"{subject}: {len(waiting)} operations, {configurations_max} configurations tried")
        if seen > deepest[0]:
            deepest = (seen, first, done, register)
        stack.extend(reversed(next_steps(waiting, first, done, register, seen)))
    raise BrokenHistory(explain(subject, waiting, deepest))


def next_steps(
    waiting: list[Operation], first: int, done: frozenset[int], register: Register, seen: int
) -> list[tuple[int, frozenset[int], Register, int]]:
    """Return the configurations one step on.

    What fits and can never change anything is done at once: it is in nobody's way. What only changes nothing now,
    such as a second detach or the same write, may be needed later.
    """
    steps = []
    for place in next_possible(waiting, first, done):
        operation = waiting[place]
        answered = operation.outcome != "unseen"
        for after in register.steps(operation.kind, operation.outcome, operation.given, operation.answered):
            step = (first, done | {place}, after, seen + answered)
            if after == register and never_changes(operation):
                return [step]
            steps.append(step)
    return steps


def never_changes(operation: Operation) -> bool:
    """Whether an operation with this answer changed nothing, whenever it was done."""
    refused = operation.outcome not in ("ok", "unseen")
    return refused or operation.kind in ("verify", "read") or operation.answered.get("ended") is False


def next_possible(waiting: list[Operation], first: int, done: frozenset[int]) -> list[int]:
    """Return which operations can come next: those invoked before any unfinished one had returned."""
    places, earliest_return = [], NEVER_NS
    for place in range(first, len(waiting)):
        if waiting[place].invoked_ns > earliest_return:
            break
        if place not in done:
            places.append(place)
            earliest_return = min(earliest_return, waiting[place].returned_ns)
    return places


def explain(subject: str, waiting: list[Operation], deepest: tuple[int, int, frozenset[int], Register]) -> str:
    seen, first, done, register = deepest
    stuck = [str(waiting[place]) for place in next_possible(waiting, first, done)]
    return f"{subject}: {seen} operations explained, register {register}, none of these fits next:\n  " + "\n  ".join(
        stuck
    )


def with_replacements(operations: Iterable[Operation]) -> list[Operation]:
    """Add to each opening that it may have ended any other session of that owner: who opens is not told which."""
    operations = list(operations)
    opened = [operation for operation in operations if operation.kind == "open" and operation.outcome == "ok"]
    return operations + [
        Operation(old.subject, "end", new.worker, new.invoked_ns)
        for new in opened
        for old in opened
        if old is not new and old.given["owner"] == new.given["owner"] and old.invoked_ns <= new.returned_ns
    ]


def check_caps(operations: Iterable[Operation], max_sessions: int) -> None:
    """Raise `BrokenHistory` if an owner surely had more than `max_sessions` living sessions at some instant.

    A session surely lives from the return of its opening to the invocation of its last accepted verify.
    """
    opened: dict[str, Operation] = {}
    last_seen_ns: dict[str, int] = {}
    for operation in operations:
        if operation.kind == "open" and operation.outcome == "ok":
            opened[operation.subject] = operation
        if operation.kind == "verify" and operation.answered.get("accepted"):
            last_seen_ns[operation.subject] = max(operation.invoked_ns, last_seen_ns.get(operation.subject, 0))
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for session, opening in opened.items():
        if last_seen_ns.get(session, 0) > opening.returned_ns:
            changes[opening.given["owner"]] += [(opening.returned_ns, 1), (last_seen_ns[session], -1)]
    for owner, moments in changes.items():
        living = 0
        for at, change in sorted(moments):
            living += change
            if living > max_sessions:
                raise BrokenHistory(f"{owner} had {living} living sessions at {at} ns, and may have {max_sessions}")
