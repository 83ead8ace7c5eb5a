"""What is kept under the secrets that a session had before, where they were replaced with grace.

Theory of operation. Such a secret leads to a record of its own: an ended session in the store, found by the look-up key
of that secret, which tells whose secret it was. The session itself tells which of those records are its previous
secrets, and until when each is good; what it does not tell of is unknown (``lookup.of_secret``). So whatever ends the
session, or gives it a secret without grace, ends all previous ones in the same write. What is left of them is space.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..contract.transaction import Transaction
from ..errors import UNREADABLE
from ..records import Session, SessionDetails
from ..records.rotation import Former, Rotation

LOOKED_AT_MS: Final = 86_400_000
"""How often the sweeper asks whether a previous secret is still one."""


def former_secret(session: Session, id: str, now: int) -> Session:
    """Return the record that the present secret of a session will lead to: nobody's, and of nothing that lives."""
    return Session._of(
        id, session.id, session.lookup, now, now, now, 0, None, None, None, False, None, now, "rotated",
        now + LOOKED_AT_MS, 0, 1, SessionDetails(rotation=Rotation(of=session.id)), None, None, session.clock,
    )  # fmt: skip


def without_former(tx: Transaction, session: Session) -> SessionDetails:
    """Return a session's details without its previous secrets, which are unknown from now on."""
    if session.details.rotation is None:
        return session.details
    drop_former(tx, session.details.rotation.former)
    return session.details._replace(rotation=None)


def drop_former(tx: Transaction, former: Iterable[Former]) -> None:
    """Delete what previous secrets lead to; what cannot be read is left, for no session tells of it any more."""
    for each in former:
        try:
            record = tx.session(each.id)
        except UNREADABLE:
            continue
        if record is not None:
            tx.put_session(record, None)


def sweep_former(tx: Transaction, record: Session) -> None:
    """Delete what a previous secret leads to, unless its session lives and still tells of it."""
    session = None if record.former_of is None else tx.session(record.former_of)
    is_kept = (
        session is not None
        and session.alive(tx.now, tx.entry(session.owner))
        and session.former_until(record.id) is not None
    )
    tx.put_session(record, record.replace(sweep_at=tx.now + LOOKED_AT_MS) if is_kept else None)
