# Generated from _async/log_in.py by tools/generate_sync.py; change that file and run it again.
"""The command that web frameworks log in with, for threads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .. import json_values
from .. import validation as inputs
from ..contract.partitioning import named_by_lookup
from ..crypto.minting import new_id
from ..crypto.secret_form import is_session_secret
from ..errors import InvalidInput, UnknownSession
from ..records import JSON, Issued, SessionDetails
from ..rules.idempotency import canonical_changes
from ..rules.log_in import log_in as log_in_rule
from ..rules.lookup import Key
from ..rules.moving_in import finish_moving_in
from ..rules.moving_in import move_in as move_in_rule
from ..rules.sessions import Opening, SessionChange
from ..settings import ANONYMOUS_OWNERS, UNSET, Duration, Unset, duration_ms
from .sessions import SyncSessionCommands, details_of


class SyncLogInCommands(SyncSessionCommands):
    """Sessions of browsers: before, at and after a log-in."""

    def log_in(
        self,
        owner: str | None,
        *,
        former: str | None = None,
        secret: str | None = None,
        data: Mapping[str, JSON] | None = None,
        removed: Collection[str] = (),
        remember: bool = False,
        version: int | None = None,
        idle_timeout: Duration | None | Unset = UNSET,
        max_age: Duration | None | Unset = UNSET,
        label: str | None = None,
        acr: str | None = None,
        amr: Collection[str] = (),
        user_agent: str | None = None,
        address: str | None = None,
        idempotency_key: str | None = None,
    ) -> Issued:
        """Open a session for a user who has just logged in and end the one that their browser had, in one step.

        The former session ends as ``replaced`` where it was a visitor's or the same owner's: its session-bound tokens
        die, its data is carried over, its transferable tokens come along with their secrets (a visitor's with
        epoch + 1, for they change hands). Another owner's is logged out, and nothing of it is carried over. A former
        session that is over or unknown hinders no log-in.

        Args:
            owner: who has logged in; ``None`` opens a visitor's session, of a reserved owner of its own, which ends
                after ``Settings.anonymous_max_age`` if no ``max_age`` is given.
            former: the id or the secret of the session that the browser had.
            secret: the secret of the new session, where one was minted before, and perhaps handed out;
                only the former session may have it at present. Without it one is minted.
            data: fields of the new session's data, beside those that are carried over and before them.
            removed: names of fields that are not carried over.
            remember: whether it lasts for ``Settings.remember_max_age``, however little it is used.
            version: of the former session as it was read; a field named here that was changed since is a conflict.
            acr: how surely the user proved who they are, a value of the application's (OpenID Connect Core 1.0).
            amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
            idle_timeout, max_age, label, user_agent, address: as for ``open_session``.

        Raises:
            OwnerDisabled, LimitReached: as ``open_session``; the former session goes on.
            AlreadyExists: another session has the secret: a secret that came from outside is never adopted.
            Conflict: a field was changed in the former session since ``version``; that goes on.
            InvalidInput: what can never be right, too much data, or a field that is both in ``data`` and ``removed``.
        """
        self._know_settings()
        policy = self._policy
        if inputs.flag_of("remember", remember):
            idle_timeout = None if idle_timeout is UNSET else idle_timeout
        kind = self._secret_kind if secret is None else _kind_of(secret)
        details = details_of(policy, kind, None, label, user_agent, address, acr, amr)
        opening = self._opening_for(owner, idle_timeout, max_age, details, remember=remember)
        changes = json_values.data_changes_of({} if data is None else data, removed, policy.max_data_bytes, "data")
        before = self._former_key(former)
        clocks = inputs.asked_of(idle_timeout, max_age, UNSET)
        said = (*details[:3], details.acr, details.amr_text)
        seen = inputs.version_of("version", version)
        fields = () if idempotency_key is None else canonical_changes(changes)
        request = (owner, former if before else None, secret, remember, seen, *clocks, *said, *fields)

        def args(lookups: tuple[str, ...]) -> tuple[object, ...]:
            return policy, opening.looked_up_by(lookups[0]), before, lookups, changes, self.store.clock, seen

        if secret is None:
            return self._issue(
                "log_in", idempotency_key, request, kind, log_in_rule, lambda lookup: args((lookup,)), opening.id[4:6]
            )
        lookups = tuple(self._keyring.lookups(secret))
        return Issued(self._do("log_in", idempotency_key, request, log_in_rule, *args(lookups)), secret)

    def _opening_for(
        self,
        owner: str | None,
        idle_timeout: Duration | None | Unset,
        max_age: Duration | None | Unset,
        details: SessionDetails,
        *,
        remember: bool = False,
    ) -> Opening:
        """Return what is opened for a user, or for a visitor, who gets an owner of their own."""
        user = ANONYMOUS_OWNERS + new_id("", "") if owner is None else inputs.receiver_of("owner", owner)
        opening = self._opening(user, idle_timeout, max_age, UNSET, False, details)
        if max_age is UNSET and (remember or owner is None):
            opening.traits = opening.traits.replace(max_age_ms=self._log_in_age_ms(owner, remember=remember))
        return opening

    def _log_in_age_ms(self, owner: str | None, *, remember: bool) -> int | None:
        """Return for how long a user, or a visitor, is logged in where nothing is said of that."""
        policy = self._policy
        if remember:
            return policy.remember_max_age_ms
        return policy.anonymous_max_age_ms if owner is None else policy.max_age_ms

    def move_in(
        self,
        cookie: str,
        owner: str | None,
        *,
        data: Mapping[str, JSON] | None = None,
        time_left: Duration | None = None,
        kept: Duration = 31 * 86_400,
        presented: bool = True,
        idle_timeout: Duration | None | Unset = UNSET,
        max_age: Duration | None | Unset = UNSET,
        user_agent: str | None = None,
        address: str | None = None,
    ) -> Issued | None:
        """Open a session for the cookie of another library; presented again, it leads to the same one for 10 minutes.

        After that, once the session is over, and after ``finish_moving_in()``, the cookie leads nowhere. Frameworks do
        this with what ``session_tokens.web.moving_in`` reads.

        Args:
            cookie: its value, which is not kept.
            owner: who is logged in; ``None`` for a visitor.
            data: the fields of the session.
            time_left: seconds or ``timedelta`` that the other library would have given it; it ends then, or sooner
                where the general settings say so. ``None``: as the general settings say.
            kept: how long it is remembered that the cookie was moved: at least as long as the other library would
                take it.
            presented: whether a browser brought it that is given a new one. Without, it is moved before any does, and
                waits for that as long as the other library would take the cookie; its clocks run from then on.
            idle_timeout, max_age, user_agent, address: as for ``open_session``.

        Returns:
            The session, which may be over by now, and its secret.

        Raises:
            OwnerDisabled, LimitReached: as ``open_session``.
            InvalidInput: an owner, duration or text that can never be right, or too much data.
        """
        if not isinstance(cookie, str):
            raise TypeError(f"cookie is a str, not {type(cookie).__name__}")
        self._know_settings()
        policy = self._policy
        details = details_of(policy, self._secret_kind, None, None, user_agent, address, None, ())
        opening = self._opening_for(owner, idle_timeout, max_age, details)
        left_ms, kept_ms = duration_ms("time_left", time_left), duration_ms("kept", kept)
        if kept_ms is None:
            raise InvalidInput("kept is how long a cookie is remembered, in seconds; for ever is too long")
        if left_ms is not None and (opening.traits.max_age_ms is None or left_ms < opening.traits.max_age_ms):
            opening.traits = opening.traits.replace(max_age_ms=left_ms)
        clocks = SessionChange(opening.traits.idle_timeout_ms, opening.traits.max_age_ms, from_now=True)
        if not inputs.flag_of("presented", presented):
            opening.traits = opening.traits.replace(idle_timeout_ms=kept_ms, max_age_ms=left_ms)
        changes = json_values.data_changes_of({} if data is None else data, (), policy.max_data_bytes, "data")
        key = inputs.digest_of("cookie", cookie)
        ticket = self._ticket("move_in", key, ())
        place = opening.id[4:6]
        secret = self._derived(self._secret_kind, "move_in", key, ticket.nonce, ticket.key_id, place)
        lookup = self._keyring.lookup(secret)
        args = (policy, opening.looked_up_by(lookup), (), (lookup,), changes, self.store.clock)
        mark = self._run(move_in_rule, ticket, kept_ms, presented, log_in_rule, args, clocks)
        if mark is None:
            return None
        session: Any = mark.outcome
        if mark.nonce != ticket.nonce:
            place = named_by_lookup(session.lookup)
            secret = self._derived(session.secret_kind, "move_in", key, mark.nonce, mark.key_id, place)
        return Issued(session, secret)

    def finish_moving_in(self) -> bool:
        """Move nothing in from other libraries any more, in every process on this store; return whether that is new."""
        return self._run(finish_moving_in)

    def _former_key(self, former: str | None) -> Key:
        """Return what names the session that a browser had; empty where there is none, or it can be none."""
        if former is None:
            return ()
        try:
            return self._session_key(former)
        except UnknownSession:
            return ()


def _kind_of(secret: object) -> str:
    """Return how a session's secret begins, where it is a well-formed one."""
    if not isinstance(secret, str):
        raise TypeError(f"a secret is a str, not {type(secret).__name__}")
    if not is_session_secret(secret):
        raise InvalidInput("that is not the secret of a session (sts_… or std_…); leave it away, and one is minted")
    return secret[:4]
