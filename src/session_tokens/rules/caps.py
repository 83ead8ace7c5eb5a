"""The most sessions of an owner and tokens of a session: who gives way to one more, or that it is refused."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.transaction import Transaction
from ..errors import LimitReached
from ..records import OwnerEntry, Session
from ..settings import SESSIONS_OF_OWNER_MAX, Policy
from .expiry import end_session, replacing_queries
from .lookup import lives


def at_the_cap(
    tx: Transaction,
    policy: Policy,
    cap: int,
    owner: str,
    entry: OwnerEntry | None,
    others: Sequence[Session],
    count: int,
    leaving: Session | None,
) -> tuple[Sequence[Session], int]:
    """Return which sessions of an owner who has ``count`` give way, and the epoch that a new one gets.

    Raises:
        LimitReached: the policy is ``refuse``.
    """
    staying = [each for each in others if lives(tx, each, entry) and (leaving is None or each.id != leaving.id)]
    replaced = _to_replace(tx, policy, cap, staying)
    if count > len(others) and policy.session_policy != "refuse":
        gone = {each.id for each in replaced}
        staying = [each for each in staying if each.id not in gone]
        if len(staying) + count - len(others) >= cap:
            return replaced, _end_unreadable(tx, entry, owner, others, staying)
    return replaced, 0 if entry is None else entry.epoch


def refuse_too_many(tx: Transaction, owner: str, entry: OwnerEntry | None) -> None:
    """Refuse one more session to an owner who has as many as there can be; what is over does not count.

    Raises:
        LimitReached: there are ``SESSIONS_OF_OWNER_MAX``.
    """
    living = [other for other in tx.sessions_of(owner) if other.alive(tx.now, entry)]
    if len(living) >= SESSIONS_OF_OWNER_MAX:
        raise LimitReached(
            f"the owner has {len(living)} living sessions, the most there can be; end some with destroy_sessions(), "
            "or give Settings(max_sessions=…)",
            cap=SESSIONS_OF_OWNER_MAX,
        )


def _end_unreadable(
    tx: Transaction, entry: OwnerEntry | None, owner: str, readable: Sequence[Session], staying: Sequence[Session]
) -> int:
    """End the sessions of an owner that cannot be read by one write of their entry, and spare these; return the epoch.

    An entry holds one such end only: those of an earlier one get their own ends first.
    """
    for session in readable:
        if not session.alive(tx.now, entry):
            end = session.end(tx.now, entry)
            end_session(tx, session, end.at, end.reason)
    epoch = max((session.owner_epoch for session in readable), default=0) if entry is None else entry.epoch
    disabled_at = None if entry is None else entry.disabled_at
    tx.put_entry(entry, OwnerEntry(owner, epoch + 1, disabled_at, tx.now, "replaced"))
    for session in staying:
        tx.put_session(session, session.replace(owner_epoch=epoch + 1))
    return epoch + 1


def _to_replace(tx: Transaction, policy: Policy, cap: int, living: Sequence[Session]) -> Sequence[Session]:
    """Return which living sessions give way to a new one: attached ones first, the oldest first."""
    if len(living) < cap:
        return ()
    if policy.session_policy == "refuse":
        raise LimitReached(f"the owner has {len(living)} living sessions, the cap is {cap}; end one first", cap=cap)
    if policy.session_policy != "replace_all":
        order = sorted(living, key=lambda session: (session.detached_at is not None, session.created_at, session.id))
        living = order[: len(living) - cap + 1]
    few = policy.moved_at_once
    if few is not None:
        tx.ahead([query for session in living for query in replacing_queries(few, session.id)])
    return living


def refuse_too_many_tokens(tx: Transaction, session_id: str, cap: int) -> None:
    """Refuse one more token to a session that holds as many as it may; what is over, or borrowed, does not count.

    Raises:
        LimitReached: it does.
    """
    former = tx.predecessors_of(session_id)
    if tx.token_count_of(session_id) + sum(tx.token_count_of(each.id, True) for each in former) < cap:
        return
    held = [*tx.tokens_of(session_id, None), *(token for each in former for token in tx.transferables_of(each.id))]
    living = sum(tx.now < token.deadline and not token.is_loan for token in held)
    if living >= cap:
        raise LimitReached(f"the session holds {living} tokens, the cap; destroy one first", cap=cap)
