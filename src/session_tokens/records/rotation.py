"""What a session remembers of secrets that were replaced with grace, and what is kept under each of those."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

FORMER_MAX: Final = 4
"""How many previous secrets of a session are known; one that is older is as any other string."""

_as_json = json.JSONEncoder(separators=(",", ":")).encode


class Former(NamedTuple):
    """A previous secret of a session.

    Attributes:
        id: of the record that the secret leads to; it names nothing that lives.
        until: up to when it authenticates, in milliseconds; used from then on, it ends the session.
    """

    id: str
    until: int


class Rotation(NamedTuple):
    """How a session came to its present secret with grace; or, in the record of a previous secret, whose that was.

    Attributes:
        at: when it got its present secret, in milliseconds.
        nonce: 128 random bits in hex, of which and a pepper the present secret was made.
        key_id: of that pepper.
        former: its previous secrets, oldest first.
        of: the id of the session whose previous secret leads here; ``None`` in a session.
        presented_until: the ``until`` of the previous secret with which this answer was asked for; it is not kept.
    """

    at: int = 0
    nonce: str = ""
    key_id: str = ""
    former: tuple[Former, ...] = ()
    of: str | None = None
    presented_until: int | None = None

    def until_of(self, id: str) -> int | None:
        """Return up to when the previous secret authenticates whose record has that id; ``None``: it is forgotten."""
        return next((each.until for each in self.former if each.id == id), None)


def rotation_text(rotation: Rotation | None) -> str | None:
    """Return what is kept of a rotation as text."""
    return None if rotation is None else _as_json(rotation[:5])


def rotation_of(text: str | None) -> Rotation | None:
    """Return the rotation of a text.

    Raises:
        ValueError, TypeError: ``rotation_text`` cannot have made it.
    """
    if text is None:
        return None
    at, nonce, key_id, former, of = json.loads(text)
    listed = tuple(Former(id, until + 0) for id, until in former)
    texts = (nonce, key_id, "" if of is None else of, *(each.id for each in listed))
    if not isinstance(at, int) or not all(isinstance(each, str) for each in texts):
        raise ValueError("a text or number of a rotation is none")
    return Rotation(at, nonce, key_id, listed, of)
