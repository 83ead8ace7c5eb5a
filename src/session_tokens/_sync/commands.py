# Generated from _async/commands.py by tools/generate_sync.py; change that file and run it again.
"""All commands together, for threads: what the API is, and what its client asks a service for."""

from __future__ import annotations

from .auditing import SyncAuditCommands
from .events import SyncEventCommands
from .log_in import SyncLogInCommands
from .names import SyncNameCommands
from .owners import SyncOwnerCommands
from .passing import SyncPassingCommands
from .settings import SyncSettingCommands


class SyncCommands(
    SyncLogInCommands,
    SyncPassingCommands,
    SyncEventCommands,
    SyncSettingCommands,
    SyncAuditCommands,
    SyncOwnerCommands,
    SyncNameCommands,
):
    """Every command on one store."""
