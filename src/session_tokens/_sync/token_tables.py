# Generated from _async/token_tables.py by tools/generate_sync.py; change that file and run it again.
"""``TokenTables``: the names, argument order and answers of the seed's ``TokenTables``, on every store.

Here a session or token is known by the application's own string, durations are integer milliseconds, and what is
unknown or refused is answered (``None``, ``False``, ``""``, an empty list), never raised. Arguments that can never be
right raise ``TypeError`` or ``InvalidInput``; a store or DB that fails raises ``StoreError``.
"""

from __future__ import annotations

from .tables_commands import SyncTablesCommands


class TokenTables(SyncTablesCommands):
    """The seed's tables: sessions and transition tokens by the application's own strings."""
