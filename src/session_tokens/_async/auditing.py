"""What the audit log of a store says, and why something is as it is, for asyncio."""

from __future__ import annotations

from typing import Any

from .. import validation as inputs
from ..audit.reader import LOOKED_AT_MAX, UNREADABLE_ENTRY, AuditFilter, AuditPage, searched
from ..contract.drive import drive
from ..contract.queries import Get, Query
from ..crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_ID, is_id
from ..errors import UNREADABLE, InvalidInput
from ..events import KINDS
from ..records import Page
from ..records.explanation import Explanation
from ..rules import explaining as rules
from ..rules.audit import STARTED
from ..settings import LABEL_BYTES_MAX
from .core import AsyncCore

AUDITED_KINDS = (*KINDS, STARTED, UNREADABLE_ENTRY)
"""Of what kinds entries are."""
EXPLAINED_BY_MAX = 10
"""How many entries of the audit log an explanation holds."""


class AsyncAuditCommands(AsyncCore):
    """For the people who run a store: what happened, and why something does not work."""

    async def list_audit(
        self,
        *,
        kind: str | None = None,
        owner: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[dict[str, Any]]:
        """Return entries of the audit log, the newest first, a page at a time; none where no log is kept.

        Args:
            kind: only of that kind: one of events, ``service_started``, or ``unreadable``.
            owner: only what concerns them, as owner or as the one before.
            subject: only what concerns that session, token, service key or setting.
            actor: only what was done on behalf of that service key (``key_…``) or user (``os:…``).
            since, until: from and to these instants, in milliseconds since the epoch.
            after: the ``after`` of the page before.
            limit: 1 to 500. A page may hold less, even nothing, and name a next one: one call looks at 10,000 entries
                at the most, however few of them match.

        Raises:
            InvalidInput: ``after`` is no place in the log, an instant is none, or no entry is ever of that kind.
        """
        wanted = AuditFilter(
            _kind_of(kind),
            None if owner is None else inputs.owner_of("owner", owner),
            inputs.optional_text("subject", subject, bytes_max=LABEL_BYTES_MAX),
            inputs.optional_text("actor", actor, bytes_max=LABEL_BYTES_MAX),
            _instant_of("since", since),
            _instant_of("until", until),
        )
        page = await self._search(wanted, after, inputs.limit_of(limit))
        return Page(page.entries, page.next)

    async def explain(self, id: str) -> Explanation:
        """Say why a session, token or service key is as it is, since when, and who ended it.

        An ended session is remembered for an hour, a token until it is swept; what the audit log says of them, where
        one is kept, stays.

        Args:
            id: its public id; never a secret.

        Raises:
            InvalidInput: it is no such id.
            StoreUnavailable: the store cannot be asked.
        """
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        known = await self._known_of(id)
        if known.state in ("active", "detached", "unreadable"):
            return known
        page = await self._search(AuditFilter(subject=id), None, EXPLAINED_BY_MAX)
        is_whole = page.next is None or len(page.entries) == EXPLAINED_BY_MAX
        return rules.with_audit(known, page.entries, is_kept=page.is_kept, is_whole=is_whole)

    async def _known_of(self, id: str) -> Explanation:
        """Explain what the store knows of an id."""
        query: Query
        if is_id(SESSION_ID, id):
            query = Get("session", id)
        elif is_id(TOKEN_ID, id):
            query = Get("token", id)
        elif is_id(KEY_ID, id):
            query = Get("key", id)
        else:
            raise InvalidInput(
                "that is no id of a session (ses_…), token (tok_…) or service key (key_…); whether a secret is good "
                "verify says"
            )
        try:
            now, found = await self.store.read([query])
        except UNREADABLE as error:
            return rules.unreadable(id, error)
        value = found[0].value
        if query.what == "session":
            return rules.explained_session(id, now, value)
        if query.what == "token":
            return rules.explained_token(id, now, value)
        return rules.explained_key(id, now, value)

    async def _search(self, wanted: AuditFilter, after: str | None, limit: int) -> AuditPage:
        return await drive(searched(limit, after, wanted, LOOKED_AT_MAX), self.store.read)


def _kind_of(given: object) -> str | None:
    kind = inputs.optional_text("kind", given, bytes_max=LABEL_BYTES_MAX)
    if kind is not None and kind not in AUDITED_KINDS:  # a mistyped one would find nothing, as if nothing had happened
        raise InvalidInput(f"kind is one of {', '.join(AUDITED_KINDS)}")
    return kind


def _instant_of(name: str, at: object) -> int | None:
    if at is None:
        return None
    if isinstance(at, bool) or not isinstance(at, int):
        raise TypeError(f"{name} is an instant in milliseconds since the epoch (int), not {type(at).__name__}")
    if not 0 <= at < 10**15:
        raise InvalidInput(f"{name} is an instant in milliseconds since the epoch")
    return at
