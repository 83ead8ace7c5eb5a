"""Why a session, token or service key is as it is: what its record says, and what the audit log remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..contract.queries import SessionResult, TokenResult
from ..records import OwnerEntry, ServiceKey, Session, Token
from ..records.explanation import Explanation
from ..records.session import as_datetime
from ..records.traits import BOUND

WHY = {
    "logout": "it was logged out",
    "idle": "it was not used for as long as its idle timeout allows",
    "expired": "its time was over",
    "detached_timeout": "it was detached for longer than it may be",
    "replaced": "a newer session of its owner took its place",
    "evicted": "it had to make room",
    "revoked": "it was ended by somebody who may end the sessions of others",
    "theft": "it is taken to be stolen: an old secret of it was used again, or whoever ended it said so",
    "owner_disabled": "its owner was disabled",
    "used": "all its uses were spent",
}
ENDS = frozenset({"session_ended", "token_ended", "key_revoked"})
KINDS = {"ses": "session", "tok": "token", "key": "service key"}


def when(at: int) -> str:
    """Return an instant as people read it."""
    return as_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def explained_session(id: str, now: int, found: SessionResult) -> Explanation:
    """Explain what a store knows of a session, ended ones too."""
    session, entry = found
    if session is None or session.former_of is not None:
        return unknown(id)
    if session.alive(now, entry):
        return _living_session(session)
    end = session.end(now, entry)
    because = [f"It was opened at {when(session.opened_at)} and ended at {when(end.at)}: {_why(end.reason)}."]
    if session.details.successor is not None:
        because.append(f"The session {session.details.successor} took its place and its transferable tokens.")
    because += _clock_of(session, end.reason)
    because += _owner_now(entry)
    return Explanation(id, "session", "ended", end.reason, end.at, session.owner, tuple(because))


def _living_session(session: Session) -> Explanation:
    until = session.expires_at
    if until is None:
        ends = "It ends only when somebody ends it."
    elif session.detached_at is None and (session.max_age_ms is None or until < session.opened_at + session.max_age_ms):
        ends = f"If it is not used it ends at {when(until)}."
    else:
        ends = f"It ends at {when(until)}, used or not."
    if session.detached_at is not None:
        said = "It is logged out and goes on: its secret is dead until attach gives it a new one."
        return Explanation(
            session.id, "session", "detached", None, session.detached_at, session.owner,
            (f"It was detached at {when(session.detached_at)}.", said, ends),
        )  # fmt: skip
    opened = f"It was opened at {when(session.opened_at)} and last used at about {when(session.last_seen_at)}."
    secret = "A secret that is refused is not its present one: rotating and attaching make a new one."
    if session.rotated_at is not None:
        secret = (
            f"It got its present secret at {when(session.rotated_at)}; one before that still opens it for a grace, and "
            "ends it when it is used after that."
        )
    return Explanation(
        session.id, "session", "active", None, session.opened_at, session.owner, (opened, ends, secret)
    )  # fmt: skip


def _clock_of(session: Session, reason: str) -> list[str]:
    lengths = {"idle": session.idle_timeout, "expired": session.max_age, "detached_timeout": session.detached_timeout}
    length = lengths.get(reason)
    return [] if length is None else [f"It was allowed {length} seconds of that."]


def _owner_now(entry: OwnerEntry | None) -> list[str]:
    if entry is None or entry.disabled_at is None:
        return []
    return [f"Its owner is disabled since {when(entry.disabled_at)}, so that nothing is opened for them."]


def _why(reason: str) -> str:
    return f"{WHY.get(reason, 'no more is known of the reason')} ({reason})"


def explained_token(id: str, now: int, found: TokenResult) -> Explanation:
    """Explain what a store knows of a token; one that ended is remembered until it is swept."""
    if found.token is None or found.token.is_loan:
        return unknown(id)
    token, session, entry = found.followed()
    assert token is not None
    if token.is_used_up:
        said = f"It was used up at {when(token.held_since)}: {_why('used')}."
        return Explanation(id, "token", "ended", "used", token.held_since, token.previous_owner, (said,))
    present = token.as_of(now, session, entry)
    if present is None:
        return _ended_token(token, now, session, entry)
    if present.unassigned_at is not None:
        return _unassigned_token(present, session, now, entry)
    because = [_held(present, session)]
    if present.expires_at is not None:
        because.append(f"Its own time ends at {when(present.expires_at)}.")
    if session is not None and present.session_id is not None and session.detached_at is not None:
        because.append("That session is detached; the token goes on all the same.")
    because += _offered(present)
    if present.uses_left is not None:
        because.append(f"It can be used {present.uses_left} more times.")
    if present.details.loans is not None:
        because.append("It was lent: a borrower's secret opens it until the loan is over; recall_token() ends all.")
    because.append("A secret that is refused is not its present one: a transfer, a claim and reissue make a new one.")
    return Explanation(id, "token", "active", None, present.held_since, present.owner, tuple(because))


def _offered(token: Token) -> list[str]:
    if token.reserved_for is None:
        return ["It is offered to everybody: who accepts first takes it."] if token.is_sellable else []
    until = "" if token.reserved_until is None else f" until {when(token.reserved_until)}"
    return [f"It is offered to {token.reserved_for!r} alone{until}: nobody else can take it."]


def _held(token: Token, session: Session | None) -> str:
    if token.owner is None:
        return f"It is a free token, issued at {when(token.created_at)}: it has no owner and no session."
    if session is None or token.session_id is None:
        return f"Its owner holds it since {when(token.held_since)} and has no session now; it joins their next one."
    return f"Its owner holds it since {when(token.held_since)}, in the session {session.id}."


def _unassigned_token(token: Token, session: Session | None, now: int, entry: OwnerEntry | None) -> Explanation:
    assert token.unassigned_at is not None
    because = [f"It has no owner since {when(token.unassigned_at)}: it may be claimed and does not authenticate."]
    if token.previous_owner is not None:
        because.append(f"It was {token.previous_owner!r}'s before.")
    if session is not None:
        end = session.end(now, entry)
        because.append(f"Their session {session.id} ended at {when(end.at)}: {_why(end.reason)}.")
    because += _offered(token)
    if token.expires_at is not None:
        because.append(f"If nobody takes it, it ends at {when(token.expires_at)}.")
    return Explanation(token.id, "token", "unassigned", None, token.unassigned_at, None, tuple(because))


def _ended_token(token: Token, now: int, session: Session | None, entry: OwnerEntry | None) -> Explanation:
    if session is not None and token.traits.kind is BOUND and not session.alive(now, entry):
        end = session.end(now, entry)
        if end.at <= token.deadline:
            because = f"It ended with the session {session.id} at {when(end.at)}: {_why(end.reason)}."
            return Explanation(token.id, "token", "ended", end.reason, end.at, token.owner, (because,))
    at = token.deadline
    what = "time to be claimed" if token.unassigned_at is not None else "own time"
    because = f"Its {what} was over at {when(at)}."
    return Explanation(token.id, "token", "ended", "expired", at, token.owner, (because,))


def explained_key(id: str, now: int, key: ServiceKey | None) -> Explanation:
    """Explain what a store knows of a service key; one that was revoked is forgotten."""
    if key is None:
        return unknown(id)
    made = f"It was made at {when(key.created_at)} for the role {key.role}."
    if not key.alive(now):
        assert key.expires_at is not None
        because = (made, f"Its time was over at {when(key.expires_at)}, by its own lifetime or as it was rotated.")
        return Explanation(id, "key", "ended", "expired", key.expires_at, None, because)
    bounds = "" if key.networks is None else f" It may be used from {key.networks} alone."
    ends = "It has no end." if key.expires_at is None else f"It ends at {when(key.expires_at)}."
    return Explanation(id, "key", "active", None, key.created_at, None, (made, ends + bounds))


def unknown(id: str) -> Explanation:
    """Explain an id that a store does not know."""
    kind = KINDS.get(id[:3], "thing")
    because = {
        "session": "The store knows no such session: it never was, or it ended more than an hour ago.",
        "token": "The store knows no such token: it never was, or it ended and was swept.",
    }.get(kind, "The store knows no such service key: it never was, or it was revoked.")
    return Explanation(id, "key" if kind == "service key" else kind, "unknown", None, None, None, (because,))


def unreadable(id: str, error: Exception) -> Explanation:
    """Explain a record that cannot be read: it answers as if it were not there, and is not."""
    kind = KINDS.get(id[:3], "thing")
    said = (f"Its record is there and cannot be read, so that nothing it opens is answered: {error}.",)
    return Explanation(id, "key" if kind == "service key" else kind, "unreadable", None, None, None, said)


def with_audit(
    known: Explanation, entries: Sequence[Mapping[str, Any]], *, is_kept: bool, is_whole: bool
) -> Explanation:
    """Return an explanation with what the audit log says about the same id.

    Args:
        known: what the store says.
        entries: about that id, the newest first.
        is_kept: whether there is an audit log.
        is_whole: whether all of it was searched.
    """
    if not is_kept:
        return known._replace(because=(*known.because, "No audit log is kept, which would remember more."))
    if not entries:
        part = "audit log" if is_whole else "part of the audit log that was searched"
        return known._replace(because=(*known.because, f"The {part} does not name it."))
    newest = entries[0]
    because = (*known.because, *(_entry_said(entry) for entry in entries))
    if known.state != "unknown":
        return known._replace(because=because)
    owner = newest.get("owner") or newest.get("previous_owner")
    if newest.get("kind") in ENDS:
        reason = newest.get("reason") if known.kind != "key" else "revoked"
        return Explanation(known.id, known.kind, "ended", reason, newest.get("at"), owner, because[1:])
    said = (
        "It is over: its own time was, or that of the session that held it; such an end is not logged for each token."
    )
    return known._replace(
        state="ended", owner=owner, because=(*because[1:], said) if known.kind == "token" else because
    )


def _entry_said(entry: Mapping[str, Any]) -> str:
    reason = entry.get("reason")
    actor, request = entry.get("actor"), entry.get("request")
    what = f"{entry.get('kind')} ({reason})" if reason else str(entry.get("kind"))
    whose = f" by {actor}" if actor else ""
    return f"Audit log, {when(int(entry.get('at', 0)))}: {what}{whose}{f' in request {request}' if request else ''}."
