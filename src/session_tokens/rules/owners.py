"""The rules of owners: the end of all their sessions, being disabled. Their cap is in ``caps``."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.queries import Count, Get, Members, Query
from ..contract.transaction import Transaction, reads
from ..errors import NotOwner
from ..events import OWNER_DISABLED, OWNER_ENABLED
from ..records import End, OwnerEntry, Session
from ..settings import COUNTED_MAX
from .expiry import Uncleaned, end_session
from .lookup import Key, living_session, only_ends, session_queries


def ending_queries(owner: str, most: int) -> list[Query]:
    """Return what ending all sessions of an owner reads."""
    return [Get("entry", owner), Count("sessions_of", owner), Members("sessions_of", owner, most + 1)]


@reads(
    lambda owner, kept, reason, most: [
        *ending_queries(owner, most), *(session_queries(kept) if kept else []),
    ]
)  # fmt: skip
def destroy_sessions(tx: Transaction, owner: str, kept: Key | None, reason: str, most: int) -> int:
    """End all living sessions of an owner but the kept one, in one instant; return how many were.

    At most ``most`` are ended each for itself. Of more, and where some cannot be read (they may live for a process that
    has their pepper, or come back from a backup), one write of the owner's entry decides; ``sweep_owner`` cleans up
    behind it, at once or when the sweeper comes by.

    Raises:
        UnknownSession, SessionEnded: the session to keep is not a living one; nothing was ended.
        NotOwner: the session to keep is another owner's; nothing was ended.
        Uncleaned: ``sweep_owner`` has to clean up first.
    """
    spared = None if kept is None else living_session(tx, kept)
    if spared is not None and spared.owner != owner:
        raise NotOwner("the session to keep is another owner's", id=spared.id)
    entry = tx.entry(owner)
    oldest = tx.sessions_of(owner, most + 1)
    if tx.session_count_of(owner) == len(oldest) <= most:
        ending = [
            session
            for session in oldest
            if session.alive(tx.now, entry) and (spared is None or session.id != spared.id)
        ]
        for session in ending:
            end_session(tx, session, tx.now, reason)
        count = len(ending)
    else:
        count = _count_living(tx, owner, entry) - (spared is not None)
        epoch = _end_at_once(tx, entry, owner, oldest, spared, reason, None if entry is None else entry.disabled_at)
        if spared is not None:
            tx.put_session(spared, spared.replace(owner_epoch=epoch))
    only_ends(tx)
    return count


def _count_living(tx: Transaction, owner: str, entry: OwnerEntry | None) -> int:
    """Return how many sessions of an owner live; of very many, those that are over and not swept are counted too."""
    count = tx.session_count_of(owner)
    if count > COUNTED_MAX:
        return count
    return sum(session.alive(tx.now, entry) for session in tx.sessions_of(owner))


def _end_at_once(
    tx: Transaction,
    entry: OwnerEntry | None,
    owner: str,
    oldest: Sequence[Session],
    spared: Session | None,
    reason: str,
    disabled_at: int | None,
) -> int:
    """End all sessions of an owner by one write of their entry, and have the sweeper look at one; return the epoch.

    An entry holds one such end only: those of an earlier one must be cleaned up before.

    Raises:
        Uncleaned: they are not.
    """
    if entry is None:  # they live in whatever epoch an entry that was lost has put them
        epoch = max((session.owner_epoch for session in oldest), default=0)
    else:
        epoch = entry.epoch
        if any(session.owner_epoch != epoch for session in oldest):
            raise Uncleaned(owner)
    tx.put_entry(entry, OwnerEntry(owner, epoch + 1, disabled_at, tx.now, reason))
    first = next((session for session in oldest if spared is None or session.id != spared.id), None)
    if first is not None:
        tx.put_session(first, first.replace(sweep_at=0))
    return epoch + 1


@reads(lambda owner, most=0: ending_queries(owner, most))
def disable_owner(tx: Transaction, owner: str, most: int = 0) -> bool:
    """Disable an owner: whatever was opened before is dead, nothing is opened until it is lifted.

    At most ``most`` sessions are ended each for itself; see ``destroy_sessions``.
    Return whether that is new; disabling twice changes nothing.

    Raises:
        Uncleaned: ``sweep_owner`` has to clean up first.
    """
    entry = tx.entry(owner)
    if entry is not None and entry.disabled_at is not None:
        return False
    oldest = tx.sessions_of(owner, most + 1)
    if tx.session_count_of(owner) > most:
        _end_at_once(tx, entry, owner, oldest, None, "owner_disabled", tx.now)
    else:
        for session in oldest:
            end = End(tx.now, "owner_disabled") if session.alive(tx.now, entry) else session.end(tx.now, entry)
            end_session(tx, session, end.at, end.reason)
        tx.put_entry(entry, OwnerEntry(owner, 1 if entry is None else entry.epoch + 1, tx.now, tx.now))
    tx.note((OWNER_DISABLED, owner, None))
    only_ends(tx)
    return True


@reads(lambda owner: [Get("entry", owner)])
def enable_owner(tx: Transaction, owner: str) -> bool:
    """Let a disabled owner open sessions again; those that died stay dead. Returns whether that is new."""
    entry = tx.entry(owner)
    if entry is None or entry.disabled_at is None:
        return False
    tx.put_entry(entry, entry._replace(disabled_at=None))
    tx.note((OWNER_ENABLED, owner, None))
    return True


def leads_in_lists(session: Session, oldest: Sequence[Session], now: int, entry: OwnerEntry | None) -> bool:
    """Whether a session stands for its owner in a list of owners: it is the oldest of theirs that lives.

    Args:
        session: a living one.
        oldest: the first of the owner's sessions, oldest first, with the first living one among them.
        now: the instant for which they hold.
        entry: of the owner.
    """
    first = next((each for each in oldest if each.alive(now, entry)), None)
    return first is not None and first.id == session.id
