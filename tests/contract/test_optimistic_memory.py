"""The optimistic runner on a store whose version check can be switched off: then the suite must fail."""

from __future__ import annotations

import asyncio
import functools

import pytest

from session_tokens.clock import ManualClock
from session_tokens.contract.store import BlockingStore, Store
from session_tokens.contract.transaction import Transaction
from session_tokens.errors import StoreBusy
from session_tokens.settings import ATTEMPTS_MAX
from session_tokens.testing.conformance import BlockingStoreConformance
from tests.helpers.optimistic_memory import BlockingOptimisticMemoryStore, OptimisticMemoryStore, Server


class TestOptimisticMemory(BlockingStoreConformance):
    checking = True
    patience_s = 0.0

    @functools.cached_property
    def server(self) -> Server:
        return Server(self.clock, checking=self.checking)

    async def open_store(self) -> Store:
        return OptimisticMemoryStore(self.server)

    def open_store_now(self) -> BlockingStore:
        return BlockingOptimisticMemoryStore(self.server, self.patience_s)


class UncheckedMemory(TestOptimisticMemory):
    """The same store, blind: what it commits may rest on what is no longer so."""

    checking = False
    patience_s = 0.3


RACES = [
    "test_of_32_transfers_at_once_exactly_one_succeeds",
    "test_of_many_claims_at_once_exactly_one_succeeds",
    "test_openings_at_once_never_pass_the_cap",
    "test_openings_at_once_beyond_a_refusing_cap_are_refused",
    "test_of_rotations_by_the_same_secret_exactly_one_succeeds",
    "test_fields_written_at_once_all_survive",
    "test_a_command_sent_many_times_with_one_key_is_done_once",
    "test_no_count_is_lost",
    "test_two_rules_that_read_what_the_other_writes_do_not_both_go_through",
    "test_what_exists_is_not_created_again",
    *(name for name in dir(BlockingStoreConformance) if name.startswith("test_no_phantom")),
    "test_now_of_32_transfers_at_once_exactly_one_succeeds",
    "test_now_no_count_is_lost",
    "test_now_openings_at_once_never_pass_the_cap",
]


@pytest.mark.parametrize("name", RACES)
def test_without_its_check_the_store_fails(name: str) -> None:
    with pytest.raises(AssertionError):
        getattr(UncheckedMemory(), name)()


async def test_a_rule_runs_again_on_what_has_become_of_its_reads() -> None:
    server = Server(ManualClock())
    store, rival = OptimisticMemoryStore(server), OptimisticMemoryStore(server)
    seen: list[str | None] = []

    def append(tx: Transaction, letter: str) -> None:
        text = tx.setting("letters")
        seen.append(text)
        tx.put_setting("letters", (text or "") + letter)

    await asyncio.gather(store.run(append, "a"), rival.run(append, "b"))

    assert seen[:2] == [None, None]
    assert len(seen) == 3
    assert store.conflicts + rival.conflicts == 1
    assert sorted(server.memory.settings["letters"]) == ["a", "b"]


async def test_who_never_wins_is_told_that_the_store_is_busy() -> None:
    server = Server(ManualClock())
    store = BlockingOptimisticMemoryStore(server)
    runs: list[int] = []

    def overtaken(tx: Transaction) -> None:
        runs.append(int(tx.setting("number") or 0))
        server.numbers["setting", "number"] += 1  # as if another caller had committed in between
        tx.put_setting("number", "mine")

    with pytest.raises(StoreBusy):
        store.run_now(overtaken)

    assert len(runs) == ATTEMPTS_MAX
    assert store.conflicts == len(runs)
    assert "number" not in server.memory.settings


async def test_a_refusal_rests_on_reads_of_one_instant() -> None:
    """A rule that finds its reads missing one by one is run on all of them, read together."""
    server = Server(ManualClock())
    store = OptimisticMemoryStore(server)
    rounds: list[int] = []

    def look_twice(tx: Transaction) -> tuple[str | None, str | None]:
        rounds.append(1)
        return tx.setting("left"), tx.setting("right")

    assert await store.run(look_twice) == (None, None)
    assert len(rounds) == 3
