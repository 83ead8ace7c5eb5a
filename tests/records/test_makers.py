"""What makes a record where nothing is compiled: it does what a call of its class does."""

from __future__ import annotations

import pytest

from session_tokens.records.record import maker_of


class Point:
    """A kind with a field that may be left away."""

    __slots__ = ("name", "x", "y")

    def __init__(self, x: int, y: int, name: str = "origin") -> None:
        self.x = x
        self.y = y
        self.name = name


class KeptPoint(Point):
    """What a point is in the end."""

    __slots__ = ()


def test_each_argument_comes_to_the_field_of_its_name() -> None:
    made = maker_of(Point, KeptPoint)(1, y=2, name="here")

    assert (made.x, made.y, made.name) == (1, 2, "here")
    assert type(made) is KeptPoint


def test_a_default_stays_one() -> None:
    assert maker_of(Point, KeptPoint)(0, 0).name == "origin"


def test_an_argument_that_is_missing_or_unknown_is_refused() -> None:
    make = maker_of(Point)

    with pytest.raises(TypeError):
        make(1)
    with pytest.raises(TypeError):
        make(1, 2, colour="red")


def test_without_another_class_it_is_one_of_its_own_kind() -> None:
    assert isinstance(maker_of(Point)(1, 2), Point)
