"""JSON as records hand it out: dicts and lists that are read like any other, and refuse to be changed.

A record is a copy, so a change of it would be lost without a word. ``dict(data)``, ``list(items)``, ``data | {…}``,
``copy`` and ``deepcopy`` answer plain ones, which are the caller's own.
"""

from __future__ import annotations

import copy
from typing import Any, NoReturn


class _ReadOnly:
    """What both refuse."""

    __slots__ = ()
    remedy: str

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        """Raise ``TypeError``, as Python's own read-only kinds do, and say which call makes the change."""
        raise TypeError(self.remedy)

    __setitem__ = __delitem__ = __ior__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = remove = sort = reverse = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class ReadOnlyDict(_ReadOnly, dict[str, Any]):
    """A dict that is read only."""

    __slots__ = ("remedy",)

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {name: copy.deepcopy(value, memo) for name, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class ReadOnlyList(_ReadOnly, list[Any]):
    """A list that is read only."""

    __slots__ = ("remedy",)

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [copy.deepcopy(value, memo) for value in self]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def read_only(value: Any, remedy: str) -> Any:
    """Return a JSON value whose dicts and lists, at every depth, refuse changes.

    Args:
        value: what ``json.loads`` answered; at most 32 levels deep, as all that is kept.
        remedy: what a refused change says.
    """
    made: ReadOnlyDict | ReadOnlyList
    if value.__class__ is dict:
        made = ReadOnlyDict((name, read_only(inner, remedy)) for name, inner in value.items())
    elif value.__class__ is list:
        made = ReadOnlyList(read_only(inner, remedy) for inner in value)
    else:
        return value
    made.remedy = remedy
    return made
