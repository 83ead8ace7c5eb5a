"""A store around another one that counts what it is asked: proof that junk is refused without asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from session_tokens.contract.queries import DueRecord, Query, Snapshot
from session_tokens.contract.store import BlockingStore
from session_tokens.contract.transaction import Rule
from session_tokens.records import OwnerEntry, Session, Token

T = TypeVar("T")


class CountingStore(BlockingStore):
    """Hands every call on to the store within.

    Attributes:
        calls: how many calls came.
    """

    def __init__(self, within: BlockingStore) -> None:
        self.within, self.calls = within, 0
        self.clock, self.keyring, self.listeners = within.clock, within.keyring, within.listeners

    def _asked(self) -> BlockingStore:
        self.calls += 1
        return self.within

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        return self._asked().read_now(queries)

    def run_now(self, rule: Rule[T], *args: object) -> T:
        return self._asked().run_now(rule, *args)

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        return self._asked().due_now(now, limit)

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        return self._asked().find_session_now(lookups)

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        return self._asked().find_token_now(lookups)

    def close_now(self) -> None:
        self.within.close_now()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.within, name)
