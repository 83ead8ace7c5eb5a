"""What ``/readyz`` answers: whether commands could be carried out now, and what whoever runs it should mend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from .._async.api import AsyncSessionTokens
from ..contract.brief import awaited_within
from ..errors import StoreError
from .problems import Problem

T = TypeVar("T")

log = logging.getLogger("session_tokens.service")

READY_TIMEOUT_S = 1.0
WARNINGS_TIMEOUT_S = 0.25
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
        self._is_late = False

    async def answer(self) -> bytes:
        """Return the body that says so.

        Raises:
            Problem: the store did not answer in time.
            StoreError: it could not carry out commands.
        """
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._tokens.store.ready()
        except TimeoutError:
            raise Problem(
                503, "store_unavailable", "the store did not answer in time", headers=[(b"retry-after", b"1")]
            ) from None
        is_late, misgiving = await asyncio.gather(
            _said(self._tokens.events_are_late(), self._is_late), _said(self._tokens.store.misgiving(), self._told)
        )
        if misgiving not in (None, self._told):
            log.error("%s", misgiving, extra={"event": "store_misgiving"})
        self._is_late, self._told = is_late, misgiving
        warnings = [{"code": "events_held_back", "detail": EVENTS_ARE_LATE}] if is_late else []
        if misgiving is not None:
            warnings.append({"code": "store_misgiving", "detail": misgiving})
        return msgspec.json.encode({"status": "ready"} | ({"warnings": warnings} if warnings else {}))


async def _said(asking: Coroutine[Any, Any, T], before: T) -> T:
    """Return what part of the store says of itself, and what it said before where it does not now."""
    try:
        return await awaited_within(WARNINGS_TIMEOUT_S, asking)
    except StoreError:
        return before
