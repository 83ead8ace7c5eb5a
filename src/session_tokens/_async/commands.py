"""All commands together, for asyncio: what the API is, and what its client asks a service for."""

from __future__ import annotations

from .auditing import AsyncAuditCommands
from .events import AsyncEventCommands
from .log_in import AsyncLogInCommands
from .names import AsyncNameCommands
from .owners import AsyncOwnerCommands
from .passing import AsyncPassingCommands
from .settings import AsyncSettingCommands


class AsyncCommands(
    AsyncLogInCommands,
    AsyncPassingCommands,
    AsyncEventCommands,
    AsyncSettingCommands,
    AsyncAuditCommands,
    AsyncOwnerCommands,
    AsyncNameCommands,
):
    """Every command on one store."""
