"""The PostgreSQL store for asyncio; see ``store``."""

from __future__ import annotations

from collections.abc import Sequence

from ...crypto.minting import PepperKeyring
from ...records import OwnerEntry, Session, Token
from ..common.async_server_store import AsyncServerStore
from .address import Address
from .core import PostgresBackend
from .pool import AsyncPool
from .queries import is_surely_nobody, session_answer, session_statement, token_answer, token_statement


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

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session.

        Who comes alone asks at once; who comes while one asks travels with the others.
        """
        if self._pool.is_shared:
            return await super().find_session(lookups)
        statement = session_statement(self._core.schema, lookups)
        rows = await self.retrying.ask(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None and not is_surely_nobody(rows[0], self.keyring):
            await self.insist_on_peppers()
        return answer

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        if self._pool.is_shared:
            return await super().find_token(lookups)
        statement = token_statement(self._core.schema, lookups)
        rows = await self.retrying.ask(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None and not is_surely_nobody(rows[0], self.keyring):
            await self.insist_on_peppers()
        return answer
