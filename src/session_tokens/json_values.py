"""JSON values and session data that callers give are checked here, once, and become the text that is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .crypto.secret_form import begins_with_secret
from .errors import InvalidInput
from .records import JSON
from .records.compact import compact, read_compact
from .settings import JSON_DEPTH_MAX, VALUE_BYTES_MAX
from .validation import INTEGER_MAX, encoded_size, plain

ITEM_BYTES, KEY_BYTES = len("0,"), len('"":0,')
"""The least that an item of a list and a field of an object take: too many are refused before each is read."""
DATA_REMEDY = "keep large data elsewhere, or set max_data_bytes"


def value_of(name: str, given: object) -> tuple[str, bool]:
    """Return a value as it is stored: its text, and whether that is JSON (a ``str`` is kept verbatim).

    Raises:
        TypeError: it is no JSON value.
        InvalidInput: it is more than 16 KiB, too deep, or holds NaN, infinity, huge integers or lone surrogates.
    """
    if isinstance(given, str):
        size = len(given) if given.isascii() else encoded_size(name, given)
        if size > VALUE_BYTES_MAX:
            raise InvalidInput(
                f"{name} is {size} bytes of UTF-8; at most {VALUE_BYTES_MAX} are kept, store a reference"
            )
        return plain(given), False
    return json_text(name, given), True


def token_value_of(name: str, given: object) -> tuple[str, bool]:
    """Return a token's value as ``value_of`` does; one that begins with a secret of ours is refused.

    Values are kept and shown as they are, so that who reads the store could use the secret.
    """
    if isinstance(given, str) and begins_with_secret(given):
        raise InvalidInput(f"{name} begins with a secret, which would be kept and shown; keep its id")
    return value_of(name, given)


def json_text(
    name: str, given: object, bytes_max: int = VALUE_BYTES_MAX, depth: int = 1, remedy: str = "store a reference"
) -> str:
    """Return any JSON value as compact JSON text of at most ``bytes_max``; see ``value_of`` for what is refused.

    Args:
        depth: the level at which it will stand, 1 for what stands by itself.
        remedy: what to do about one that is too large.
    """
    _check_json(name, given, depth, bytes_max)
    text = compact(given)
    size = len(text) if text.isascii() else encoded_size(name, text)
    if size > bytes_max:
        raise InvalidInput(f"{name} is {size} bytes of JSON; at most {bytes_max} are kept, {remedy}")
    return text


def _check_json(name: str, given: object, depth: int, bytes_max: int) -> None:
    if given is None or isinstance(given, str | bool):
        return
    if isinstance(given, int):
        if not -INTEGER_MAX - 1 <= given <= INTEGER_MAX:
            raise InvalidInput(f"{name} holds an integer beyond 64 bits; write it as a string")
        return
    if isinstance(given, float):
        if given != given or given in (float("inf"), float("-inf")):
            raise InvalidInput(f"{name} holds NaN or infinity, which JSON does not have")
        return
    if depth > JSON_DEPTH_MAX:
        raise InvalidInput(f"{name} is nested deeper than {JSON_DEPTH_MAX} levels (or in itself); flatten it")
    if isinstance(given, list | tuple):
        if len(given) > bytes_max // ITEM_BYTES:
            raise InvalidInput(f"{name} is longer than {bytes_max // ITEM_BYTES} items; store a reference")
        for item in given:
            _check_json(name, item, depth + 1, bytes_max)
    elif isinstance(given, dict):
        if len(given) > bytes_max // KEY_BYTES:
            raise InvalidInput(f"{name} has more than {bytes_max // KEY_BYTES} keys; store a reference")
        for key, item in given.items():
            if not isinstance(key, str):
                raise TypeError(f"{name} has a key that is no str; JSON objects have only those")
            _check_json(name, item, depth + 1, bytes_max)
    else:
        raise TypeError(f"{name} holds a {type(given).__name__}, which is no JSON value; write it as one, such as text")


def data_changes_of(
    given: object, removed: object = (), bytes_max: int = VALUE_BYTES_MAX, name: str = "changes"
) -> dict[str, str | None]:
    """Return changes of session data as field → JSON text, ``None`` for a field that shall go.

    Args:
        given: field → JSON value; ``None`` is JSON's null.
        removed: names of fields that shall go.
        bytes_max: what the session's data may be as JSON text.
        name: what the changes are called, for the error.

    Raises:
        TypeError: they are no mapping of ``str`` to JSON values, or ``removed`` is no collection of ``str``.
        InvalidInput: a field's name or value can never be kept, or one is written and removed at once.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is a dict of field → JSON value, not {type(given).__name__}")
    if isinstance(removed, str | bytes | Mapping) or not isinstance(removed, Collection):
        raise TypeError(f"removed is a list of fields' names, not {type(removed).__name__}")
    if len(given) + len(removed) > bytes_max:
        raise InvalidInput(f"{name} has more fields than a session's data can hold")
    changes: dict[str, str | None] = {}
    for field, value in given.items():
        _check_field(field)
        changes[field] = json_text(f"the field {field[:40]!r}", value, bytes_max, 2, DATA_REMEDY)
    for field in removed:
        _check_field(field)
        if field in given:
            raise InvalidInput("a field is written and removed at once; do one of them")
        changes[field] = None
    return changes


def _check_field(field: object) -> None:
    if not isinstance(field, str):
        raise TypeError("a field's name is a str")
    if not field.isascii():
        encoded_size("a field's name", field)


def data_of(given: object, bytes_max: int) -> dict[str, JSON]:
    """Return the data of a new session: a JSON object of at most ``bytes_max``; see ``data_changes_of``."""
    changes = data_changes_of(given, (), bytes_max, "data")
    json_text("data", dict(given), bytes_max, 1, DATA_REMEDY)  # type: ignore[call-overload]  # it is a mapping
    return {field: read_compact(text) for field, text in changes.items() if text is not None}
