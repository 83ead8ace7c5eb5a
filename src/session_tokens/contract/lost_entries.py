"""What stands in the place of an owner's entry that was lost: what ended stays ended, whatever the entry said.

An entry says which sessions ended by one write of it, and they keep no note of that themselves. Without it, which of
them live is not known any more. So all end, and log-ins after that are good: nobody who was logged out comes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..records import OwnerEntry, Session
from .changes import Changes

EPOCH_MAX = 2**53
"""Above any epoch that was ever counted; a row that nobody signed may name any number."""
WRITTEN_ANEW = "written anew: all sessions ended; disable the owner again if that is what they were"
"""What a check says of such an entry."""


def end_after_loss(
    owner: str, known: OwnerEntry | None, epochs: Iterable[object], first: Session | None, now: int
) -> Changes:
    """Return what is written where an owner's entry was lost: one by which all of their sessions end at ``now``.

    Args:
        owner: whose.
        known: a genuine entry that is older than the lost one; whether the owner is disabled is taken from it.
        epochs: as the owner's session records have them, also those that cannot be read: what is none is passed over.
        first: one of the owner's sessions, at which the sweeper will look first and so find the others.
        now: the instant, in milliseconds.
    """
    told = [epoch for epoch in epochs if isinstance(epoch, int) and 0 <= epoch <= EPOCH_MAX]
    latest = max(told, default=0) if known is None else max(known.epoch, *told)
    disabled_at = None if known is None else known.disabled_at
    changes = Changes()
    changes.entries.append((known, OwnerEntry(owner, latest + 1, disabled_at, now, "revoked")))
    if first is not None and first.sweep_at != 0:
        changes.sessions.append((first, first.replace(sweep_at=0)))
    return changes
