"""Atomic changes of a session field (add, merge, append, drop): of two requests at once, neither change is lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

Kind = Literal["add", "merge", "append", "drop"]


class Step(NamedTuple):
    """A change that builds on what is there: a number to add, an object to merge, a list of what to append or drop."""

    kind: Kind
    value: Any


def taken(base: Any, step: Step) -> Any:
    """Return a field after a step; one that is not there is 0, an empty object or an empty list.

    Raises:
        TypeError: what it holds is not of that kind.
    """
    if step.kind == "add":
        number = 0 if base is None else base
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"it holds a {type(base).__name__}, which nothing can be added to")
        return number + step.value
    if step.kind == "append":
        return [*(base if isinstance(base, list) else []), *step.value]
    if step.kind == "drop":
        left = list(base) if isinstance(base, list) else []
        for each in step.value:
            if each in left:
                left.remove(each)
        return left
    if not isinstance(base, dict) and base is not None:
        raise TypeError(f"it holds a {type(base).__name__}, which no object can be merged into")
    return merged(base or {}, step.value)


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the fields of another one put in; objects within both are merged, too."""
    result = dict(base)
    for field, value in patch.items():
        before = result.get(field)
        result[field] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def retaken(base: Any, steps: Iterable[Step], otherwise: Any) -> Any:
    """Return a field after some steps, ``otherwise`` where it holds what they cannot be taken from."""
    try:
        for step in steps:
            base = taken(base, step)
    except TypeError:
        return otherwise
    return base
