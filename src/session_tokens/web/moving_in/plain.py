"""Reads what other libraries wrote, and nothing that could act: pickles of plain values alone, bounded inflating."""

from __future__ import annotations

import io
import json
import pickle  # only ever through the reader below, which makes plain values and nothing else
import pickletools
import zlib
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, NoReturn
from uuid import UUID, SafeUUID

from ...settings import DATA_BYTES_MAX

BYTES_MAX = 4 * DATA_BYTES_MAX
"""How large a session of another library may be: pickles, escapes and base64 take up to four times as much as ours."""
VALUES_MAX = DATA_BYTES_MAX // 2
"""How many values one may hold, each two bytes of JSON or more; a small pickle can name one list a million times."""
OPCODES_MAX = 3 * VALUES_MAX
"""How many steps its pickle may have: one makes a value, one or two keep it at hand."""

TUPLES_AGAIN_MAX = 16
"""How often a pickle may name a tuple that it made before: each time may double what hashing takes."""


class Unreadable(ValueError):
    """It is not what that library writes, or it is more than plain values; the message repeats nothing of it."""


class _PlainUnpickler(pickle.Unpickler):
    """Makes values of a few plain types; any other name in a pickle is refused before it is imported."""

    PLAIN: ClassVar[frozenset[tuple[str, str]]] = frozenset({
        ("builtins", "set"), ("builtins", "frozenset"), ("__builtin__", "set"), ("__builtin__", "frozenset"),
        ("collections", "OrderedDict"), ("datetime", "date"), ("datetime", "datetime"), ("datetime", "time"),
        ("datetime", "timedelta"), ("datetime", "timezone"), ("decimal", "Decimal"),
    })  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """Return a class by its name, if it is one of the plain ones."""
        if (module, name) == ("_codecs", "encode"):  # how bytes stand in pickles of protocol 2
            return _bytes_of
        if (module, name) == ("uuid", "UUID"):
            return _PlainUUID
        if (module, name) not in self.PLAIN:
            raise Unreadable("its pickle holds more than plain values")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse what is kept elsewhere."""
        raise Unreadable("its pickle refers to what is kept elsewhere")


class _BytesOf:
    """Makes bytes; without attributes, which a pickle could set on a function."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise Unreadable("its pickle holds more than plain values")
        return text.encode("latin1")


_bytes_of = _BytesOf()


class _PlainUUID(UUID):
    """A UUID whose number is one, whatever a pickle says."""

    def __setstate__(self, state: Any) -> None:
        """Take the number."""
        number = state.get("int") if isinstance(state, dict) else None
        if type(number) is not int or not 0 <= number < 1 << 128:
            raise Unreadable("its pickle holds a UUID that is none")
        object.__setattr__(self, "int", number)
        object.__setattr__(self, "is_safe", SafeUUID.unknown)


def plain_pickle(content: bytes) -> Any:
    """Return the value of a pickle.

    Raises:
        Unreadable: it is no pickle, is too large, or holds more than plain values.
    """
    if len(content) > BYTES_MAX:
        raise Unreadable("it is too large")
    try:
        _refuse_tuples_of_tuples(content)
        value = _PlainUnpickler(io.BytesIO(content)).load()
    except Unreadable:
        raise
    except Exception as error:  # a broken pickle raises whatever its opcodes lead to
        raise Unreadable(f"it is no pickle ({type(error).__name__})") from None
    _count(value)
    return value


def _refuse_tuples_of_tuples(content: bytes) -> None:
    """Refuse a pickle whose tuples hold one another many times over: as a key, one is hashed through all of them."""
    places: set[object] = set()
    tuples: set[object] = set()
    again = 0
    before = ""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if number > OPCODES_MAX:
            raise Unreadable("it holds too many values")
        name = opcode.name
        if name == "MEMOIZE" or name.endswith("PUT"):
            place = len(places) if name == "MEMOIZE" else argument
            places.add(place)
            (tuples.add if before.startswith("TUPLE") else tuples.discard)(place)
            continue  # what is on top stays there, and may be kept at another place too
        if name.endswith("GET") and argument in tuples:
            again += 1
            name = "TUPLE"
        if name in ("DUP", "POP", "POP_MARK") or again > TUPLES_AGAIN_MAX:
            raise Unreadable("its pickle names the same tuples too often")
        before = name


def _count(value: Any) -> None:
    """Refuse what would grow without bounds when it is written out."""
    seen, rest = 0, [value]
    while rest:
        seen += 1
        if seen > VALUES_MAX:
            raise Unreadable("it holds too many values")
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            rest += one


def inflated(content: bytes) -> bytes:
    """Return what was compressed by zlib.

    Raises:
        Unreadable: it was not, or is too large.
    """
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(content, BYTES_MAX)
    except zlib.error:
        raise Unreadable("it is not compressed as it says") from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise Unreadable("it is too large, or cut off")
    return text


def json_object(content: bytes | str) -> dict[str, Any]:
    """Return the fields of a JSON text of an object.

    Raises:
        Unreadable: it is none.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("it is no JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("it is no JSON object")
    return value


def as_json(value: Any) -> Any:
    """Return a plain value as JSON has it: instants, UUIDs and decimals as text, tuples and sets as lists, bytes never.

    Raises:
        TypeError: JSON cannot hold it.
    """
    if isinstance(value, dict):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((as_json(each) for each in value), key=str)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be kept in a session")
