"""The API for asyncio."""

from __future__ import annotations

from .auditing import AsyncAuditCommands
from .events import AsyncEventCommands
from .log_in import AsyncLogInCommands
from .settings import AsyncSettingCommands
from .tokens import AsyncTokenCommands


class AsyncSessionTokens(
    AsyncLogInCommands, AsyncTokenCommands, AsyncEventCommands, AsyncSettingCommands, AsyncAuditCommands
):
    """Sessions, and the tokens that live under them, on one store.

    Every command is atomic: it is done whole, or raises and has changed nothing. ``verify_*`` and ``get_*`` answer
    ``None`` for whatever is not alive. A ``key`` is an id (which manages) or a secret (which must authenticate).
    Durations are seconds or ``timedelta``, ``None`` is never. Every mutating command takes ``idempotency_key=``:
    the same call again within 24 hours answers its first outcome, its secret too.

    Any command may raise ``StoreUnavailable`` or ``StoreBusy``: the store could not do it, which never means
    "not valid". Arguments of the wrong type raise ``TypeError``, impossible ones ``InvalidInput``.

    Made by ``open``; a context manager. Safe for any number of tasks and threads.
    """
