"""A dictionary that knows whether it was read, and what tells whether a field of it was changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any, Final, NamedTuple, Self

from ..json_values import json_text
from ..records import JSON
from ..records.compact import compact, read_compact
from ..settings import DATA_BYTES_MAX
from ..validation import encoded_size

SCALARS: Final = frozenset({str, int, bool, type(None)})
"""Types with nothing within that could change, whose values are alike where their JSON is."""


class OwnerField(NamedTuple):
    """Where an application keeps who is logged in: putting it in is a log-in, taking it out a log-out.

    Attributes:
        key: the name of the field.
        owner_of: maps what is in it to the owner.
    """

    key: str
    owner_of: Callable[[Any], str]


NOBODY: Final = (None, "")
"""What says in such a field that nobody is logged in."""


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

    def __ne__(self, other: object) -> bool:
        self.accessed = True
        return super().__ne__(other)

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

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __reversed__(self) -> Iterator[str]:
        self.accessed = True
        return super().__reversed__()

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


def as_it_is(value: Any) -> Any:
    """Return the value: it is JSON."""
    return value


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
        if type(encoded) in SCALARS:
            if type(before) is not type(encoded) or before != encoded:
                changed[field] = encoded
            continue
        text = text_of(encoded)
        if type(before) is not Text or before != text:
            changed[field] = read_compact(text) if text else encoded  # a name that is a number is text from here on
    return changed


def check_field(field: str, value: Any, encode: Callable[[Any], JSON]) -> None:
    """Refuse what could never be written, by the name of its field and where it is put in.

    Raises:
        TypeError: it is no JSON.
        InvalidInput: an integer beyond 64 bits, a lone surrogate, or more levels or bytes than any session may have.
    """
    name = f"the session's field {field[:40]!r}"
    try:
        plain = value if type(value) in SCALARS else read_compact(compact(encode(value)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be kept as JSON: {error}") from None
    json_text(name, plain, DATA_BYTES_MAX, 2)
    encoded_size("the name of a session's field", field)


def with_text_names(value: JSON) -> JSON:
    """Return an object with the names of its fields as JSON writes them: text, though they were numbers."""
    if not isinstance(value, dict):
        return value
    return {name if type(name) is str else name_of(name): with_text_names(each) for name, each in value.items()}


def name_of(name: Any) -> str:
    """Return the name of a field as ``json.dumps`` writes it.

    Raises:
        TypeError: it is none of those that it takes.
    """
    text: str = next(iter(json.loads(json.dumps({name: None}))))
    return text


def text_of(value: JSON) -> str:
    """Return a field as it is compared; what is no JSON is refused when it is written, by the field's name."""
    try:
        return compact(value)
    except (TypeError, ValueError):
        return ""
