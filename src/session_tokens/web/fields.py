"""A dictionary that knows whether it was read, and what tells whether a field of it was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any, Final, Self

from ..records import JSON
from ..records.compact import compact

SCALARS: Final = frozenset({str, int, bool, type(None)})
"""Types with nothing within that could change, whose values are alike where their JSON is."""


class TrackedFields(dict[str, Any]):
    """Fields that know whether anybody read them.

    It is a ``dict`` and no other mapping, so that ``json.dumps`` and frameworks take it for one.

    Attributes:
        accessed: whether the application read it: the response then differs from browser to browser.
    """

    __slots__ = ("accessed",)

    def __init__(self) -> None:
        self.accessed = False

    def mark_accessed(self) -> None:
        """Note that the application read it."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Say that the application changed it, which is noticed without it."""
        self.accessed = True

    def __getitem__(self, field: str) -> Any:
        self.accessed = True
        return super().__getitem__(field)

    def __contains__(self, field: object) -> bool:
        self.accessed = True
        return super().__contains__(field)

    def __iter__(self) -> Iterator[str]:
        self.accessed = True
        return super().__iter__()

    def __len__(self) -> int:
        self.accessed = True
        return super().__len__()

    def __delitem__(self, field: str) -> None:
        self.accessed = True
        super().__delitem__(field)

    def __eq__(self, other: object) -> bool:
        self.accessed = True
        return super().__eq__(other)

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field, ``default`` where it is not there."""
        self.accessed = True
        return super().get(field, default)

    def keys(self) -> Any:
        """Return the names of the fields."""
        self.accessed = True
        return super().keys()

    def values(self) -> Any:
        """Return the values of the fields."""
        self.accessed = True
        return super().values()

    def items(self) -> Any:
        """Return the fields."""
        self.accessed = True
        return super().items()

    def pop(self, field: str, *default: Any) -> Any:
        """Take a field out and return it, or ``default`` where it is not there."""
        self.accessed = True
        return super().pop(field, *default)

    def popitem(self) -> tuple[str, Any]:
        """Take the field out that was put in last."""
        self.accessed = True
        return super().popitem()

    def setdefault(self, field: str, default: Any = None) -> Any:
        """Return a field, which becomes ``default`` where it is not there."""
        if field not in self:
            self[field] = default
        return self[field]

    def update(self, *others: Any, **fields: Any) -> None:
        """Put many fields in."""
        for field, value in dict(*others, **fields).items():
            self[field] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc]
        self.update(other)
        return self

    def copy(self) -> dict[str, Any]:
        """Return the fields as a dictionary of its own."""
        return dict(self.items())


class Text(str):
    """What a field is compared by that is no scalar: its JSON."""

    __slots__ = ()


def holds_the_same(fields: dict[str, Any], kept: dict[str, JSON]) -> bool:
    """Whether a dictionary has the very fields of another and in them the very objects, whose types so are the same."""
    if dict.__len__(fields) != len(kept) or not all(map(is_, dict.values(fields), kept.values())):
        return False
    return all(map(is_, dict.__iter__(fields), kept))


def kept_of(value: JSON) -> JSON:
    """Return what a field is compared by later: itself, or its JSON where something within may change."""
    return value if type(value) in SCALARS else Text(text_of(value))


def changed_of(
    fields: Iterable[tuple[str, Any]], kept: dict[str, JSON], encode: Callable[[Any], JSON]
) -> dict[str, JSON]:
    """Return those fields, encoded, that are new or another than what ``kept_of`` was given."""
    changed: dict[str, JSON] = {}
    for field, value in fields:
        before = kept.get(field, kept)  # no field is kept as the dictionary of them all
        if value is before:  # the very scalar that was read
            continue
        encoded = value if type(value) in SCALARS else encode(value)
        if before is kept or not _is_kept(before, encoded):
            changed[field] = encoded
    return changed


def _is_kept(kept: JSON, value: JSON) -> bool:
    """Whether a field is what ``kept_of`` was given."""
    if type(value) in SCALARS:
        return type(kept) is type(value) and kept == value
    return type(kept) is Text and kept == text_of(value)


def text_of(value: JSON) -> str:
    """Return a field as it is compared; what is no JSON is refused when it is written, by the field's name."""
    try:
        return compact(value)
    except (TypeError, ValueError):
        return ""
