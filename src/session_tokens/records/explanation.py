"""Why something is as it is, in sentences for the people who run a service."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .session import JSON

State = Literal["active", "detached", "unassigned", "ended", "unreadable", "unknown"]


class Explanation(NamedTuple):
    """What is known of a session, token or service key; never a secret.

    Attributes:
        id: its public id.
        kind: ``session``, ``token`` or ``key``.
        state: ``active``, ``detached``, ``unassigned``, ``ended``, ``unreadable`` (a damaged record, or a pepper that
            was not given) or ``unknown``: neither the store nor its audit log knows it any more.
        reason: why it ended, as in events; ``None`` where it did not, or nobody knows.
        since: since when it is in that state, in milliseconds since the epoch; ``None`` where nobody knows.
        owner: whose it is, or was.
        because: sentences that say how it came to that.
    """

    id: str
    kind: str
    state: State
    reason: str | None
    since: int | None
    owner: str | None
    because: tuple[str, ...]

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, which an unassigned token has not."""
        return self.state in ("active", "detached", "unassigned")

    def to_dict(self) -> dict[str, JSON]:
        """Return it for JSON."""
        return {**self._asdict(), "because": list(self.because)}
