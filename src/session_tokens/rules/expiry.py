"""Deadlines: when sessions and tokens end by themselves, and what the end of a session does to its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import NEVER
from ..contract.queries import Count, Get, Members
from ..contract.transaction import Transaction, reads
from ..events import SESSION_ENDED, TOKEN_ENDED
from ..records import BOUND, NO_TOKEN_DETAILS, OwnerEntry, Session, Token
from ..settings import Policy
from .former_secrets import sweep_former, without_former
from .loans import loan_ids, read_loans_ahead, take_loans_away
from .lookup import lasts, lives, only_ends

TOUCH_PARTS = 16
"""A use is written down only after 1/16 of the window has passed since the last one written."""
LEAST_GOOD_MS = 1_000
"""How long what is said of a session may be kept at least, unless it ends before."""


def attached_deadline(opened_at: int, max_age_ms: int | None, seen_at: int, idle_timeout_ms: int | None) -> int:
    """Return when an attached session ends if it is not used: the idle clock gets 1/16 of grace for lazy touches."""
    deadline = NEVER if max_age_ms is None else opened_at + max_age_ms
    if idle_timeout_ms is None:
        return deadline
    return min(deadline, seen_at + idle_timeout_ms + idle_timeout_ms // TOUCH_PARTS)


def detached_deadline(opened_at: int, max_age_ms: int | None, detached_at: int, timeout_ms: int | None) -> int:
    """Return when a detached session ends: its idle clock stands, its detached clock runs, its age goes on."""
    deadline = NEVER if max_age_ms is None else opened_at + max_age_ms
    return deadline if timeout_ms is None else min(deadline, detached_at + timeout_ms)


def deadline_of(session: Session) -> int:
    """Return the deadline that follows from a living session's clocks."""
    if session.detached_at is not None:
        return detached_deadline(
            session.opened_at, session.max_age_ms, session.detached_at, session.detached_timeout_ms
        )
    return attached_deadline(session.opened_at, session.max_age_ms, session.last_seen_at, session.idle_timeout_ms)


def touch_is_due(session: Session, now: int) -> bool:
    """Whether a use at ``now`` should be written down: 1/16 of the idle window (else of the age) has passed."""
    window_ms = session.traits.idle_timeout_ms or session.traits.max_age_ms
    return window_ms is not None and (now - session.last_seen_at) * TOUCH_PARTS >= window_ms


def good_until(session: Session, now: int) -> int:
    """Return until when what is said of a living session at ``now`` may be kept before asking again.

    Only asking keeps a session with an idle timeout alive. So it is half of that time from now, in which there is time
    to ask again; at least a second, and never past the session's end. ``NEVER`` where it does not end.
    """
    idle_timeout_ms = session.traits.idle_timeout_ms
    if idle_timeout_ms is None:
        return session.deadline
    return min(session.deadline, now + max(idle_timeout_ms // 2, LEAST_GOOD_MS))


def same_until(session: Session, now: int) -> int:
    """Return until when a session that is verified at ``now`` is told of in the same way, if nothing is written.

    It is over by then, its use has to be written down, or it is good until another second.
    """
    window_ms, idle_ms = session.idle_timeout_ms or session.max_age_ms, session.idle_timeout_ms
    until = session.deadline
    if window_ms is not None:
        until = min(until, session.last_seen_at - (-window_ms // TOUCH_PARTS))
    if idle_ms is not None:
        until = min(until, now + 1000 - good_until(session, now) % 1000) if idle_ms >= 4 * LEAST_GOOD_MS else now
    return until


def secret_dies_at(token: Token, session: Session | None) -> int:
    """Return when a token's secret stops to open anything, by time alone: with the session that holds it at the latest.

    A transferable token does not end then, but is unassigned: what its record says about its end is another instant.
    """
    return token.deadline if session is None else min(token.deadline, session.deadline)


def shown_until(token: Token, session: Session | None) -> tuple[Token, int | None]:
    """Return a token whose secret is good as callers see it, and until when that may be kept; ``None``: for ever.

    Args:
        token: as it is stored.
        session: the one that holds it.
    """
    until = secret_dies_at(token, session)
    return token.seen_with(session), None if until == NEVER else until


def token_same_until(token: Token, session: Session | None) -> int:
    """Return until when a token that is verified is told of in the same way, if nothing is written."""
    until = secret_dies_at(token, session)
    return until if token.details.reserved_until is None else min(until, token.details.reserved_until)


class Uncleaned(Exception):
    """What ended before is still to be cleaned up, in batches; nothing was done.

    Attributes:
        id: of the session that ``sweep_session`` is to clean up behind, or the owner for ``sweep_owner``.
    """

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


def look_at(session: Session, deadline: int) -> int:
    """Return when the sweeper should look at a living session with a new deadline: then, or as soon as it had to."""
    return deadline if session.sweep_at == session.deadline else session.sweep_at


def end_session(tx: Transaction, session: Session, at: int, reason: str) -> None:
    """End a session in one step and one write: dead at once, its tokens dead or unassigned, one event.

    A token is judged with its session, so the sweeper may rewrite the tokens later, in bounded batches.
    """
    ended = session.ended(at, reason)
    tx.put_session(session, ended)
    tx.note((SESSION_ENDED, ended, reason))


def replacing_queries(few: int, id: str) -> tuple[Members, Members]:
    """Return what replacing a session reads."""
    return Members("transferables_of", id, few + 1), Members("predecessors_of", id)


def replace_session(tx: Transaction, policy: Policy, session: Session, heir_id: str) -> None:
    """End a session whose place another takes; its transferable tokens are in that one from now on, however many.

    A few are rewritten here. Of many, the ended session names its heir: each is judged as if it had been moved
    (``Token.followed``), and is moved by the sweeper, in bounded batches. What came to it in this way goes on with it:
    all uncleaned predecessors name the heir, so that one step leads from a token to the session where it is.
    """
    few = policy.moved_at_once
    tokens = tx.transferables_of(session.id, None if few is None else few + 1)
    ended = session.ended(tx.now, "replaced")
    if few is not None:
        for predecessor in tx.predecessors_of(session.id):
            tx.put_session(predecessor, predecessor.followed_by(heir_id))
        if len(tokens) > few:
            ended, tokens = ended.followed_by(heir_id), ()
    for token in tokens:
        if lasts(tx, token):
            tx.put_token(token, token.in_session(heir_id))
    tx.put_session(session, ended)
    tx.note((SESSION_ENDED, ended, "replaced"))


@reads(
    lambda policy, id: [
        Get("session", id),
        Members("tokens_of", id, policy.cleaning_batch),
        Members("predecessors_of", id),
    ]
)
def sweep_session(tx: Transaction, policy: Policy, id: str) -> bool:
    """End a session whose time is over, clean up behind one that ended, or forget one that ended long ago.

    One that lives though its owner's entry was lost ends with all of the owner's, so that nobody who was logged out is
    back. Any other that lives is let have tokens that were parked for its owner, where some are left from its opening.
    Return whether anything was done.
    """
    session = tx.session(id)
    if session is None or (session.ended_at is not None and session.sweep_at > tx.now):
        return False
    if session.former_of is not None:
        sweep_former(tx, session)
        only_ends(tx)
        return True
    entry = tx.entry(session.owner)
    if session.alive(tx.now, entry):
        if entry is None and session.needs_entry:
            epochs = [each.owner_epoch for each in tx.sessions_of(session.owner)]
            tx.put_entry(None, OwnerEntry.after_loss(session.owner, None, epochs, tx.now))
            only_ends(tx)
            return True
        return session.sweep_at <= tx.now and lives(tx, session, entry) and join_parked(tx, policy, session)
    predecessors = tx.predecessors_of(id)
    if predecessors:  # their tokens are judged with this session, which stays for that long
        clean_up(tx, policy, predecessors[0], predecessors[0])
    elif session.ended_at is not None:
        clean_up(tx, policy, session, session)
    elif entry is not None and entry.epoch != session.owner_epoch and session.sweep_at == 0:
        sweep_owner(tx, session.owner, policy.ended_at_once)
    else:
        end = session.end(tx.now, entry)
        ended = session.ended(end.at, end.reason)
        tx.note((SESSION_ENDED, ended, end.reason))
        clean_up(tx, policy, session, ended)
    only_ends(tx)
    return True


def join_parked(tx: Transaction, policy: Policy, session: Session) -> bool:
    """Put a batch of what is parked for a living session's owner into it; after the last, it is as any other."""
    tokens = tx.parked_tokens(session.owner, policy.cleaning_batch)
    read_loans_ahead(tx, [token for token in tokens if tx.now >= token.deadline])
    for token in tokens:
        if lasts(tx, token):
            tx.put_token(token, token.in_session(session.id))
        else:
            tx.put_token(token, None)
            take_loans_away(tx, token)
            tx.note((TOKEN_ENDED, token, "expired"))
    if policy.cleaning_batch is None or len(tokens) < policy.cleaning_batch:
        tx.put_session(session, session.replace(sweep_at=session.deadline))
    return True


def clean_up(tx: Transaction, policy: Policy, stored: Session, ended: Session) -> None:
    """Rewrite a batch of an ended session's tokens; after the last, keep its record while it is remembered."""
    tokens = tx.tokens_of(ended.id, policy.cleaning_batch)
    ended_at = ended.ended_at if ended.ended_at is not None else tx.now
    successor = ended.details.successor
    heir = None if successor is None else tx.session(successor)
    cleaned = _few_with_loans(tx, tokens, policy.cleaning_batch)
    for token in cleaned:
        if token.traits.kind is BOUND:
            kept_token = None
        elif heir is None:
            kept_token = left_behind(token, ended_at, tx.now)
        else:
            moved, holder = token.followed(ended, heir)
            kept_token = moved.as_of(tx.now, holder, tx.entry(heir.owner))
        tx.put_token(token, kept_token)
        if kept_token is None or kept_token.unassigned_at is not None:
            take_loans_away(tx, token, lambda loan: loan.session_id == ended.id)
        if kept_token is None and not token.is_loan and (token.traits.kind is not BOUND or token.deadline <= ended_at):
            tx.note((TOKEN_ENDED, token, "expired"))  # not by its session's end, which has an event of its own
    if policy.cleaning_batch is not None and (len(tokens) >= policy.cleaning_batch or len(cleaned) < len(tokens)):
        kept: Session | None = ended
    else:
        forget_at = ended_at + policy.ended_retention_ms
        details = without_former(tx, ended)
        details = details if successor is None else details._replace(successor=None, moves=0)
        kept = None if forget_at <= tx.now else ended.replace(sweep_at=forget_at, details=details)
    if kept is not stored:
        tx.put_session(stored, kept)


def _few_with_loans(tx: Transaction, tokens: Sequence[Token], most: int | None) -> Sequence[Token]:
    """Return as many of some tokens as make no more than ``most`` records with their loans, which are read at once."""
    count = 0
    for at, token in enumerate(tokens):
        lent = 0 if token.details is NO_TOKEN_DETAILS else len(loan_ids(token))
        if at and most is not None and at + count + lent >= most:
            tokens = tokens[:at]
            break
        count += lent
    read_loans_ahead(tx, tokens)
    return tokens


def left_behind(token: Token, at: int, now: int) -> Token | None:
    """Return a transferable token after its session ended at ``at``: unassigned, or gone if its time is over."""
    if now >= token.deadline:
        return None
    left_at = max(at, token.held_since)
    unassigned = token.offered_at(left_at).unassigned(left_at).offered_at(now)
    return unassigned if now < unassigned.deadline else None


@reads(lambda policy, id: [Get("token", id)])
def sweep_token(tx: Transaction, policy: Policy, id: str) -> bool:
    """Delete a token whose own time, or time unassigned, is over; return whether one was.

    A session-bound token that died with its session before has no event of its own.
    """
    token = tx.token(id)
    if token is None or tx.now < token.deadline:
        return False
    session = tx.session(token.session_id) if token.traits.kind is BOUND and token.session_id is not None else None
    tx.put_token(token, None)
    take_loans_away(tx, token)
    is_told = not (token.is_used_up or token.is_loan)  # when it was used up; a loan's end with its lending
    if is_told and (session is None or not _ended_before(tx, session, token.deadline)):
        tx.note((TOKEN_ENDED, token, "expired"))
    only_ends(tx)
    return True


def _ended_before(tx: Transaction, session: Session, deadline: int) -> bool:
    entry = tx.entry(session.owner)
    return not session.alive(tx.now, entry) and session.end(tx.now, entry).at < deadline


@reads(lambda policy, key: [Get("idempotency", key)])
def sweep_idempotency(tx: Transaction, policy: Policy, key: str) -> bool:
    """Forget the outcome under an idempotency key whose time is over; return whether one was."""
    record = tx.idempotency(key)
    if record is None or record.expires_at > tx.now:
        return False
    tx.forget_idempotency(key)
    only_ends(tx)
    return True


@reads(lambda owner, most: [Get("entry", owner), Count("sessions_of", owner), Members("sessions_of", owner, most + 2)])
def sweep_owner(tx: Transaction, owner: str, most: int) -> int:
    """End at most ``most`` sessions of an owner that are over; return how many were.

    Behind an end of all of them at once this is where the sweeper goes on: those are the owner's oldest.
    """
    entry = tx.entry(owner)
    oldest = tx.sessions_of(owner, most + 2)
    if len(oldest) < most + 2 and tx.session_count_of(owner) > len(oldest):
        oldest = tx.sessions_of(owner)  # some of the oldest cannot be read, and are no reason to stop at them
    over = [session for session in oldest if not session.alive(tx.now, entry)]
    for session in over[:most]:
        end = session.end(tx.now, entry)
        end_session(tx, session, end.at, end.reason)
    for session in over[most : most + 1]:
        tx.put_session(session, session.replace(sweep_at=0))
    only_ends(tx)
    return len(over[:most])
