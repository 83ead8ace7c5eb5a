"""What the kinds of record share: equality by content, a copy with changes, and that nobody assigns to one."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from ..compiler_hints import mypyc_attr


@mypyc_attr(acyclic=True)
class Record:
    """Named slots, equality by content, a copy with changes.

    What many records of a kind have alike is kept once, in their ``traits`` (``records/traits.py``), which are the last
    of a record's own fields.
    """

    __slots__ = ()
    _compared: ClassVar[tuple[str, ...]] = ()
    _values: ClassVar[attrgetter[tuple[Any, ...]]]
    _places: ClassVar[dict[str, int]] = {}

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash((self.__class__, getattr(self, self._compared[0])))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        places = self._places
        if changes.keys() <= places.keys():  # as mostly: all in one step, however many they are
            return self._made(*map(changes.get, places, self._values(self)))
        values = list(self._values(self))
        traits: dict[str, Any] = {}
        for name, value in changes.items():
            place = places.get(name)
            if place is not None:
                values[place] = value
            elif getattr(values[-1], name) != value:  # mostly they stay, and looking for others takes long
                traits[name] = value
        if traits:
            values[-1] = values[-1].replace(**traits)
        return self._made(*values)

    @classmethod
    def _made(cls, *values: Any) -> Self:
        """Return the record of its own fields."""
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


def frozen(self: object, name: str, value: object = None) -> NoReturn:
    """Refuse to assign to a record; stands where Python looks for assignment."""
    raise AttributeError(f"{type(self).__name__} is frozen; change it through the API (no {name} = …)")


Kind = TypeVar("Kind", bound=Record)


def frozen_kind(kind: type[Kind]) -> type[Kind]:
    """Return the class that a record takes as its last step in being made: the same, but it refuses assignment."""
    names = {"__slots__": (), "__doc__": kind.__doc__, "__module__": __package__}
    return type(kind.__name__, (kind,), {**names, "__setattr__": frozen, "__delattr__": frozen})


def maker_of(kind: type[Any], kept: type[Any] | None = None) -> Callable[..., Any]:
    """Return a function that does what a call of a class does, in two thirds of the instructions.

    Python comes to the ``__init__`` of a class by way of C, which takes nearly as long as all that it does. This
    function is written from the names of its arguments, as ``namedtuple`` writes its own; each is assigned to the field
    of its name, which is all that such an ``__init__`` may do.

    Args:
        kind: the class.
        kept: the class that what is made takes in the end, where that is another.
    """
    code = kind.__init__.__code__
    names = code.co_varnames[1 : code.co_argcount]
    lines = [f"def make({', '.join(names)}):", "made = blank()", *(f"made.{name} = {name}" for name in names)]
    if kept is not None:
        lines.append("made.__class__ = kept")
    blank = type(kind.__name__, (kind,), {"__slots__": (), "__init__": object.__init__})
    scope: dict[str, Any] = {"blank": blank, "kept": kept}
    exec("\n    ".join([*lines, "return made"]), scope)  # noqa: S102  # of names that stand in our own source
    make: Callable[..., Any] = scope["make"]
    make.__defaults__ = kind.__init__.__defaults__
    return make
