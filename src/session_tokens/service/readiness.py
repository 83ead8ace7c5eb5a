"""What ``/readyz`` answers: whether commands could be carried out now, and what whoever runs it should mend."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from .._async.api import AsyncSessionTokens
from ..contract.brief import awaited_within
from ..errors import StoreError
from .problems import Problem

log = logging.getLogger("session_tokens.service")

READY_TIMEOUT_S = 1.0
MISGIVING_TIMEOUT_S = 0.25
"""Seconds for which it is asked what should be mended: of what can carry out commands, that makes nothing unready."""
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
        except TimeoutError:
            raise Problem(
                503, "store_unavailable", "the store did not answer in time", headers=[(b"retry-after", b"1")]
            ) from None
        misgiving = await self._misgiving()
        if misgiving not in (None, self._told):
            log.error("%s", misgiving, extra={"event": "store_misgiving"})
        self._told = misgiving
        warnings = [{"code": "events_held_back", "detail": EVENTS_ARE_LATE}] if is_late else []
        if misgiving is not None:
            warnings.append({"code": "store_misgiving", "detail": misgiving})
        return msgspec.json.encode({"status": "ready"} | ({"warnings": warnings} if warnings else {}))

    async def _misgiving(self) -> str | None:
        """Return what is to be mended, as it was last known where part of the store does not say."""
        try:
            return await awaited_within(MISGIVING_TIMEOUT_S, self._tokens.store.misgiving())
        except StoreError:
            return self._told
