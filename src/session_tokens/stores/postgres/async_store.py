"""The PostgreSQL store for asyncio; see ``store``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.coalesce import SHARE_FROM, Coalescer
from ...contract.queries import Query, Result, Snapshot
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE
from ...records import OwnerEntry, Session, Token
from ..common.async_server_store import AsyncServerStore
from .address import Address
from .core import PostgresBackend
from .looks import Look, Looked, LookStatement, lone_answer, lone_statement, look_of
from .pool import AsyncPool


class PostgresStore(AsyncServerStore):
    """Sessions and tokens in PostgreSQL, for the tasks of one event loop; what they ask at once travels together.

    Made by ``open_postgres``.

    Attributes:
        address: where the store is.
    """

    _pool: AsyncPool

    def __init__(self, address: Address, keyring: PepperKeyring) -> None:
        self.address = address
        pool = AsyncPool(address)
        self._core = PostgresBackend(address, keyring, pool.links)
        super().__init__(self._core, pool)
        self._looks: Coalescer[Look, Looked] = Coalescer(self._carry_looks, share_from=SHARE_FROM, home=self._home)

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of queries as of one instant: what look-up keys lead to, with less work than a read."""
        look = look_of(queries)
        if look is None:
            return await super().look(queries)
        now, values = await self._look(look)
        return Snapshot(now, [Result(value) for value in values])

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        try:
            now, found = await self._find("session_lookup", lookups)
        except UNREADABLE:
            return await super().find_session(lookups)
        if near is not None and reading is not None:
            near.keep_session(reading, lookups[0], found)
        return (now, *found)

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        near = self.near_cache
        reading = None if near is None else self.begin_reading(near)
        try:
            now, found = await self._find("token_lookup", lookups)
        except UNREADABLE:
            return await super().find_token(lookups)
        if near is not None and reading is not None:
            near.keep_token(reading, lookups[0], found)
        return (now, *found.followed())

    async def _find(self, what: str, lookups: Sequence[str]) -> tuple[int, Any]:
        """Return now and the value that a query for that is answered with."""
        if len(lookups) > 1 or self._pool.is_shared:
            now, (value,) = await self._look(((what, lookups),))
            return now, value
        statement = lone_statement(self._core.schema, what, lookups[0])
        (row,) = await self.retrying.ask(self._pool.ask_for, 1, statement, idempotent=True)
        self._core.clock.heard(row[0])
        return lone_answer(row, what, lookups[0], self._core.decoder, self.keyring)

    async def _look(self, look: Look) -> Looked:
        """Return what a look finds: who comes alone asks at once, who comes while one asks travels with the others."""
        if self._pool.is_shared:
            return await self._looks.ask(look)
        (answer,) = await self._carry_looks((look,))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _carry_looks(self, looks: Sequence[Look]) -> Sequence[Looked | Exception]:
        asked = LookStatement(self._core.schema, looks)
        (row,) = await self.retrying.ask(self._pool.ask_for, len(looks), asked.statement, idempotent=True)
        self._core.clock.heard(row[0])
        return asked.answers(row, self._core.decoder, self.keyring)

    async def close(self) -> None:
        """Wait for what is under way and let go of all connections; calling it again does nothing."""
        await self._looks.close()
        await super().close()
