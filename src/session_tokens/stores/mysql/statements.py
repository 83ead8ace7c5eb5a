"""Statements as text, and several of them in one packet: what an exchange with MariaDB or MySQL yields.

Values stand in the text as numbers, ``NULL`` or hexadecimal literals, which no character set, collation or ``sql_mode``
changes and out of which nothing can escape. Text is kept as the bytes of its UTF-8, lone surrogates included: what is
compared and ordered by its bytes is compared and ordered as Python does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Rows = Sequence[tuple[Any, ...]]

NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000"
"""The instant at which a statement begins, in milliseconds on the server's clock, whatever time zone is set."""


class Packet(NamedTuple):
    """Statements that travel together; each has its rows in the answer.

    The server carries them out in their order, and none after one that fails.

    Attributes:
        statements: their texts.
        lasts: whether what they do may last: then nobody knows what became of them if no answer comes.
    """

    statements: Sequence[str]
    lasts: bool = False


def literal(value: Any) -> str:
    """Return text, bytes of it, a number or ``None`` as it stands in a statement."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    return f"X'{value.hex()}'" if isinstance(value, bytes) else str(int(value))


def literals(values: Iterable[str | int | None]) -> str:
    """Return values as they stand in a list."""
    return ", ".join(map(literal, values))


def plain(value: Any) -> Any:
    """Return a value as it was before ``literal``; bytes that nobody of ours wrote become text that fails its MAC."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value.decode("utf-8", "backslashreplace")
