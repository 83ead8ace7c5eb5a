"""JSON with one meaning: a text that two parsers could read differently is refused before anything looks at it.

Refused are: names given twice, NaN and infinity (also ``1e400``), integers beyond 64 bits, more than 32 levels, byte
order marks, any encoding but UTF-8, lone surrogates, comments, trailing commas and whatever else JSON does not have.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from ..settings import JSON_DEPTH_MAX, VALUE_BYTES_MAX
from ..validation import INTEGER_MAX

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or one that never ends: were that no match, each quote in it would be tried as a beginning again."""
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
BRACKETS_MAX = VALUE_BYTES_MAX + 64
"""A value, each bracket of it a byte, and what stands around it in a body."""
DEPTH_MAX = JSON_DEPTH_MAX + 2
"""That of a value or of data, and of what stands around it: an object, and the list of a call's arguments."""
SMALL = 512
SHAPES = bytes(48 if byte in b"0123456789" else 101 if byte in b"eE" else 32 for byte in range(256))
"""Makes every digit a 0, every e an e and the rest blank."""
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJSON(ValueError):
    """The text is no JSON, or has no single meaning; the message says why and repeats nothing of it."""


def decode(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises:
        NotJSON: see above.
    """
    if _depth(body) > DEPTH_MAX:
        raise NotJSON(f"it is nested deeper than {DEPTH_MAX} levels")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJSON("it is not in UTF-8") from None
    if text.startswith("\ufeff"):
        raise NotJSON("it begins with a byte order mark")
    try:
        value = (_ASKING if _has_odd_number(body) else _PLAIN).decode(text)
    except json.JSONDecodeError as error:
        raise NotJSON(f"it is no JSON (line {error.lineno}, column {error.colno})") from None
    if ESCAPED_SURROGATE.search(text):
        _refuse_lone_surrogates(value)
    return value


def _depth(body: bytes) -> int:
    """Return how deep brackets are nested outside strings, as far as that matters; 0 where there are too few."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return 0
    depth = 0
    brackets = STRING.sub(b"", body).translate(None, NO_BRACKETS)
    if len(brackets) > BRACKETS_MAX:
        raise NotJSON("it holds more arrays and objects than are ever kept")
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            return depth
    return 0


def _has_odd_number(body: bytes) -> bool:
    """Whether a number may be out of range: it has an exponent or 19 digits. Else none need be checked by itself.

    That takes a third off a body of thousands of numbers; a small one is not worth the look.
    """
    if len(body) <= SMALL:
        return True
    shapes = body.translate(SHAPES)
    return b"0e" in shapes or b"0" * 19 in shapes


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NotJSON("it holds lone surrogates, which no encoding can carry") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJSON("an object has a name twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -INTEGER_MAX - 1 <= (number := int(digits)) <= INTEGER_MAX:
        raise NotJSON("an integer is beyond 64 bits")
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJSON("a number is beyond what a double holds")
    return number


def _constant(name: str) -> NoReturn:
    raise NotJSON("NaN and infinity are no JSON")


_PLAIN = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_ASKING = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant)
