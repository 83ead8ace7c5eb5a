"""The commands by which a session gets a new secret, for asyncio, and what becomes of the one before."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence

from .. import validation as inputs
from ..contract.partitioning import named_by_lookup
from ..contract.queries import Get
from ..contract.transaction import Rule
from ..crypto.minting import new_id
from ..crypto.secret_form import SESSION_ID
from ..errors import InvalidInput, StoreError, UnknownSession
from ..records import Issued, Session
from ..rules import rotation as rotation_rules
from ..rules import sessions as rules
from ..rules.expiry import touch_is_due
from ..rules.lookup import Key
from ..settings import Duration
from ..touching import PATIENCE_S
from .core import AsyncCore

log = logging.getLogger("session_tokens.sessions")


class AsyncSecretCommands(AsyncCore):
    """Secrets of sessions: new ones, and previous ones."""

    async def rotate_session(
        self,
        key: str,
        *,
        grace: Duration | None = None,
        authenticated: bool = False,
        acr: str | None = None,
        amr: Collection[str] = (),
        idempotency_key: str | None = None,
    ) -> Issued:
        """Give a session a new secret at log-in or a change of privileges; the old one is dead at once.

        With ``grace``, for a change in passing, the old secret is good for that long: it verifies, and rotating with it
        returns the same new secret, so that of two requests at once neither logs the other out. Used after that, the
        old secret ends the session with the reason ``theft``: one of the two who have it is not its owner (RFC 9700,
        section 4.14.2). The last 4 secrets are watched so, older ones are unknown. ``Session.secret_until`` of a
        verification says that a previous secret was used.

        Args:
            grace: seconds or ``timedelta``, at most an hour; ``None``: the old secret is dead at once.
            authenticated: whether its owner has just proved who they are: restarts the idle and step-up clocks.
            acr, amr: how they did it this time, as for ``log_in``; what was kept of the last time is gone.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``key``.
            Conflict: it is detached; ``attach_session`` gives it a new secret.
            InvalidInput: it is one of the service's console, which alone gives those a new secret; ``acr`` or
                ``amr`` without ``authenticated``; ``grace`` with it, for at a log-in the old secret must die at once.
        """
        named = self._session_key(key)
        proven = inputs.flag_of("authenticated", authenticated)
        grace_ms = inputs.grace_of(grace)
        if proven and grace_ms is not None:
            raise InvalidInput("at a log-in the old secret is dead at once; leave grace out, or authenticated")
        how = inputs.class_of(acr), inputs.methods_of(amr)
        if not proven and how != (None, None):
            raise InvalidInput("acr and amr say how the owner has just proved who they are; give authenticated=True")
        if grace_ms is not None:
            return await self._renew(key, named, grace_ms, idempotency_key)
        return await self._reissue(
            "rotate_session",
            idempotency_key,
            (key, proven, *how),
            rules.rotate_session,
            lambda lookup, kind: (named, lookup, proven, kind, self._own_owners, *how),
            self.store.partitioning.of_key(named),
        )

    async def _renew(self, key: str, named: Key, grace_ms: int, idempotency_key: str | None) -> Issued:
        """Rotate with grace: the new secret is made of what the session tells, so that it can be handed out again."""
        place = self.store.partitioning.of_key(named)

        async def renewed(kind: str) -> Session:
            nonce, key_id = os.urandom(16).hex(), self._keyring.current
            lookup = self._keyring.lookup(self._derived(kind, "rotate_session", "", nonce, key_id, place))
            renewal = rotation_rules.Renewal(lookup, nonce, key_id, new_id(SESSION_ID, place), grace_ms)
            args = named, renewal, kind, self._own_owners
            return await self._do(
                "rotate_session", idempotency_key, (key, grace_ms), rotation_rules.renew_session, *args
            )

        try:
            session = await renewed(self._secret_kind)
        except rotation_rules.OtherKind as other:
            session = await renewed(other.kind)
        rotation = session.details.rotation
        assert rotation is not None, "it was rotated so"
        return Issued(
            session,
            self._derived(
                session.secret_kind, "rotate_session", "", rotation.nonce, rotation.key_id,
                named_by_lookup(session.lookup),
            ),
        )  # fmt: skip

    async def attach_session(self, id: str, *, idempotency_key: str | None = None) -> Issued:
        """Log a detached session in again: a new secret, its idle clock restarted.

        Args:
            id: its public id; the old secret is dead and names nothing.

        Raises:
            UnknownSession, SessionEnded: no living session has that id.
            Conflict: it is attached.
            InvalidInput: as ``rotate_session``.
        """
        named = self._session_key(id)
        if not isinstance(named, str):
            raise UnknownSession("a session is attached by its id; the secret died when it was detached")
        return await self._reissue(
            "attach_session",
            idempotency_key,
            (named,),
            rules.attach_session,
            lambda lookup, kind: (named, lookup, kind, self._own_owners),
            self.store.partitioning.of_key(named),
        )

    async def _reissue(
        self,
        command: str,
        idempotency_key: str | None,
        request: Sequence[object],
        rule: Rule[Session],
        args_with: Callable[[str, str], tuple[object, ...]],
        place: str,
    ) -> Issued:
        """Give a session a new secret of the kind that it has, which its record knows."""

        async def issued(kind: str) -> Issued:
            return await self._issue(
                command, idempotency_key, request, kind, rule, lambda lookup: args_with(lookup, kind), place
            )

        try:
            return await issued(self._secret_kind)
        except rotation_rules.OtherKind as other:
            return await issued(other.kind)

    async def _by_former_secret(self, former: Session, id: str, touch: bool) -> Session | None:
        """Return the session of a previous secret that is still good; one whose time is over ends the session."""
        now, (found,) = await self.store.read([Get("session", id)])
        session, entry = found.value
        if session is None or not session.authenticates(now, entry):
            return None
        until = session.former_until(former.id)
        if until is None:
            return None
        if now >= until:
            await self._end_stolen(session.id, former.id)
            return None
        if touch and touch_is_due(session, now):
            session = await self._touched(session, str(session.lookup))
        return None if session is None else session.presented(until)

    async def _end_stolen(self, id: str, former_id: str) -> None:
        """End a session by theft; where that cannot be written now, the next use of the old secret tries again."""
        try:
            await self._run(rotation_rules.end_stolen_session, id, former_id)
        except StoreError as error:
            log.warning("an old secret of session %s came back, and the session could not be ended: %s", id, error)

    async def _touched(self, session: Session, lookup: str) -> Session | None:
        """Write a use of a session down; return it, ``None`` if it ended meanwhile, as it was read if that fails."""
        if not self._touches.may_try():
            return session
        try:
            return await self.store.run_within(PATIENCE_S, rules.touch_session, session.id, lookup, session.lookup)
        except StoreError as error:
            self._touches.could_not(error)
            return session
