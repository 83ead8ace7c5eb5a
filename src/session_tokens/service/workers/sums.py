"""What several workers counted, added up: the same whichever of them is asked, and no counter goes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Sample = list[Any]
"""Its name, its labels as an object, its value."""
Family = list[Any]
"""Its name, what it counts in words, its type, its samples."""
Counts = list[Family]

GREATEST: Final = frozenset({"session_tokens_unreadable_records", "session_tokens_events_held_back_seconds"})
"""Gauges of what each worker sees of the same store: of those the greatest counts."""
GAUGE: Final = "gauge"


def added_up(counted: Iterable[Counts]) -> Counts:
    """Return the sums; of gauges in ``GREATEST`` the greatest, and of when something was first counted the earliest."""
    families: dict[str, tuple[str, str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
    for counts in counted:
        for name, words, kind, samples in counts:
            _, _, values = families.setdefault(name, (words, kind, {}))
            for sample, labels, value in samples:
                place = (sample, tuple(sorted(labels.items())))
                values[place] = _joined(name, sample, values[place], value) if place in values else value
    return [
        [name, words, kind, [[sample, dict(labels), value] for (sample, labels), value in values.items()]]
        for name, (words, kind, values) in families.items()
    ]


def without_gauges(counts: Counts) -> Counts:
    """Return what stays counted when a worker is gone; how it was is no more."""
    return [family for family in counts if family[2] != GAUGE]


def _joined(family: str, sample: str, one: float, other: float) -> float:
    if sample.endswith("_created"):
        return min(one, other)
    return max(one, other) if family in GREATEST else one + other
