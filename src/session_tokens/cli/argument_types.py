"""What arguments of the command line are, as argparse takes types: a mistake is told with the argument's name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

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


duration = _checked(duration_of)
json_value = _checked(json_of)
