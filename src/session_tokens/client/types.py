"""Whether the arguments of a command are of the types that its signature names; a service would tell it as bad input.

What a signature does not name in so few words, such as a duration or a price, is checked where it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from types import NoneType
from typing import Any

Check = Callable[[str, Any], None]


def _of(*kinds: type, told: str) -> Check:
    def check(name: str, given: Any) -> None:
        if not isinstance(given, kinds) or (isinstance(given, bool) and bool not in kinds):
            raise TypeError(f"{name} is {told}, not {type(given).__name__}")

    return check


def _texts(name: str, given: Any) -> None:
    _of(Collection, told="a list of texts")(name, given)
    for one in [given] if isinstance(given, str) else given:
        if not isinstance(one, str) or one is given:
            raise TypeError(f"{name} is a list of texts, not {type(one).__name__}")


def _text_or_texts(name: str, given: Any) -> None:
    if given is not None and not isinstance(given, str):
        _texts(name, given)


CHECKS: Mapping[str, Check] = {
    "str": _of(str, told="a str"),
    "str | None": _of(str, NoneType, told="a str"),
    "str | None | Unset": _of(str, NoneType, told="a str"),
    "int": _of(int, told="an int"),
    "int | None": _of(int, NoneType, told="an int"),
    "bool": _of(bool, told="True or False"),
    "bool | None": _of(bool, NoneType, told="True or False"),
    "bool | Unset": _of(bool, told="True or False"),
    "Mapping[str, JSON]": _of(Mapping, told="a dict of field → JSON value"),
    "Mapping[str, JSON] | None": _of(Mapping, NoneType, told="a dict of field → JSON value"),
    "Collection[str]": _texts,
    "str | Sequence[str] | None": _text_or_texts,
}
"""How an argument is checked, by what the signature says of it."""


def checks_of(parameters: Mapping[str, Parameter]) -> dict[str, Check]:
    """Return the check of each parameter that has one."""
    named = {name: CHECKS.get(str(parameter.annotation)) for name, parameter in parameters.items()}
    return {name: check for name, check in named.items() if check is not None}
