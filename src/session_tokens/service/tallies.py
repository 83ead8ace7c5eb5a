"""Counts by name that forget the oldest where there are too many: of failures, of requests, of what was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

NAMES_MAX: Final = 10_000

Tally = tuple[float, float]
"""Since when it is counted, in seconds of the machine's steady clock, and the count."""
Change = Callable[[Tally | None], Tally]
"""Makes of a tally, ``None`` where there is none, the next one."""


class Tallies(Protocol):
    """Counts by name."""

    def change(self, name: str, change: Change) -> Tally:
        """Change one count and return it; nobody else changes it meanwhile."""
        ...


class OwnTallies:
    """Counts of this process.

    Args:
        most: how many there are at the most; the one that was changed longest ago makes room.
    """

    def __init__(self, most: int = NAMES_MAX) -> None:
        self._most = most
        self._tallies: dict[str, Tally] = {}

    def __len__(self) -> int:
        return len(self._tallies)

    def change(self, name: str, change: Change) -> Tally:
        """Change one count and return it."""
        changed = change(self._tallies.pop(name, None))
        if len(self._tallies) >= self._most:
            del self._tallies[next(iter(self._tallies))]
        self._tallies[name] = changed
        return changed
