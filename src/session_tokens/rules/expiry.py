"""When things end by themselves, and what the end of a session does to the tokens that it holds."""

from __future__ import annotations

from ..clock import NEVER
from ..events import SESSION_ENDED, TOKEN_ENDED
from ..records import Session, Token, TokenKind
from ..settings import Policy
from ..transaction import Transaction, reads
from ..wants import IdempotencyOf, SessionById, SessionsOf, TokenById, TokensOf

TOUCH_PARTS = 16
"""A use is written down only after 1/16 of the window has passed since the last one written."""


def attached_deadline(created_at: int, max_age_ms: int | None, seen_at: int, idle_timeout_ms: int | None) -> int:
    """Answer when an attached session ends if it is not used: the idle clock gets 1/16 of grace for lazy touches."""
    deadline = NEVER if max_age_ms is None else created_at + max_age_ms
    if idle_timeout_ms is None:
        return deadline
    return min(deadline, seen_at + idle_timeout_ms + idle_timeout_ms // TOUCH_PARTS)


def detached_deadline(created_at: int, max_age_ms: int | None, detached_at: int, timeout_ms: int | None) -> int:
    """Answer when a detached session ends: its idle clock stands, its detached clock runs, its age goes on."""
    deadline = NEVER if max_age_ms is None else created_at + max_age_ms
    return deadline if timeout_ms is None else min(deadline, detached_at + timeout_ms)


def deadline_of(session: Session) -> int:
    """Answer the deadline that follows from a living session's clocks."""
    if session.detached_at is not None:
        return detached_deadline(
            session.created_at, session.max_age_ms, session.detached_at, session.detached_timeout_ms
        )
    return attached_deadline(session.created_at, session.max_age_ms, session.last_seen_at, session.idle_timeout_ms)


def touch_is_due(session: Session, now: int) -> bool:
    """Whether a use at ``now`` should be written down: 1/16 of the idle window (else of the age) has passed."""
    window_ms = session.idle_timeout_ms or session.max_age_ms
    return window_ms is not None and (now - session.last_seen_at) * TOUCH_PARTS >= window_ms


def end_session(
    tx: Transaction, policy: Policy, session: Session, at: int, reason: str, heir: Session | None = None
) -> None:
    """End a session in one step: dead at once, its tokens dead, unassigned, or its heir's; one event.

    Of very many tokens only a batch is rewritten here; the sweeper does the rest, and readers judge each token with
    its session meanwhile. What goes to an heir is moved whole.
    """
    finished = _clean_tokens(tx, policy, session, at, heir)
    if finished and policy.ended_retention_ms == 0:
        ended = None
    else:
        ended = session.replace(
            lookup=None,
            deadline=0,
            ended_at=at,
            end_reason=reason,
            sweep_at=at + policy.ended_retention_ms if finished else 0,
            version=session.version + 1,
        )
    tx.put_session(session, ended)
    tx.note((SESSION_ENDED, session, reason))


def _clean_tokens(tx: Transaction, policy: Policy, session: Session, at: int, heir: Session | None) -> bool:
    """Rewrite the tokens that an ending session holds; answer whether that were all."""
    if heir is not None:
        for token in tx.transferables_of(session.id):
            tx.put_token(token, token.in_session(heir.id) if tx.now < token.deadline else None)
    tokens = tx.tokens_of(session.id, policy.cleaning_batch)
    for token in tokens:
        if token.kind is TokenKind.BOUND:
            tx.put_token(token, None)
        elif heir is None:
            tx.put_token(token, _left_behind(token, at, tx.now))
    return policy.cleaning_batch is None or len(tokens) < policy.cleaning_batch


def _left_behind(token: Token, at: int, now: int) -> Token | None:
    """Answer a transferable token after its session ended at ``at``: unassigned, or gone if its time is over."""
    if now >= token.deadline:
        return None
    unassigned = token.unassigned(max(at, token.held_since))
    return unassigned if now < unassigned.deadline else None


@reads(lambda policy, id: [SessionById(id), TokensOf(id, policy.cleaning_batch)])
def sweep_session(tx: Transaction, policy: Policy, id: str) -> bool:
    """End a session whose time is over, go on cleaning one that ended, or forget one that ended long ago.

    Answers whether anything was done. A session that lives is left as it is.
    """
    session = tx.session(id)
    if session is None:
        return False
    if session.ended_at is not None:
        return _go_on_cleaning(tx, policy, session, session.ended_at)
    entry = tx.entry(session.owner)
    if session.alive(tx.now, entry):
        return False
    end = session.end(tx.now, entry)
    end_session(tx, policy, session, end.at, end.reason)
    return True


def _go_on_cleaning(tx: Transaction, policy: Policy, session: Session, ended_at: int) -> bool:
    if session.sweep_at == 0:
        finished = _clean_tokens(tx, policy, session, ended_at, None)
        forget_at = ended_at + policy.ended_retention_ms
        if finished:
            tx.put_session(session, None if forget_at <= tx.now else session.replace(sweep_at=forget_at))
        return True
    if session.sweep_at > tx.now:
        return False
    tx.put_session(session, None)
    return True


@reads(lambda policy, id: [TokenById(id)])
def sweep_token(tx: Transaction, policy: Policy, id: str) -> bool:
    """Delete a token whose own time, or time unassigned, is over; answer whether one was."""
    token = tx.token(id)
    if token is None or tx.now < token.deadline:
        return False
    tx.put_token(token, None)
    tx.note((TOKEN_ENDED, token, "expired"))
    return True


@reads(lambda policy, key: [IdempotencyOf(key)])
def sweep_idempotency(tx: Transaction, policy: Policy, key: str) -> bool:
    """Forget the outcome under an idempotency key whose time is over; answer whether one was."""
    record = tx.idempotency(key)
    if record is None or record.expires_at > tx.now:
        return False
    tx.forget_idempotency(key)
    return True


@reads(lambda policy, owner, limit: [SessionsOf(owner)])
def sweep_owner(tx: Transaction, policy: Policy, owner: str, limit: int) -> int:
    """End at most ``limit`` sessions of an owner that are over; answer how many were."""
    entry = tx.entry(owner)
    over = [session for session in tx.sessions_of(owner) if not session.alive(tx.now, entry)][:limit]
    for session in over:
        end = session.end(tx.now, entry)
        end_session(tx, policy, session, end.at, end.reason)
    return len(over)
