"""What an application gives ``TokenTables``: strings that name, or may name, sessions, tokens and owners, and more."""

from __future__ import annotations

from collections.abc import Callable

from .. import validation as inputs
from ..errors import InvalidInput
from ..settings import NAME_BYTES_MAX, duration_ms

RESERVED = "\x1f"
"""Strings that begin with it are the mirror's own keys in the application's DB."""

TokenCreator = Callable[[str | None], str]


def written_name(name: str, string: object) -> str:
    r"""Return an application's string if a session or token may be named so.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: it is empty, too long, begins with ``\x1f`` or holds lone surrogates.
    """
    if type(string) is str and string >= " " and len(string) <= NAME_BYTES_MAX and string.isascii():
        return string  # the common case, recognised quickly
    if not isinstance(string, str):
        raise TypeError(f"{name} is a str, not {type(string).__name__}")
    if not string or string[0] == RESERVED:
        raise InvalidInput(f"{name} is not empty and does not begin with \\x1f")
    size = inputs.encoded_size(name, string)
    if size > NAME_BYTES_MAX:
        raise InvalidInput(f"{name} is {size} bytes of UTF-8; at most {NAME_BYTES_MAX} are kept")
    return inputs.plain(string)


def can_be_name(string: object) -> bool:
    """Whether a session or token may be named so; what may not is unknown, and the application's DB is not asked.

    Raises:
        TypeError: it is not a ``str``.
    """
    if not isinstance(string, str):
        raise TypeError(f"a token is a str, not {type(string).__name__}")
    return bool(string) and string[0] != RESERVED and is_utf8(string) and len(string.encode()) <= NAME_BYTES_MAX


def is_utf8(string: str) -> bool:
    """Whether a string can be encoded: one with lone surrogates cannot, and names nothing."""
    try:
        string.encode()
    except UnicodeEncodeError:
        return False
    return True


def can_be_owner(owner: object) -> bool:
    """Whether a session may be of that owner; of any other none is.

    Raises:
        TypeError: it is not a ``str``.
    """
    try:
        inputs.owner_of("ownership_key", owner)
    except InvalidInput:
        return False
    return True


def given_owner(owner: object) -> str:
    """Return an owner to look for: any ``str``, those that can never be one find nothing.

    Raises:
        TypeError: it is not a ``str``.
    """
    if not isinstance(owner, str):
        raise TypeError(f"an owner is a str, not {type(owner).__name__}")
    return inputs.plain(owner)


def checked_creator(token_creator: object) -> TokenCreator | None:
    """Return a token creator, or ``None`` for the default.

    Raises:
        TypeError: it cannot be called.
    """
    if token_creator is not None and not callable(token_creator):
        raise TypeError("a token creator is a function of the prefix, or None for the default")
    return token_creator


def db_timeout_of(db_timeout: object) -> float | None:
    """Return for how many seconds a call of the application's DB may take, ``None`` for no limit.

    Raises:
        TypeError, InvalidInput: it is no duration.
    """
    if db_timeout is None:
        return None
    if isinstance(db_timeout, bool) or not isinstance(db_timeout, int | float):
        raise TypeError(f"db_timeout is seconds or None, not {type(db_timeout).__name__}")
    milliseconds = duration_ms("db_timeout", db_timeout)
    return None if milliseconds is None else milliseconds / 1000
