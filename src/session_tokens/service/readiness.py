"""What ``/readyz`` answers: whether commands could be carried out now, and what whoever runs it should mend."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from .._async.api import AsyncSessionTokens
from .problems import Problem

log = logging.getLogger("session_tokens.service")

READY_TIMEOUT_S = 1.0
EVENTS_ARE_LATE = (
    "events have been held back for more than 5 s: a transaction that has written is open on the server, maybe in "
    "another database; see pg_stat_activity, backend_xid"
)


class Readiness:
    """Asks a store something small, and tells the log once of what should be mended.

    Args:
        tokens: on that store.
    """

    def __init__(self, tokens: AsyncSessionTokens) -> None:
        self._tokens = tokens
        self._told: str | None = None

    async def answer(self) -> bytes:
        """Return the body that says so.

        Raises:
            Problem: the store did not answer in time.
            StoreError: it could not carry out commands.
        """
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._tokens.store.ready()
                is_late = await self._tokens.events_are_late()
                misgiving = await self._tokens.store.misgiving()
        except TimeoutError:
            raise Problem(
                503, "store_unavailable", "the store did not answer in time", headers=[(b"retry-after", b"1")]
            ) from None
        if misgiving not in (None, self._told):
            log.error("%s", misgiving, extra={"event": "store_misgiving"})
        self._told = misgiving
        warnings = [{"code": "events_held_back", "detail": EVENTS_ARE_LATE}] if is_late else []
        if misgiving is not None:
            warnings.append({"code": "store_misgiving", "detail": misgiving})
        return msgspec.json.encode({"status": "ready"} | ({"warnings": warnings} if warnings else {}))
