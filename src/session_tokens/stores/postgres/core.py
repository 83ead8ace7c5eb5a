"""What the PostgreSQL stores for asyncio and for threads share: the address, statements and what their rows mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.batch import Batch
from ...contract.optimistic import Commit
from ...crypto.minting import PepperKeyring
from ...errors import StoreError
from ..common.retry import Retrying, RetryPolicy
from ..common.server_clock import ServerClock
from .address import Address
from .commit import commit_statement
from .errors import CLASH, TAKEN, sqlstate_of
from .queries import Reading, Statement
from .rows import Decoder

Rows = Sequence[tuple[Any, ...]]


class PostgresCore:
    """What both shells know: the address, the keys, the decoder, the statements, the meaning of failures."""

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        self.address = address
        self.schema = address.schema
        self.keyring = keyring
        self.clock = ServerClock()
        self.decoder = Decoder(keyring, self.clock)
        self.retrying = Retrying(RetryPolicy(timeout_s=address.timeout_s))
        # Locks are given up before the client gives up, so that a commit that waited is surely not carried out.
        self._lock_timeout_ms = max(1, int(address.timeout_s * 800))

    def commit(self, commits: Sequence[Commit]) -> Statement:
        """Return what commits."""
        return commit_statement(self.schema, self.keyring, commits, self._lock_timeout_ms)

    def due(self, now: int, limit: int) -> Statement:
        """Return what asks for what should be swept."""
        return Statement(f"SELECT kind, id FROM {self.schema}.due_v1(%s, %s)", (now, limit))

    def batch(self, asked: Reading, rows: Rows) -> Batch:
        """Return the results in the rows."""
        batch = asked.batch(rows, self.decoder)
        self.clock.heard(batch.now)
        return batch


def not_written(error: StoreError) -> bool:
    """Whether a commit was taken back because others were faster: the command is run again."""
    state = sqlstate_of(error.__cause__)
    return state in CLASH or state == TAKEN
