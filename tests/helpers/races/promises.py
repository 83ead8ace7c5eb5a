"""What is promised of a store whose servers fail, judged over a history of processes that used it meanwhile.

One order of single steps (``history``) is more than a fail-over can keep: who reads what no replica has confirmed yet
may read what is gone afterwards. Two things hold all the same. *Lost*: what was acknowledged is as it was said, judged
by all commands that were carried out, or may have been, and by what is there at the end. *Alive again*: no secret
opens anything once the command that ended it was acknowledged, whoever asks and whatever has failed.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.helpers.races.history import BrokenHistory, Operation
from tests.helpers.races.processes import judge
from tests.helpers.races.registers import TokenRegister

AT_THE_END = " at the end"
"""How the name of a worker ends that looks when all has healed and nobody commands any more."""
LOOKS = ("verify", "read")
ENDING = frozenset("issue transfer claim reissue unassign destroy open rotate end".split())
"""Kinds of commands after which no secret opens that did before."""


@dataclass
class Ended:
    """What ended the secrets of one token or session, as it was acknowledged."""

    acknowledged_ns: list[int] = field(default_factory=list)
    latest_begin_ns: list[int] = field(default_factory=list)
    latest_epoch: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, commands: Iterable[Operation]) -> Ended:
        """Return it as it was at the instant of each acknowledgement."""
        commands = sorted(commands, key=lambda command: command.returned_ns)
        return cls(
            [command.returned_ns for command in commands],
            list(itertools.accumulate((command.invoked_ns for command in commands), max)),
            list(itertools.accumulate((command.answered.get("epoch", -1) for command in commands), max)),
        )

    def before(self, instant_ns: int, made_ns: int, epoch: int | None) -> bool:
        """Whether a secret that was made before an instant was surely ended before another."""
        known = bisect_left(self.acknowledged_ns, instant_ns)
        if not known:
            return False
        is_older = epoch is not None and epoch < self.latest_epoch[known - 1]
        return is_older or made_ns < self.latest_begin_ns[known - 1]


def alive_again(operations: Iterable[Operation], *, bound_s: float = 0) -> list[str]:
    """Return the verifications that accepted a secret longer than a bound after its end was acknowledged."""
    bound_ns = int(bound_s * 1e9)
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.outcome == "ok":
            groups[operation.subject].append(operation)
    found = []
    for subject, group in groups.items():
        commands = [each for each in group if each.kind in ENDING and each.answered.get("ended") is not False]
        ended = Ended.of(commands)
        made = {each.answered["secret"]: each for each in commands if "secret" in each.answered}
        for look in group:
            if look.kind in ("verify", "watch") and look.answered["accepted"]:
                maker = made.get(look.given["secret"])
                made_ns, epoch = (0, 0) if maker is None else (maker.returned_ns, maker.answered.get("epoch"))
                if ended.before(look.invoked_ns - bound_ns, made_ns, epoch):
                    found.append(f"{subject}: {look}")
    return found


def lost(operations: Iterable[Operation], start: dict[str, TokenRegister]) -> list[str]:
    """Return why acknowledged commands and what is there at the end do not fit together, for each such subject."""
    return unexplained(
        [
            each for each in operations
            if (each.outcome in ("ok", "unseen") and each.kind not in LOOKS) or each.worker.endswith(AT_THE_END)
        ],
        start,
    )  # fmt: skip


def unexplained(operations: Iterable[Operation], start: dict[str, TokenRegister]) -> list[str]:
    """Return why no order of single steps explains a token or a session, for each of which none does."""
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        groups[operation.subject].append(operation)
    found = []
    for group in groups.values():
        try:
            judge(group, start)
        except BrokenHistory as why:
            found.append(str(why))
    return found
