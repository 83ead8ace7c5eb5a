"""How a value or the stamp of a bucket shows that a commit over several partitions holds it; see ``joint``.

The first digit of a stamp is a letter: of ``a`` to ``j`` where it is in doubt what stands there, as the commit writes
it and may be done by now; of ``k`` to ``t`` where the commit only rests on it. What is to stay absent until then has a
placeholder, whose letter is ``z`` or ``y``. The stamp of a bucket is negative, and -1 where there is none.
"""

from __future__ import annotations

_ABSENT_FROM = ord("y")
_DIGITS = bytes.maketrans(b"abcdefghijklmnopqrst", b"0123456789" * 2)
_NO_BUCKET = b"-1"


def is_held(value: bytes | None) -> bool:
    """Whether a value or a stamp is marked."""
    return value is not None and (value[:1] >= b"a" or value[:1] == b"-")


def is_in_doubt(value: bytes | None) -> bool:
    """Whether something else may stand there by now: a bucket does not show whether it is written."""
    return value is not None and ((b"a" <= value[:1] <= b"j") or value[:1] in (b"z", b"-"))


def unheld(value: bytes | None) -> bytes | None:
    """Return a value or a stamp as it was before it was marked, ``None`` for what was not there."""
    if value is None or not is_held(value):
        return value
    if value[:1] == b"-":
        return None if value == _NO_BUCKET else value[1:]
    return None if value[0] >= _ABSENT_FROM else value[:1].translate(_DIGITS) + value[1:]
