"""What moving in from another library does: one session for each cookie of theirs, however often it is presented.

A cookie that was moved leaves a mark, an outcome like that of an idempotency key, until the peer's own record of it is
over. So of two tabs that bring the same cookie at once both get the same session, and who logs out cannot be brought
back by the cookie from before. The mark says when the cookie was first presented: for a while after that it leads to
its session again (the answer with the new cookie may have been lost), then never. A WebSocket, whose answer hands out
no new cookie, does not begin that while.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..contract.queries import Get, Query
from ..contract.transaction import Rule, Transaction, queries_of, reads
from ..errors import SessionEnded, UnknownSession
from ..records import IdempotencyRecord, Session
from .idempotency import Ticket
from .sessions import SessionChange, change_session

FINISHED = "moved_in"
"""The setting that says since when nothing is moved in any more, in milliseconds."""
AGAIN_MS = 600_000
"""For how long a cookie that was moved leads to its session."""
WAITING = "waiting"
"""In the place of the instant of a cookie's presentation, where it was moved before any."""


def _queries(
    ticket: Ticket,
    kept_ms: int,
    is_presented: bool,
    rule: Rule[Any],
    args: tuple[object, ...],
    change: SessionChange | None = None,
) -> Sequence[Query]:
    return [Get("idempotency", ticket.key), Get("setting", FINISHED), *queries_of(rule, args)]


@reads(_queries)
def move_in(
    tx: Transaction,
    ticket: Ticket,
    kept_ms: int,
    is_presented: bool,
    rule: Rule[Any],
    args: tuple[object, ...],
    change: SessionChange | None = None,
) -> IdempotencyRecord | None:
    """Open a session for a peer's cookie with ``rule``, or return the mark of the one that it has got; ``None``: none.

    Args:
        tx: the transaction.
        ticket: names the cookie.
        kept_ms: how long the mark is kept, which is at least as long as the peer would take the cookie.
        is_presented: whether a browser brought it that is given a new one; else it is moved before any does.
        rule: opens the session.
        args: of the rule.
        change: the clocks of a session that was moved before any browser brought its cookie, from when one does.
    """
    if tx.setting(FINISHED) is not None:
        return None
    mark = tx.idempotency(ticket.key)
    when = str(tx.now) if is_presented else WAITING
    if mark is None or tx.now >= mark.expires_at:
        outcome = rule(tx, *args)
        mark = IdempotencyRecord(ticket.key, when, ticket.nonce, ticket.key_id, outcome, tx.now + kept_ms)
        tx.put_idempotency(mark)
    elif mark.request == WAITING:
        if is_presented:
            tx.put_idempotency(mark._replace(request=when))
            with suppress(UnknownSession, SessionEnded):  # it is over by now, and stays so
                if change is not None and isinstance(mark.outcome, Session):
                    change_session(tx, mark.outcome.id, change)
    elif tx.now - int(mark.request) > AGAIN_MS:
        return None
    return mark


@reads(lambda rule, args: queries_of(rule, args))
def moved(tx: Transaction, rule: Rule[Any], args: tuple[object, ...]) -> int:
    """Run a rule whose outcome nobody asks for again: the record that it made is found by its name."""
    rule(tx, *args)
    return 1


@reads(lambda: [Get("setting", FINISHED)])
def finish_moving_in(tx: Transaction) -> bool:
    """Move nothing in from now on; return whether that is new."""
    if tx.setting(FINISHED) is not None:
        return False
    tx.put_setting(FINISHED, str(tx.now))
    return True
