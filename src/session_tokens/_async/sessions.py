"""The commands on sessions and owners, for asyncio."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args

from .. import json_values
from .. import validation as inputs
from ..contract.queries import Get, Scan
from ..contract.transaction import Rule
from ..crypto.minting import new_id
from ..crypto.secret_form import SESSION_ID, SESSION_SECRET, is_id, is_session_secret
from ..errors import InvalidInput, StoreError, UnknownSession
from ..records import JSON, NO_DETAILS, Issued, Page, Reason, Session, SessionDetails
from ..records.traits import session_traits
from ..rules import owners as owner_rules
from ..rules import sessions as rules
from ..rules.expiry import Uncleaned, sweep_owner, touch_is_due
from ..rules.idempotency import canonical, canonical_changes
from ..rules.listing import sessions_listed, users_sessions_listed
from ..settings import LABEL_BYTES_MAX, UNSET, USER_AGENT_BYTES_MAX, Duration, Policy, Unset, duration_ms
from .core import CHUNK
from .session_secrets import AsyncSecretCommands

T = TypeVar("T")

log = logging.getLogger("session_tokens.sessions")

REASONS: Mapping[str, Reason] = {reason: reason for reason in get_args(Reason)}


def reason_of(given: str) -> Reason:
    """Return why a session is ended.

    Raises:
        TypeError: it is no ``str``.
        InvalidInput: it is none of the agreed reasons.
    """
    if not isinstance(given, str):
        raise TypeError(f"reason is a str, not {type(given).__name__}")
    reason = REASONS.get(given)
    if reason is None:
        raise InvalidInput(f"reason is one of {', '.join(sorted(REASONS))}")
    return reason


class AsyncSessionCommands(AsyncSecretCommands):
    """Sessions and owners."""

    async def open_session(
        self,
        owner: str,
        *,
        idle_timeout: Duration | None | Unset = UNSET,
        max_age: Duration | None | Unset = UNSET,
        detached_timeout: Duration | None | Unset = UNSET,
        detachable: bool = False,
        data: Mapping[str, JSON] | None = None,
        label: str | None = None,
        user_agent: str | None = None,
        address: str | None = None,
        acr: str | None = None,
        amr: Collection[str] = (),
        client_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Issued:
        """Open a session for an owner and return it with its secret.

        Args:
            owner: the application's identity string: 1 to 255 bytes of UTF-8.
            idle_timeout: ends it after so long without use.
            max_age: ends it so long after now, whatever its use.
            detached_timeout: ends it after so long detached.
            detachable: whether it may be logged out and go on.
            data: a small JSON object kept with it.
            label: a name for the owner to tell sessions apart.
            user_agent: of the client that logs in; it, label and address are cleaned and cut to length, not refused.
            address: of the client that logs in.
            acr: how surely the owner proved who they are, a value of the application's (OpenID Connect Core 1.0).
            amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
            client_id: the id of the service key on whose behalf it is opened.

        Raises:
            OwnerDisabled: the owner is disabled.
            LimitReached: the owner has ``max_sessions`` and the policy is ``refuse``.
            InvalidInput: an owner, duration or text that can never be right.
        """
        await self._know_settings()
        opening = self._opening(
            inputs.receiver_of("owner", owner, self._own_owners), idle_timeout, max_age, detached_timeout, detachable,
            details_of(self._policy, self._secret_kind, data, label, user_agent, address, acr, amr), client_id,
        )  # fmt: skip
        asked: tuple[object, ...] = ()
        if idempotency_key is not None:
            details = opening.details
            said = details.acr, details.amr_text, canonical(details.data_text)
            asked = *inputs.asked_of(idle_timeout, max_age, detached_timeout), *said
        return await self._issue(
            "open_session",
            idempotency_key,
            (opening.owner, *asked, opening.traits.detachable, *opening.details[:3], opening.traits.client_id),
            self._secret_kind,
            rules.open_session,
            lambda lookup: (self._policy, opening.looked_up_by(lookup), self.store.clock),
            opening.id[4:6],
        )

    def _opening(
        self,
        owner: str,
        idle_timeout: Duration | None | Unset,
        max_age: Duration | None | Unset,
        detached_timeout: Duration | None | Unset,
        detachable: bool,
        details: SessionDetails,
        client_id: str | None = None,
    ) -> rules.Opening:
        """Return what a session is opened with: what is given, and the general settings for the rest."""
        policy = self._policy
        age_ms = policy.max_age_ms if max_age is UNSET else duration_ms("max_age", max_age)
        if detached_timeout is not UNSET:
            detached_ms = duration_ms("detached_timeout", detached_timeout)
        else:
            detached_ms = policy.max_age_ms if policy.detached_as_max_age else policy.detached_timeout_ms
        return rules.Opening(
            new_id(SESSION_ID, self.store.partitioning.of_owner(owner)),
            None,
            owner,
            session_traits(
                policy.idle_timeout_ms if idle_timeout is UNSET else duration_ms("idle_timeout", idle_timeout),
                age_ms,
                detached_ms,
                inputs.flag_of("detachable", detachable),
                inputs.optional_text("client_id", client_id, bytes_max=LABEL_BYTES_MAX),
            ),
            details,
        )

    async def verify_session(self, secret: str, *, touch: bool = True) -> Session | None:
        """Return the attached living session of a secret, ``None`` for every other string.

        Args:
            secret: what ``open_session`` gave out. Nothing is trimmed.
            touch: whether this is a use: restarts the idle timeout (written down after 1/16 of it). One that cannot
                be written, for the store is full, read-only or locked, is counted (``touches.failed``) and logged.

        Raises:
            TypeError: ``secret`` is not a ``str``.
            StoreUnavailable: the store cannot be read; this does not mean that the secret is not valid.
        """
        if not isinstance(secret, str):
            raise TypeError(f"a secret is a str, not {type(secret).__name__}")
        near = self.store.near_cache
        if near is not None and (kept := near.session(secret, self._keyring)) is not None:
            lookups, now, session = kept
        elif not is_session_secret(secret):
            return None
        else:
            lookups = self._keyring.lookups(secret)
            now, found, entry = await self.store.find_session(lookups)
            if found is None:
                return None
            if not found.authenticates(now, entry):
                return None if found.former_of is None else await self._by_former_secret(found, found.former_of, touch)
            session = found
        if touch and (touch_is_due(session, now) or session.lookup != lookups[0]):
            return await self._touched(session, lookups[0])
        return session

    async def detach_session(self, key: str, *, idempotency_key: str | None = None) -> Session:
        """Log a detachable session out but let it and its tokens go on; its secret is dead. Twice changes nothing.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``key``.
            NotDetachable: it was not opened as detachable.
        """
        named = self._session_key(key)
        return await self._do("detach_session", idempotency_key, (key,), rules.detach_session, named)

    async def change_session(
        self,
        key: str,
        *,
        idle_timeout: Duration | None | Unset = UNSET,
        max_age: Duration | None | Unset = UNSET,
        detached_timeout: Duration | None | Unset = UNSET,
        detachable: bool | Unset = UNSET,
        label: str | None | Unset = UNSET,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Session:
        """Change clocks, detachability or label of a session; what is not given stays.

        Args:
            max_age: counts from its opening, not from now.
            version: change it only if its version is still this one.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``key``.
            Conflict: ``version`` is not its version any more.
        """
        named = self._session_key(key)
        change = rules.SessionChange(
            UNSET if idle_timeout is UNSET else duration_ms("idle_timeout", idle_timeout),
            UNSET if max_age is UNSET else duration_ms("max_age", max_age),
            UNSET if detached_timeout is UNSET else duration_ms("detached_timeout", detached_timeout),
            UNSET if detachable is UNSET else inputs.flag_of("detachable", detachable),
            UNSET if label is UNSET else inputs.label_of(label),
            inputs.version_of("version", version),
        )
        request = (key, *change)
        return await self._do("change_session", idempotency_key, request, rules.change_session, named, change)

    async def update_session_data(
        self,
        key: str,
        changes: Mapping[str, JSON],
        *,
        removed: Collection[str] = (),
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Session:
        """Merge fields into a session's data; ``None`` is a value (null), ``removed`` names what shall go.

        Concurrent updates of different fields all survive. With ``version`` (that of the session as you read it),
        a field that someone else changed since is a ``Conflict``; without it, the last update of a field stands.
        A field that is removed and not there changes nothing but the version.

        Args:
            changes: field → JSON value.
            removed: names of fields.
            version: the session's, as you read it.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``key``.
            Conflict: one of the fields was changed since ``version``.
            InvalidInput: the data would pass ``Settings.max_data_bytes`` (16 KiB), or a field is in both.
        """
        await self._know_settings()
        bytes_max = self._policy.max_data_bytes
        named, merged = self._session_key(key), json_values.data_changes_of(changes, removed, bytes_max)
        seen = inputs.version_of("version", version)
        request = () if idempotency_key is None else (key, *canonical_changes(merged), seen)
        return await self._do(
            "update_session_data", idempotency_key, request, rules.update_session_data, named, merged, seen, bytes_max
        )

    async def destroy_session(
        self,
        key: str,
        *,
        reason: Reason = "logout",
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """End a session in one step: its bound tokens are dead, its transferable ones unassigned.

        Answers:
            Whether a session lived under ``key``; ending what is over or unknown changes nothing.

        Raises:
            Conflict: ``version`` is given and is not its version any more.
            InvalidInput: a reason that is none of the agreed ones.
        """
        reason = reason_of(reason)
        try:
            named = self._session_key(key)
        except UnknownSession:
            return False
        expected = inputs.version_of("version", version)
        ended = await self._do(
            "destroy_session",
            idempotency_key,
            (key, reason, expected),
            rules.destroy_session,
            named,
            reason,
            expected,
        )
        if not ended and not isinstance(named, str):
            await self.store.insist_on_peppers()
        return ended

    async def destroy_sessions(
        self,
        owner: str,
        *,
        except_session: str | None = None,
        reason: Reason = "logout",
        idempotency_key: str | None = None,
    ) -> int:
        """End all sessions of an owner, or all but one, in one instant; return how many were ended.

        Of more than 1,000, those that had run out of time and were not swept are counted as well.

        Raises:
            UnknownSession, SessionEnded: the session to keep is not a living one; nothing was ended.
            NotOwner: the session to keep is another owner's; nothing was ended.
        """
        reason = reason_of(reason)
        kept = None if except_session is None else self._session_key(except_session)
        owner = inputs.owner_of("owner", owner)
        request, args = (owner, except_session, reason), (owner, kept, reason)
        ended = await self._end_all("destroy_sessions", idempotency_key, request, owner_rules.destroy_sessions, args)
        if ended:
            await self._clean_up_behind(owner)
        return ended

    async def disable_owner(self, owner: str, *, idempotency_key: str | None = None) -> bool:
        """Disable an owner: their sessions are dead at once, and none is opened until ``enable_owner``.

        Tokens that they hold without a session stay theirs. Returns whether it is new; twice changes nothing.

        Raises:
            InvalidInput: it can never be an owner, or is one that is reserved: disabling it could shut an admin out.
        """
        owner = inputs.receiver_of("owner", owner)
        is_new = await self._end_all("disable_owner", idempotency_key, (owner,), owner_rules.disable_owner, (owner,))
        await self._clean_up_behind(owner)
        return is_new

    async def _end_all(
        self, command: str, idempotency_key: str | None, request: tuple[object, ...], rule: Rule[T],
        args: tuple[Any, ...],
    ) -> T:  # fmt: skip
        """Run a rule that ends the sessions of an owner, the first of ``args``, in one instant."""
        most = self._policy.ended_at_once
        while True:
            try:
                return await self._do(command, idempotency_key, request, rule, *args, most)
            except Uncleaned:
                await self._run(sweep_owner, args[0], most)

    async def _clean_up_behind(self, owner: str) -> None:
        """End, each for itself, the sessions of an owner that one write has ended.

        That stands, whatever happens here: what is left over is for the sweeper.
        """
        most = self._policy.ended_at_once
        try:
            while await self._run(sweep_owner, owner, most) == most:
                pass
        except StoreError as error:
            log.warning("an owner's sessions are ended; the sweeper goes on to clean up behind them: %s", error)

    async def enable_owner(self, owner: str, *, idempotency_key: str | None = None) -> bool:
        """Let a disabled owner open sessions again; those that died stay dead. Returns whether it is new."""
        owner = inputs.owner_of("owner", owner)
        return await self._do("enable_owner", idempotency_key, (owner,), owner_rules.enable_owner, owner)

    async def get_session(self, id: str) -> Session | None:
        """Return the living session of an id, attached or detached; ``None`` for every other string."""
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        if not is_id(SESSION_ID, id):
            return None
        now, found = await self.store.read([Get("session", id)])
        session, entry = found[0].value
        return session if session is not None and session.alive(now, entry) else None

    async def list_sessions(
        self,
        owner: str | None = None,
        *,
        detached: bool | None = None,
        anonymous: bool = False,
        newest: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Session]:
        """Return living sessions in order of their opening, a page at a time.

        Args:
            owner: only theirs.
            detached: only detached (``True``) or only attached ones (``False``).
            anonymous: also those of visitors who have not logged in, where no owner is named.
            newest: the last opened first; each page of one listing is asked for in the same order.
            after: the ``next`` of the page before.
            limit: 1 to 500. A page may hold less, even nothing, and name a next one: one call looks at about 1,000
                records at the most, however few of them match.
        """
        limit = inputs.limit_of(limit)
        shows_visitors = inputs.flag_of("anonymous", anonymous) or owner is not None
        listing = Scan(
            "sessions",
            inputs.place_of_cursor(SESSION_ID, after),
            max(limit + 1, CHUNK),
            owner=None if owner is None else inputs.owner_of("owner", owner),
            detached=None if detached is None else inputs.flag_of("detached", detached),
            newest=inputs.flag_of("newest", newest),
        )
        return await self._page(listing, sessions_listed if shows_visitors else users_sessions_listed, limit)


def details_of(
    policy: Policy,
    secret_kind: str,
    data: Mapping[str, JSON] | None,
    label: str | None,
    user_agent: str | None,
    address: str | None,
    acr: str | None = None,
    amr: Collection[str] = (),
) -> SessionDetails:
    """Return the parts of a new session that few sessions have."""
    kind = None if secret_kind == SESSION_SECRET else secret_kind
    how = None if acr is None and not amr else (inputs.class_of(acr), inputs.methods_of(amr))
    if data is None and label is None and user_agent is None and address is None and kind is None and how is None:
        return NO_DETAILS
    kept = {} if data is None else json_values.data_of(data, policy.max_data_bytes)
    return SessionDetails(
        inputs.label_of(label),
        inputs.sent_text("user_agent", user_agent, bytes_max=USER_AGENT_BYTES_MAX),
        inputs.sent_text("address", address, bytes_max=LABEL_BYTES_MAX),
        json.dumps(kept, ensure_ascii=False, separators=(",", ":")),
        dict.fromkeys(kept, 1),
        secret_kind=kind,
        acr=None if how is None else how[0],
        amr_text=None if how is None else how[1],
    )
