# Generated from stores/postgres/async_store.py by tools/generate_sync.py; change that file and run it again.
"""The PostgreSQL store for threads; see ``store``."""

from __future__ import annotations

from collections.abc import Sequence

from ...crypto.minting import PepperKeyring
from ...records import OwnerEntry, Session, Token
from ..common.server_store import ServerStore
from .address import Address
from .core import PostgresBackend
from .pool import Pool
from .queries import is_surely_nobody, session_answer, session_statement, token_answer, token_statement


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

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session.

        Who comes alone asks at once; who comes while one asks travels with the others.
        """
        if self._pool.is_shared:
            return super().find_session_now(lookups)
        statement = session_statement(self._core.schema, lookups)
        rows = self.retrying.ask_now(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = session_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None and not is_surely_nobody(rows[0], self.keyring):
            self.insist_on_peppers_now()
        return answer

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry; as ``find_session``."""
        if self._pool.is_shared:
            return super().find_token_now(lookups)
        statement = token_statement(self._core.schema, lookups)
        rows = self.retrying.ask_now(self._pool.ask_alone, statement, idempotent=True)
        self._core.clock.heard(rows[0][0])
        answer = token_answer(rows[0], lookups, self._core.decoder)
        if answer[1] is None and not is_surely_nobody(rows[0], self.keyring):
            self.insist_on_peppers_now()
        return answer
