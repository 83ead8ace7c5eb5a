"""A naive second opinion on the rules: plain dictionaries, everything settled at every call, nothing clever.

It is written from the rules on paper and never from the library, so that where the two disagree one of them is wrong.
Names stand for ids (`s1`, `t4`) and for secrets (`s1#2`, the second secret of `s1`); instants and durations are integer
milliseconds, `None` is never. A command answers the record as a dictionary or raises `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace as Thing
from typing import Any, NoReturn

RETENTION_MS = 3_600_000  # how long an ended session is still known by its id
LIVING_MAX = 10_000  # sessions of one owner, whatever the settings say
SESSION_FIELDS = (
    "id owner created_at last_seen_at idle_timeout max_age detachable detached_at label data version "
    "rotated_at secret_until"
).split()
TOKEN_FIELDS = (
    "id kind owner session_id value epoch price currency gift tag uses_left reserved_for reserved_until borrower"
).split()
NOT_OFFERED: dict[str, Any] = {
    "listed": False, "price": None, "currency": None, "gift": False, "reserved_for": None, "reserved_until": None,
}  # fmt: skip
LOANS_MAX = 16  # living loans of one token
FORMER_MAX = 4  # secrets of a session before its present one that are still known
Record = dict[str, Any]


class Refusal(Exception):
    """The command changes nothing and raises the error of this name; where it has two faults, of either name."""


def refuse(name: str) -> NoReturn:
    raise Refusal(name)


def every(*looks: Callable[[], Any]) -> list[Any]:
    """Return what each look finds; if several refuse, no rule says which of them is told."""
    found, names = [], []
    for look in looks:
        try:
            found.append(look())
        except Refusal as refusal:
            names.append(str(refusal))
    if names:
        raise Refusal(" or ".join(names))
    return found


def pseudonym_of(owner: str) -> str:
    """Return what stands for an owner who was forgotten."""
    return f"forgotten {owner}"


class NaiveSessions:
    """All sessions of one store, and their hold on its tokens, and the events that are owed for their changes.

    Args:
        settings: `max_age`, `idle_timeout`, `detached_timeout`, `token_timeout`, `disownment_timeout` in milliseconds,
            `max_sessions` and `session_policy`.
        now: the first instant.
    """

    def __init__(self, settings: dict[str, Any], now: int) -> None:
        self.settings, self.now = settings, now
        self.sessions: dict[str, Thing] = {}
        self.tokens: dict[str, Thing] = {}
        self.disabled: set[str] = set()
        self.events: list[tuple[str, str, str | None]] = []  # (kind, id or owner, reason), of changes by command
        self.expired: dict[str, list[str]] = {}  # dead of a deadline, told when swept: id -> possible reasons
        self.may_stay_silent: set[str] = set()  # bound tokens of ended sessions: the session's event covers them

    # Time: everything dies at its own deadline, however late anybody looks.

    def session_deadlines(self, session: Thing) -> list[tuple[int, str]]:
        clocks = [(session.opened_at, session.max_age, "expired")]
        if session.detached_at is not None:
            clocks.append((session.detached_at, session.detached_timeout, "detached_timeout"))
        elif session.idle_timeout is not None:
            clocks.append((session.last_seen_at, session.idle_timeout * 17 // 16, "idle"))
        return sorted((start + span, reason) for start, span, reason in clocks if span is not None)

    def token_deadlines(self, token: Thing) -> list[int]:
        clocks = [(token.timeout_since, token.timeout)]
        if token.unassigned_at is not None and not (token.reserved_for is not None and token.reserved_until is None):
            clocks.append((token.reserved_until or token.unassigned_at, token.disownment_timeout))
        return [start + span for start, span in clocks if span is not None]

    def advance(self, now: int) -> None:
        self.now = now
        for session in self.living_sessions():
            deadlines = self.session_deadlines(session)
            if deadlines and deadlines[0][0] <= now:
                self.expired[session.id] = [reason for at, reason in deadlines if at == deadlines[0][0]]
                self.end(session, deadlines[0][0])
        for token in self.living_tokens():
            self.lapse_if_due(token, now)
            self.die_if_due(token, now)

    def lapse_if_due(self, token: Thing, now: int) -> None:
        """An offer to one owner is over when their time for it is; from then on the token waits for anybody."""
        if token.reserved_until is not None and token.reserved_until <= now:
            if token.unassigned_at is not None:
                token.unassigned_at = token.reserved_until
            vars(token).update(NOT_OFFERED)

    def die_if_due(self, token: Thing, now: int) -> None:
        if any(deadline <= now for deadline in self.token_deadlines(token)):
            token.dead = True
            self.expired[token.id] = []

    def end(self, session: Thing, at: int, successor: str | None = None) -> None:
        session.ended_at, session.secret = at, None
        bound = [t.id for t in self.tokens.values() if t.kind == "session-bound" and t.session_id == session.id]
        self.may_stay_silent.update(bound)
        for token in [token for token in self.living_tokens() if token.session_id == session.id]:
            self.lapse_if_due(token, at)
            self.die_if_due(token, at)
            if token.dead:
                continue
            if token.kind == "session-bound":
                token.dead = True
            elif successor is not None:
                token.session_id = successor
            else:
                token.previous_owner, token.owner, token.session_id, token.unassigned_at = token.owner, None, None, at

    def put_back(self, token: Thing) -> None:
        self.say("token_released", token.id)
        token.previous_owner, token.owner, token.session_id, token.unassigned_at = token.owner, None, None, self.now
        token.secret = None
        vars(token).update(NOT_OFFERED)

    def withdraw(self, token: Thing) -> None:
        if token.listed:
            self.say("token_withdrawn", token.id)
        self.reserve(token, None, None)
        vars(token).update(NOT_OFFERED)

    def reserve(self, token: Thing, owner: str | None, span: int | None) -> None:
        if token.unassigned_at is not None and token.reserved_for is not None:
            token.unassigned_at = self.now  # it was for one owner alone until now
        token.reserved_for = owner
        token.reserved_until = None if owner is None or span is None else self.now + span

    def end_now(self, session: Thing, reason: str, successor: str | None = None) -> None:
        self.end(session, self.now, successor)
        self.events.append(("session_ended", session.id, reason))

    # Looking up: an id manages, a secret that authenticates does too, nothing else is a key.

    def living_sessions(self, owner: str | None = None) -> list[Thing]:
        return [s for s in self.sessions.values() if s.ended_at is None and owner in (None, s.owner)]

    def living_tokens(self) -> list[Thing]:
        return [token for token in self.tokens.values() if not token.dead]

    def session_of(self, key: str) -> Thing:
        for session in self.living_sessions():
            if key in (session.id, session.secret) or self.good_until(session, key) is not None:
                return session
        self.end_stolen(key)
        if key in self.sessions and self.now < self.sessions[key].ended_at + RETENTION_MS:
            raise Refusal("SessionEnded")
        raise Refusal("UnknownSession")

    def good_until(self, session: Thing, secret: str) -> int | None:
        """Return until when a former secret is good; `None` for one that is not."""
        return next((until for former, until in session.former if former == secret and self.now < until), None)

    def stolen_secrets(self) -> list[str]:
        """Return the former secrets whose use ends a session."""
        living = [s for s in self.living_sessions() if s.detached_at is None]
        return [secret for session in living for secret, until in session.former if until <= self.now]

    def end_stolen(self, key: str) -> None:
        for session in self.living_sessions():
            if key in self.stolen_secrets() and key in dict(session.former):
                self.end_now(session, "theft")

    def token_of(self, key: str) -> Thing:
        for token in self.living_tokens():
            if key == token.id or (key == token.secret and token.unassigned_at is None):
                return token
        raise Refusal("UnknownToken")

    def transferable(self, key: str) -> Thing:
        token = self.token_of(key)
        if token.kind != "transferable":
            raise Refusal("NotTransferable")
        return token

    def session_record(self, session: Thing) -> Record:
        record = {name: getattr(session, name) for name in SESSION_FIELDS} | {"data": dict(session.data)}
        return record | {"expires_at": next((at for at, _ in self.session_deadlines(session)), None)}

    def token_record(self, token: Thing, loan: Thing | None = None) -> Record:
        deadlines = self.token_deadlines(token)
        if loan is not None:
            deadlines += [] if loan.until is None else [loan.until]
            for id in {token.session_id, loan.session_id} - {None}:
                deadlines += [at for at, _ in self.session_deadlines(self.sessions[id])]
        if token.kind == "session-bound":
            deadlines += [at for at, _ in self.session_deadlines(self.sessions[token.session_id])]
        record = {name: getattr(token, name) for name in TOKEN_FIELDS} | {"expires_at": min(deadlines, default=None)}
        record["borrower"] = None if loan is None else loan.borrower
        return record | {"previous_owner": None if token.unassigned_at is None else token.previous_owner}

    def with_new_secret(self, thing: Thing) -> Record:
        thing.secrets += 1
        thing.secret = f"{thing.id}#{thing.secrets}"
        record = self.session_record(thing) if thing.id in self.sessions else self.token_record(thing)
        return record | {"secret": thing.secret}

    def say(self, kind: str, id: str) -> None:
        self.events.append((kind, id, None))

    # Sessions.

    def open_session(self, owner: str, **options: Any) -> Record:
        """Options: `idle_timeout`, `max_age`, `detachable`, `data`, `label`."""
        if owner in self.disabled:
            raise Refusal("OwnerDisabled")
        replaced = self.in_the_way(owner)
        general = {name: self.settings[name] for name in ("idle_timeout", "max_age", "detached_timeout")}
        others = [other.created_at for other in self.living_sessions(owner)]
        session = Thing(
            id=f"s{len(self.sessions) + 1}", owner=owner, created_at=max(self.now, 1 + max(others, default=0)),
            opened_at=self.now, last_seen_at=self.now, detached_at=None,
            ended_at=None, version=1, changed={}, secrets=0, secret=None,
            former=[], rotated_at=None, secret_until=None,
            **{"data": {}, "label": None, "detachable": False} | general | options,
        )  # fmt: skip
        self.sessions[session.id] = session
        for old in replaced:
            self.end_now(old, "replaced", successor=session.id)
        for token in self.parked(owner):  # all of them, once it was swept; at once no more than a batch
            token.session_id = session.id
        self.say("session_opened", session.id)
        return self.with_new_secret(session)

    def parked(self, owner: str) -> list[Thing]:
        return [token for token in self.living_tokens() if token.owner == owner and token.session_id is None]

    def in_the_way(self, owner: str) -> list[Thing]:
        living, cap = self.living_sessions(owner), self.settings["max_sessions"]
        if cap is None:
            return refuse("LimitReached") if len(living) >= LIVING_MAX else []
        if len(living) < cap:
            return []
        if self.settings["session_policy"] == "refuse":
            raise Refusal("LimitReached")
        if self.settings["session_policy"] == "replace_all":
            return living
        return sorted(living, key=lambda s: (s.detached_at is not None, s.created_at))[: len(living) - cap + 1]

    def verify_session(self, secret: str, *, touch: bool = True) -> Record | None:
        self.end_stolen(secret)
        for session in self.living_sessions():
            until = self.good_until(session, secret)
            if session.secret == secret or until is not None:
                unseen = self.now - session.last_seen_at
                if touch and session.idle_timeout is not None and unseen >= session.idle_timeout / 16:
                    session.last_seen_at = self.now
                return self.session_record(session) | {"secret_until": until}
        return None

    def rotate_session(self, key: str, *, grace: int | None = None) -> Record:
        session = self.session_of(key)
        if session.detached_at is not None:
            raise Refusal("Conflict")
        if grace is not None and self.good_until(session, key) is not None:
            return self.session_record(session) | {"secret": session.secret}
        self.say("session_rotated", session.id)
        session.rotated_at = None if grace is None else self.now
        former = [] if grace is None else [*session.former, (session.secret, self.now + grace)]
        session.former = former[-FORMER_MAX:]
        return self.with_new_secret(session)

    def detach_session(self, key: str) -> Record:
        session = self.session_of(key)
        if session.detached_at is None:
            if not session.detachable:
                raise Refusal("NotDetachable")
            session.detached_at, session.secret = self.now, None
            session.former, session.rotated_at = [], None
            self.say("session_detached", session.id)
        return self.session_record(session)

    def attach_session(self, key: str) -> Record:
        session = self.session_of(key if key in self.sessions else "a secret is no key here")
        if session.detached_at is None:
            raise Refusal("Conflict")
        session.detached_at, session.last_seen_at = None, self.now
        self.say("session_attached", session.id)
        return self.with_new_secret(session)

    def change_session(self, key: str, **changes: Any) -> Record:
        session = self.session_of(key)
        vars(session).update(changes)
        if "idle_timeout" in changes:
            session.last_seen_at = self.now  # else a shorter one could end a session early that was used just now
        self.say("session_changed", session.id)
        record = self.session_record(session)
        if record["expires_at"] is not None and record["expires_at"] <= self.now:
            record["expires_at"] = self.now  # it lived until now, whatever its age
            self.expired[session.id] = [reason for at, reason in self.session_deadlines(session) if at <= self.now]
            self.end(session, self.now)
        return record

    def update_session_data(
        self, key: str, changes: Record, *, removed: Sequence[str] = (), version: int | None = None
    ) -> Record:
        session = self.session_of(key)
        touched = [*changes, *removed]
        if version is not None and any(session.changed.get(name, 0) > version for name in touched):
            raise Refusal("Conflict")
        session.version += 1
        session.changed |= dict.fromkeys(touched, session.version)
        session.data = {name: value for name, value in (session.data | changes).items() if name not in removed}
        self.say("session_changed", session.id)
        return self.session_record(session)

    def destroy_session(self, key: str, *, reason: str = "logout") -> bool:
        try:
            self.end_now(self.session_of(key), reason)
        except Refusal:
            return False
        return True

    def destroy_sessions(self, owner: str, *, except_session: str | None = None) -> int:
        kept = None if except_session is None else self.session_of(except_session)
        if kept is not None and kept.owner != owner:
            raise Refusal("NotOwner")
        ended = [session for session in self.living_sessions(owner) if session is not kept]
        for session in ended:
            self.end_now(session, "logout")
        return len(ended)

    def disable_owner(self, owner: str) -> bool:
        if owner in self.disabled:
            return False
        self.disabled.add(owner)
        self.say("owner_disabled", owner)
        for session in self.living_sessions(owner):
            self.end_now(session, "owner_disabled")
        return True

    def enable_owner(self, owner: str) -> bool:
        if owner not in self.disabled:
            return False
        self.disabled.remove(owner)
        self.say("owner_enabled", owner)
        return True

    # Names.

    def rename_owner(self, owner: str, to: str) -> int:
        """All that is theirs goes with them; who is disabled is so under both names."""
        moved = self.living_sessions(owner)
        held = [token for token in self.living_tokens() if token.owner == owner]
        if to in self.disabled:
            raise Refusal("OwnerDisabled")
        if self.living_sessions(to) or self.parked(to):
            raise Refusal("Conflict")
        for session in moved:
            session.owner = to
        self.name_anew(owner, to)
        if owner in self.disabled:
            self.disabled.add(to)
        if moved or held or owner in self.disabled:
            self.say("owner_renamed", to)
        return len(moved) + len(held)

    def name_anew(self, owner: str, to: str) -> None:
        for thing in [thing for token in self.living_tokens() for thing in (token, *token.loans)]:
            for field in {"owner", "previous_owner", "reserved_for", "borrower"} & vars(thing).keys():
                if getattr(thing, field) == owner:
                    setattr(thing, field, to)

    def forget_owner(self, owner: str) -> Record:
        """Nothing of theirs lives afterwards, and a pseudonym stands where their name did."""
        self.disable_owner(owner)
        self.say("owner_forgotten", pseudonym_of(owner))
        for token in self.living_tokens():
            token.loans = [loan for loan in token.loans if loan.borrower != owner]
            if token.owner == owner:
                self.put_back(token)
            elif token.reserved_for == owner:
                self.withdraw(token)
        self.name_anew(owner, pseudonym_of(owner))
        self.disabled.remove(owner)
        return {"pseudonym": pseudonym_of(owner)}
