"""Rules for things that applications name themselves, as ``TokenTables`` does: the same rules, found by name.

Here an id is the application's string (or what a store looks it up by), there are no secrets besides, and an ended
thing gives its name free again.
"""

from __future__ import annotations

from ..clock import NEVER, Clock
from ..contract.queries import Get, Members
from ..contract.transaction import Transaction, reads
from ..errors import AlreadyExists, SessionEnded, UnknownSession, UnknownToken
from ..events import SESSION_CHANGED, SESSION_ENDED
from ..records import BOUND, TRANSFERABLE, Session, Token
from ..records.session import is_another
from ..settings import Policy
from .expiry import Uncleaned, clean_up, deadline_of, end_session, look_at
from .lookup import followed, lives, living_session, living_token, only_ends, standing
from .receiving import receiving_queries, receiving_session
from .sessions import Opening, SessionChange, change_session, open_session, opening_queries
from .tokens import Issue, claim_token, issue_under


@reads(
    lambda policy, opening, issue, clock: [
        Get("session", opening.id),
        *opening_queries(policy, opening.owner),
        *([Get("token", issue.id)] if issue is not None else []),
    ]
)
def add_session(
    tx: Transaction, policy: Policy, opening: Opening, issue: Issue | None, clock: Clock
) -> tuple[Session, bool]:
    """Open a session by name with its first token; the same session of the same owner again changes nothing else.

    Answers:
        The session, and whether it is new.

    Raises:
        AlreadyExists: a living session of that name has another owner, or a living token that name.
        OwnerDisabled, LimitReached: as ``open_session``.
        Uncleaned: ``sweep_session`` has to clean up behind one that had the name.
    """
    former = tx.session(opening.id)
    is_new = former is None or not lives(tx, former, tx.entry(former.owner))
    if former is None or is_new:
        if former is not None:
            _free_the_name(tx, policy, former)
        session = open_session(tx, policy, opening, clock)
    elif former.owner != opening.owner:
        raise AlreadyExists("a living session of that name has another owner", id=opening.id)
    else:
        session = former
    if issue is not None:
        held = tx.token(issue.id)
        name_is_free = held is None or (is_new and _ended_with_opening(tx, held, former, opening))
        issue_under(tx, policy, session, issue, name_is_free=name_is_free)
    return session, is_new


def _free_the_name(tx: Transaction, policy: Policy, former: Session) -> None:
    """Give the name of a session that is over free again, its tokens cleaned up.

    Raises:
        Uncleaned: it holds more tokens than one transaction cleans, or there is a successor or predecessor.
    """
    ended = former
    if former.ended_at is None:
        end = former.end(tx.now, tx.entry(former.owner))
        ended = former.ended(end.at, end.reason)
    batch = policy.cleaning_batch
    if batch is not None and (
        former.details.successor is not None
        or tx.predecessors_of(former.id)
        or len(tx.tokens_of(former.id, batch)) == batch
    ):
        raise Uncleaned(former.id)
    if former.ended_at is None:
        tx.note((SESSION_ENDED, ended, ended.end_reason))
    clean_up(tx, policy, former, ended)


def _ended_with_opening(tx: Transaction, held: Token, former: Session | None, opening: Opening) -> bool:
    """Whether the token that had the name of a new session's first one ended by the opening itself.

    Either the opening cleaned up behind a former session of the same name, or it replaced the owner's session that
    the token was bound to; then the token is cleared away here.
    """
    if held.session_id is None:
        return False
    present = standing(tx, *followed(tx, held))
    if held.session_id == opening.id:
        return former is not None and present is None
    if present is None or present.traits.kind is not BOUND or present.owner != opening.owner:
        return False
    tx.put_token(held, None)
    return True


@reads(lambda policy, owner, issue: [*receiving_queries(owner), Get("token", issue.id)])
def add_owned_token(tx: Transaction, policy: Policy, owner: str, issue: Issue) -> Token:
    """Issue a token under the newest living session of an owner.

    Raises:
        UnknownSession: the owner has none.
        AlreadyExists: a living token of that name has another owner or kind.
    """
    session = receiving_session(tx, owner)
    if session is None:
        raise UnknownSession("the owner has no living session; add_session() opens one", owner=owner)
    return issue_under(tx, policy, session, issue)


@reads(lambda id, token_id, reason: [Get("session", id), Get("token", token_id)])
def destroy_session(tx: Transaction, id: str, token_id: str, reason: str) -> bool:
    """End the living session of that id, else the one that holds the token of that id; return whether one lived."""
    session = tx.session(id)
    if session is None or not session.alive(tx.now, tx.entry(session.owner)):
        token = tx.token(token_id)
        if token is None or token.session_id is None or (token.deadline is not NEVER and tx.now >= token.deadline):
            return False
        session = tx.session(token.session_id)
        if session is not None and session.details.successor is not None:
            _, session = token.followed(session, tx.session(session.details.successor))
    if session is None or not session.alive(tx.now, tx.entry(session.owner)):
        return False
    end_session(tx, session, tx.now, reason)
    only_ends(tx)
    return True


@reads(lambda id, session_id, owner: [Get("token", id), Get("session", session_id)])
def acquire_token(tx: Transaction, id: str, session_id: str, owner: str) -> bool:
    """Have an owner's session hold a transferable token; return whether it does afterwards.

    An unassigned one is claimed, one parked for that owner joins, one that it holds already stays.
    """
    try:
        stored, token, _ = living_token(tx, id)
        session = living_session(tx, session_id)
    except (UnknownToken, UnknownSession, SessionEnded):
        return False
    if session.owner != owner:
        return False
    if token.owner == owner and token.session_id == session.id:
        return True
    if token.traits.kind is not TRANSFERABLE:
        return False
    if token.unassigned_at is not None:
        claim_token(tx, id, session_id, None)
        return True
    if token.owner == owner and token.session_id is None:
        tx.put_token(stored, token.in_session(session.id))
        return True
    return False


@reads(lambda id, timeout_ms: [Get("session", id)])
def set_session_timeout(tx: Transaction, id: str, timeout_ms: int | None) -> Session:
    """Restart a session's clock with another timeout, ``None`` for never.

    Raises:
        UnknownSession, SessionEnded: no living session has that name.
    """
    session = living_session(tx, id)
    max_age_ms = None if timeout_ms is None else tx.now - session.opened_at + timeout_ms
    details = session.details._replace(timed_from=tx.now)
    changed = session.replace(max_age_ms=max_age_ms, details=details, version=session.version + 1)
    deadline = deadline_of(changed)
    changed = changed.replace(deadline=deadline, sweep_at=look_at(session, deadline))
    tx.put_session(session, changed)
    tx.note((SESSION_CHANGED, changed, None))
    return changed


@reads(lambda id: [Get("session", id)])
def allow_detach(tx: Transaction, id: str) -> Session:
    """Mark a session as detachable.

    Raises:
        UnknownSession, SessionEnded: no living session has that name.
    """
    return change_session(tx, id, SessionChange(detachable=True))


@reads(lambda session, tokens: [Get("session", session.id)] if session is not None else [])
def adopt(tx: Transaction, session: Session | None, tokens: list[tuple[str, Token | None]]) -> None:
    """Take over what a shared database says of a session and of tokens; ``None`` for what it has no more.

    For process-local tables over an application's own DB: no event, for it happened elsewhere.
    """
    if session is not None:
        known = tx.session(session.id)
        if known is not None and is_another(session, known):
            for held in tx.tokens_of(known.id, None):
                tx.put_token(held, None)  # what became of it elsewhere is read again when it is asked for
            tx.put_session(known, None)
            known = None
        tx.put_session(known, session)
    for id, token in tokens:
        former = tx.token(id)
        if former is not None or token is not None:
            tx.put_token(former, token)


@reads(lambda policy, id: [Get("session", id), Members("tokens_of", id, policy.cleaning_batch)])
def forget_session(tx: Transaction, policy: Policy, id: str) -> bool:
    """End locally a session that a shared database has no more, and its tokens; return whether it lived here."""
    session = tx.session(id)
    if session is None:
        return False
    lived = session.ended_at is None
    ended = session.ended(tx.now, "revoked") if lived else session
    if lived:
        tx.note((SESSION_ENDED, ended, "revoked"))
    clean_up(tx, policy, session, ended)
    only_ends(tx)
    return lived


def timeout_of(session: Session) -> int | None:
    """Return the timeout that a named session was given last, in milliseconds; ``None`` for never."""
    timed_from = session.details.timed_from
    if timed_from is None or session.max_age_ms is None:
        return session.max_age_ms
    return session.opened_at + session.max_age_ms - timed_from
