"""What a batch of commits does where it is refused as a whole: each is committed by itself, and has its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...contract.optimistic import Commit
from ...errors import StoreUnavailable
from .pools import Exchange
from .retry import NotExecuted

Outcomes = Sequence[bool | Exception]


def one_by_one(
    commit: Callable[[Sequence[Commit]], Exchange[Outcomes]], commits: Sequence[Commit]
) -> Exchange[Outcomes]:
    """Commit commands one after the other, of which nothing is written so far.

    A server that is gone in the midst of it fails the one command that it was asked for. Raised, it would be for all,
    also for those that are written: they would be told that nothing was done, or be sent again and carried out twice.
    Those that were not asked for any more are run again.
    """
    outcomes: list[bool | Exception] = []
    for one in commits:
        try:
            outcomes += yield from commit([one])
        except StoreUnavailable as error:
            outcomes.append(False if isinstance(error, NotExecuted) else error)
            outcomes += [False] * (len(commits) - len(outcomes))
            break
    return outcomes
