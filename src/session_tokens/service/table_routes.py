"""The names of ``TokenTables`` over HTTP, for programs in any language: ``POST /v1/tables/{call}``.

The tables are opened on the service's store when they are first called: a store of which nobody asks for tables keeps
none. What the library refuses as an argument is 422; what is unknown is answered as ``TokenTables`` answers it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from .._async.token_tables import AsyncTokenTables
from ..crypto.minting import Pepper
from ..errors import InvalidInput
from ..settings import FROM_DB, FromDB
from .calls import Call, Snapshot
from .client_shapes import TablesAnswer
from .problems import Problem

CALLS = frozenset({
    "acquire_token", "active_session", "add_session", "add_session_bounded_token", "add_token",
    "add_transferable_token", "allow_session_detach", "attach_session", "create_token", "decrement_timers",
    "destroy_session", "destroy_token", "detach_session", "from_token", "get_session_time_left", "get_session_timeout",
    "get_token_time_left", "get_token_timeout", "list_detached_sessions", "list_gifted_tokens",
    "list_sellable_tokens", "list_tranferable_tokens", "list_transferable_tokens", "list_unassigned_tokens",
    "map_sellable_tokens", "owner_from_session", "reload_session_info", "reload_token_info", "session_from_owner",
    "session_from_token", "set_disownment_token_timeout", "set_general_session_timeout", "set_general_token_timeout",
    "set_session_timeout", "set_token_gift", "set_token_sellable", "set_token_timeout",
    "share_general_session_timeout", "token_is_transferable", "tokens_from_owner", "tokens_from_session",
    "transfer_token", "transition_token_is_active", "unset_token_gift", "unset_token_sellable",
})  # fmt: skip
"""What can be called: every name but those that concern one process alone (hints, token creators, closing)."""
NEVER = "never"


class _ServedTables(AsyncTokenTables):
    """Tables of a service, whose general timeouts are not those of the process that happens to be asked.

    Attributes:
        workers: how many serve.
    """

    workers = 1

    async def set_general_session_timeout(self, timeout: int | None | FromDB) -> bool:
        """Keep the timeout with the store, where all workers read it, also after they were started anew."""
        if timeout is FROM_DB:
            return await super().set_general_session_timeout(FROM_DB)
        return await self.share_general_session_timeout(timeout)

    async def set_general_token_timeout(self, timeout: int | None) -> bool:
        """Set it for the only worker.

        Raises:
            InvalidInput: there are more, and nothing of this is kept where they would read it.
        """
        if self.workers > 1:
            raise InvalidInput(
                f"{self.workers} workers serve, and the general timeout of tokens is one process's own; "
                "give each token its timeout with set_token_timeout"
            )
        return await super().set_general_token_timeout(timeout)


class Tables:
    """Opens tables once, when they are first asked for, and closes them with the service.

    Args:
        url: of the store.
        pepper: as for ``AsyncTokenTables.open``.
        workers: how many serve.
    """

    def __init__(self, url: str, pepper: Pepper | None, workers: int = 1) -> None:
        self._url = url
        self._pepper = pepper
        self._workers = workers
        self._lock = asyncio.Lock()
        self._tables: AsyncTokenTables | None = None

    async def __call__(self) -> AsyncTokenTables:
        """Return the tables.

        Raises:
            StoreError: they cannot be opened; the next call tries again.
        """
        if self._tables is None:
            async with self._lock:
                if self._tables is None:
                    opened = await _ServedTables.open(self._url, pepper=self._pepper)
                    opened.workers = self._workers
                    await opened.set_general_session_timeout(FROM_DB)
                    self._tables = opened
        return self._tables

    async def aclose(self) -> None:
        """Close them, where they were opened."""
        if self._tables is not None:
            await self._tables.close()


async def call_tables(call: Call) -> Snapshot:
    """Call a name of TokenTables with its arguments in order; durations are milliseconds, null or never is no end."""
    if call.subject not in CALLS:
        raise Problem(
            404, "not_found", "TokenTables has no such name that is served; docs/reference/tables.md says which are not"
        )
    if call.tables is None:
        raise Problem(404, "not_found", "this service offers no tables")
    if call.idempotency_key is not None:
        raise InvalidInput("Idempotency-Key is not taken here; TokenTables answers a repeated call as its names do")
    tables = await call.tables()
    method: Callable[..., Awaitable[Any]] = getattr(tables, call.subject)
    try:
        answer = await method(*map(_argument, call.body.arguments))
    except TypeError as error:
        raise InvalidInput(f"the arguments do not fit: {error}") from None
    return Snapshot(TablesAnswer(_answer(answer)))


def _argument(given: Any) -> Any:
    """Return an argument as Python has it: ``{"from_db": true}`` is ``FROM_DB``."""
    return FROM_DB if given == {"from_db": True} else given


def _answer(value: Any) -> Any:
    """Return an answer as JSON has it."""
    if isinstance(value, float) and math.isinf(value):
        return NEVER
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {name: _answer(each) for name, each in value.items()}
    return value
