"""Writes JSON as compact text, and reads what was written so; ``json.dumps`` takes longer to begin than to write."""

from __future__ import annotations

import json
from typing import Any

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_read = json.JSONDecoder().raw_decode


def compact(value: object) -> str:
    """Return a value as JSON without white space.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    return int.__repr__(value) if type(value) is int else _write(value)


def read_compact(text: str) -> Any:
    """Return the value of a text that ``compact`` wrote.

    Raises:
        ValueError: the text is no JSON.
    """
    return _read(text)[0]
