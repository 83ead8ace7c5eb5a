"""What a check of a store on a server says of each thing that is not as it should be."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """Something in the store that is not as it should be.

    Attributes:
        kind: ``session``, ``token``, ``owner``, ``idempotency``, ``setting`` or ``service key``; or of what they rest
            on: ``index``, ``function``, ``sequence``, ``table``.
        id: of the record, or the name of the thing.
        text: what is wrong, for people; never a secret.
        fixed: what was done about it, ``None`` where nothing was.
    """

    kind: str
    id: str
    text: str
    fixed: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.text}" + (f" ({self.fixed})" if self.fixed else "")
