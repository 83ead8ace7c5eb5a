# Generated from stores/postgres/async_store.py by tools/generate_sync.py; change that file and run it again.
"""The PostgreSQL store for threads; see ``store``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.batch import Direct
from ...contract.queries import Query, Result, Snapshot
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE
from ...records import OwnerEntry, Session, Token
from ..common.server_store import ServerStore
from .address import Address
from .core import PostgresBackend
from .looks import Look, Looked, LookStatement, lone_answer, lone_statement, look_of
from .pool import Pool


class BlockingPostgresStore(ServerStore):
    """Sessions and tokens in PostgreSQL, for any number of threads.

    Made by ``open_postgres_blocking``.

    Attributes:
        address: where the store is.
    """

    _pool: Pool

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        self.address = address
        pool = Pool(address)
        self._core = PostgresBackend(address, keyring, pool.links)
        super().__init__(self._core, pool)
        self._looks: Direct[Look, Looked] = Direct(self._carry_looks)

    def look_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of queries as of one instant: what look-up keys lead to, with less work than a read."""
        look = look_of(queries)
        if look is None:
            return super().look_now(queries)
        now, values = self._look(look)
        return Snapshot(now, [Result(value) for value in values])

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        try:
            now, found = self._find("session_lookup", lookups)
        except UNREADABLE:
            return super().find_session_now(lookups)
        if near is not None and reading is not None:
            near.keep_session(reading, lookups[0], found)
        return (now, *found)

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        try:
            now, found = self._find("token_lookup", lookups)
        except UNREADABLE:
            return super().find_token_now(lookups)
        if near is not None and reading is not None:
            near.keep_token(reading, lookups[0], found)
        return (now, *found.followed())

    def _find(self, what: str, lookups: Sequence[str]) -> tuple[int, Any]:
        """Return now and the value that a query for that is answered with."""
        if len(lookups) > 1 or self._pool.is_shared:
            now, (value,) = self._look(((what, lookups),))
            return now, value
        statement = lone_statement(self._core.schema, what, lookups[0])
        (row,) = self.retrying.ask_now(self._pool.ask_for, 1, statement, idempotent=True)
        self._core.clock.heard(row[0])
        return lone_answer(row, what, lookups[0], self._core.decoder, self.keyring)

    def _look(self, look: Look) -> Looked:
        """Return what a look finds: who comes alone asks at once, who comes while one asks travels with the others."""
        if self._pool.is_shared:
            return self._looks.ask(look)
        (answer,) = self._carry_looks((look,))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _carry_looks(self, looks: Sequence[Look]) -> Sequence[Looked | Exception]:
        asked = LookStatement(self._core.schema, looks)
        (row,) = self.retrying.ask_now(self._pool.ask_for, len(looks), asked.statement, idempotent=True)
        self._core.clock.heard(row[0])
        return asked.answers(row, self._core.decoder, self.keyring)

    def close_now(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        self._looks.close()
        super().close_now()
