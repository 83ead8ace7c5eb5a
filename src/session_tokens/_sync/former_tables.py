# Generated from _async/former_tables.py by tools/generate_sync.py; change that file and run it again.
"""Takes over what the npm package left in the application's DB when it is asked for, for threads.

Nothing is written there, for processes with the package may go on with it. What was moved is marked here in the same
commit, so that what ended here does not come back from there.
"""

from __future__ import annotations

from typing import Any

from .. import validation as inputs
from ..contract.store import BlockingStore
from ..contract.transaction import Rule
from ..rules.idempotency import Ticket
from ..rules.moving_in import move_in, moved
from ..tables.former import KEPT_MS, FormerSession, former_session, is_timing
from ..tables.user_db import SyncDBCalls

DB_TIMEOUT_S = 5.0


class SyncFormerTables:
    """The DB of the package, and the store to which it moves.

    Args:
        db: the six-method DB; two of them are called, ``get_key_value`` and ``check_hash``.
        store: of the tables.

    Raises:
        InvalidInput: a method is missing.
    """

    def __init__(self, db: object, store: BlockingStore) -> None:
        self.store = store
        self._calls = SyncDBCalls(db, db, DB_TIMEOUT_S)

    def close(self) -> None:
        """Let go of the DB's loop; calling it again does nothing."""
        self._calls.close()

    def is_of(self, link: str, owner: str) -> bool:
        """Return whether the DB knows that hash as one of that owner's.

        Raises:
            AdapterError: it cannot be asked.
        """
        known: bool = self._calls.call("check_hash", link, owner)
        return known

    def session(self, string: str) -> FormerSession | None:
        """Return what lives under the string of a session; ``None`` for nothing.

        Raises:
            AdapterError: the DB cannot be asked.
        """
        return former_session(self._calls.call("get_key_value", string))

    def value(self, string: str) -> str | None:
        """Return the value of a token; ``None`` where there is none.

        Raises:
            AdapterError: the DB cannot be asked.
        """
        text: str | None = self._calls.call("get_key_value", string)
        return None if text is None or is_timing(text) else text

    def move(self, mark: str, rule: Rule[Any], *args: object) -> None:
        """Make a record here with a rule, unless that was done before under the same mark.

        Raises:
            Refused: as the rule.
        """
        ticket = Ticket(inputs.digest_of("former", mark), "", "", "")
        self.store.run_now(move_in, ticket, KEPT_MS, True, moved, (rule, args))
