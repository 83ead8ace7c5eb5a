"""Make the same keys, owners and values on every side, so that no side is given shorter or easier strings.

`peers/npm_tokens.cjs` makes the same strings. Each call makes a new `str`: a key that arrives with a request is equal
to the stored one but is not the same object, and its hash has not been computed yet.
"""

from __future__ import annotations

import hashlib
import random

VALUE = '{"asset":"film-0042","rights":"play"}'
DAY_MS = 24 * 60 * 60 * 1000


def session_name(number: int) -> str:
    """Name session `number`: 8 + 32 characters."""
    return f"session-{_digest('s', number)}"


def token_name(number: int | str) -> str:
    """Name token `number`: 6 + 32 characters."""
    return f"token-{_digest('t', number)}"


def owner_name(number: int) -> str:
    """Name the owner of session `number`."""
    return f"owner-{number}"


def picks(count: int, population: int) -> list[int]:
    """Choose `count` members of the population in an order that the processor cannot guess."""
    chosen = []
    at = random.getrandbits(32)
    for _ in range(count):
        at = (at * 1664525 + 1013904223) & 0xFFFFFFFF
        chosen.append((at >> 4) % population)
    return chosen


def _digest(kind: str, number: int | str) -> str:
    return hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()
