"""The rule by which an owner is given another name: all that they have goes with them, in one commit."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.queries import Get, Members, Query
from ..contract.transaction import Transaction, reads
from ..errors import Conflict, LimitReached, OwnerDisabled
from ..events import OWNER_RENAMED
from ..records import OwnerEntry, Session, Token
from ..settings import RENAMED_AT_ONCE
from .expiry import Uncleaned, end_session, look_at
from .lookup import lasts, lives


def _queries(owner: str, to: str, mark: str, stands_for: str) -> list[Query]:
    most = RENAMED_AT_ONCE + 1
    return [
        Get("setting", mark),
        Get("entry", owner), Get("entry", to), Members("sessions_of", owner, most), Members("sessions_of", to, most),
        Members("parked_tokens", owner, most), Members("parked_tokens", to, most),
    ]  # fmt: skip


@reads(_queries)
def rename_owner(tx: Transaction, owner: str, to: str, mark: str, stands_for: str) -> int:
    """Give all living sessions and tokens of an owner to another name of theirs; return how many those are.

    What else names them is renamed afterwards (``names``); a mark says until then that both names are one owner's. An
    owner who is disabled is so under both names.

    Args:
        owner, to: the old and the new name.
        mark: the setting that says that the old name's owner was given another one.
        stands_for: its text, for this new name.

    Raises:
        Conflict: the other name has living sessions or tokens: who they belong to could not be told any more.
        OwnerDisabled: it is disabled.
        LimitReached: there is more than is moved in one commit.
        Uncleaned: ``sweep_session`` has to clean up behind a session that was replaced first.
    """
    entry, other = tx.entry(owner), tx.entry(to)
    sessions = [session for session in tx.sessions_of(owner, RENAMED_AT_ONCE + 1) if lives(tx, session, entry)]
    parked = [token for token in tx.parked_tokens(owner, RENAMED_AT_ONCE + 1) if lasts(tx, token)]
    marked = tx.setting(mark)
    if marked == stands_for and not (sessions or parked):
        return 0
    if other is not None and other.disabled_at is not None:
        raise OwnerDisabled("the other name is disabled; enable it first, or choose another one", owner=to)
    over = tx.sessions_of(to, RENAMED_AT_ONCE + 1)
    if any(session.alive(tx.now, other) for session in over) or any(
        tx.now < token.deadline for token in tx.parked_tokens(to, RENAMED_AT_ONCE + 1)
    ):
        raise Conflict(
            "the other name has living sessions or tokens, and whose is whose could not be told afterwards; end them "
            "first, or hand the tokens over"
        )
    held = _held(tx, sessions, len(sessions) + len(parked))
    if marked != stands_for:
        tx.put_setting(mark, stands_for)
    for session in over:  # that ran out of time and were not swept
        end = session.end(tx.now, other)
        end_session(tx, session, end.at, end.reason)
    for session in sessions:
        epoch = 0 if other is None else other.epoch
        moved = session.replace(owner=to, owner_epoch=epoch, version=session.version + 1)
        tx.put_session(session, moved.replace(sweep_at=look_at(session, session.deadline)))
    for token in (*parked, *held):
        details = token.details._replace(borrower=to) if token.is_loan else token.details
        tx.put_token(token, token.replace(owner=to, details=details, version=token.version + 1))
    disabled_at = None if entry is None else entry.disabled_at
    if disabled_at is not None:
        tx.put_entry(other, OwnerEntry(to, 1 if other is None else other.epoch + 1, disabled_at, tx.now))
    count = len(sessions) + len(parked) + sum(not token.is_loan for token in held)
    if count or disabled_at is not None:
        tx.note((OWNER_RENAMED, to, owner))
    return count


def _held(tx: Transaction, sessions: Sequence[Session], before: int) -> list[Token]:
    """Return the tokens that sessions hold.

    Raises:
        LimitReached: they are too many.
        Uncleaned: some of them still name a session that was replaced.
    """
    most = RENAMED_AT_ONCE + 1
    ids = [session.id for session in sessions]
    queries: list[Query] = [Members("tokens_of", id, most) for id in ids]
    tx.ahead([*queries, *(Members("predecessors_of", id) for id in ids)])
    held: list[Token] = []
    for id in ids:
        for predecessor in tx.predecessors_of(id):
            raise Uncleaned(predecessor.id)
        held += [token for token in tx.tokens_of(id, most) if lasts(tx, token)]
        if before + len(held) > RENAMED_AT_ONCE:
            raise LimitReached(
                f"the owner has more than {RENAMED_AT_ONCE} sessions and tokens, which is what one commit renames; end "
                "what is not needed any more first",
                limit=RENAMED_AT_ONCE,
            )
    if before > RENAMED_AT_ONCE:
        raise LimitReached(f"the owner has more than {RENAMED_AT_ONCE} sessions and tokens", limit=RENAMED_AT_ONCE)
    return held
