"""Sending webhooks beside a service, where what that needs is installed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from .._async.api import AsyncSessionTokens

log = logging.getLogger("session_tokens.webhooks")


@asynccontextmanager
async def webhooks_sent(tokens: AsyncSessionTokens, allowed: Collection[str] = ()) -> AsyncIterator[None]:
    """Send the events of a store to its webhooks as long as this is entered.

    Args:
        tokens: on that store; with none that keeps events, or without webhooks, nothing is done.
        allowed: hosts that may be reached by http and where they are not public; see ``destination_of``.
    """
    try:
        from .delivering import Deliverer
        from .sending import Sender
    except ImportError:
        log.info("webhooks are not sent from here; that needs: pip install 'session-tokens[webhooks]'")
        yield
        return
    task = asyncio.create_task(Deliverer(tokens, Sender(allowed)).run(), name="session-tokens webhooks")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
