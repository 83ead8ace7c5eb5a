"""What arguments of the command line are, as argparse takes types: a mistake is told with the argument's name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..errors import InvalidInput
from .exits import UsageError
from .inputs import duration_of, json_of


def _checked(take: Callable[[str], Any]) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        try:
            return take(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def whole_number(text: str) -> int:
    """Return a whole number that is written in digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise argparse.ArgumentTypeError("a whole number is written in digits")
    return int(text)


def instant(text: str) -> int:
    """Return an instant in milliseconds: as such, or as a date with or without a time, in UTC if it names no zone."""
    if text.isascii() and text.isdigit() and len(text) >= 10:
        return whole_number(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("an instant is written 2026-11-28T22:00, or in milliseconds") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


def seconds(text: str) -> float:
    """Return a duration that is not never, from a tenth of a second to an hour."""
    given = duration(text)
    if given is None or not 0.1 <= given <= 3_600:
        raise argparse.ArgumentTypeError("it is 0.1 seconds to an hour")
    return float(given)


def near_cache(text: str) -> float:
    """Return how old an answer may be, in seconds; 0 for none, whatever the environment says."""
    from ..contract.near_cache import bound_of

    given = 0 if text == "0" else duration(text)
    try:
        return bound_of(-1 if given is None else given, {})
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("near_cache is ")) from None


duration = _checked(duration_of)
json_value = _checked(json_of)
