"""Many callers at once on MariaDB: threads, tasks and processes; one winner each time, and nobody passes a cap."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, SessionTokensError, Settings
from session_tokens.contract.queries import Get
from session_tokens.contract.transaction import Transaction
from session_tokens.stores.connect import open_store, open_store_now
from tests.helpers.at_once import outcomes_at_once
from tests.helpers.other_process import OtherProcess

pytestmark = pytest.mark.needs_mariadb

PEPPER = bytes(range(32))


def open_tokens(url: str, settings: Settings | None = None) -> SessionTokens:
    return SessionTokens(open_store_now(url + "?timeout=20", pepper=PEPPER), settings)


async def open_async_tokens(url: str, settings: Settings | None = None) -> AsyncSessionTokens:
    return AsyncSessionTokens(await open_store(url + "?timeout=20", pepper=PEPPER), settings)


def check(tokens: SessionTokens) -> list[object]:
    found: list[object] = tokens.store.check_now()  # type: ignore[attr-defined]  # of this store
    return found


def test_of_32_transfers_of_one_token_by_threads_one_succeeds(mariadb_url: str) -> None:
    with open_tokens(mariadb_url) as tokens:
        session = tokens.open_session("ann")
        for _ in range(3):
            token = tokens.issue_token(session.id, "v", transferable=True)

            def transfer(number: int, id: str = token.id) -> None:
                tokens.transfer_token(id, giver="ann", receiver=f"r{number}")

            outcomes = outcomes_at_once(32, transfer)
            assert Counter({"NotOwner": 31, "done": 1}) == outcomes
            found = tokens.get_token(token.id)
            assert found is not None and found.epoch == 1


async def test_of_32_transfers_of_one_token_by_tasks_of_two_stores_one_succeeds(mariadb_url: str) -> None:
    """Those of one store meet in one batch, those of the other in the locks."""
    stores = [await open_async_tokens(mariadb_url) for _ in range(2)]
    session = await stores[0].open_session("ann")
    token = await stores[0].issue_token(session.id, "v", transferable=True)

    async def transfer(number: int) -> str:
        try:
            await stores[number % 2].transfer_token(token.id, giver="ann", receiver=f"r{number}")
        except SessionTokensError as error:
            return type(error).__name__
        return "done"

    outcomes = Counter(await asyncio.gather(*map(transfer, range(32))))
    assert Counter({"NotOwner": 31, "done": 1}) == outcomes
    for store in stores:
        await store.close()


def test_no_race_of_openings_passes_the_cap_of_an_owner(mariadb_url: str) -> None:
    """The set of an owner's sessions is empty at first: there is no row that two openings could meet in."""
    settings = Settings(max_sessions=2)
    with open_tokens(mariadb_url, settings) as one, open_tokens(mariadb_url, settings) as other:
        for owner in ("ann", "bob", "cyd"):

            def open_one(number: int, owner: str = owner) -> None:
                (one, other)[number % 2].open_session(owner)

            outcomes = outcomes_at_once(12, open_one)

            assert Counter({"done": 12}) == outcomes
            assert 2 == len(one.list_sessions(owner).items)
        assert [] == check(one)


def test_tokens_that_are_issued_while_their_session_ends_are_all_dead_or_refused(mariadb_url: str) -> None:
    with open_tokens(mariadb_url) as tokens:
        session = tokens.open_session("ann")
        made = []

        def issue_or_end(number: int) -> None:
            if number == 5:
                tokens.destroy_session(session.id)
            else:
                made.append(tokens.issue_token(session.id, number))

        outcomes = outcomes_at_once(12, issue_or_end)
        assert 12 == sum(outcomes.values()) and set(outcomes) <= {"done", "UnknownSession", "SessionEnded"}
        assert [None] * len(made) == [tokens.verify_token(issued.secret) for issued in made]
        assert [] == tokens.list_tokens().items


def test_a_parked_token_reaches_the_session_that_is_opened_at_the_same_moment(mariadb_url: str) -> None:
    with open_tokens(mariadb_url) as tokens:
        ann = tokens.open_session("ann")
        for round_number in range(8):
            receiver = f"bob{round_number}"
            token = tokens.issue_token(ann.id, "v", transferable=True)

            def meet(number: int, id: str = token.id, receiver: str = receiver) -> None:
                if number == 0:
                    tokens.open_session(receiver)
                else:
                    tokens.transfer_token(id, giver="ann", receiver=receiver)

            assert Counter({"done": 2}) == outcomes_at_once(2, meet)
            found = tokens.get_token(token.id)
            (session,) = tokens.list_sessions(receiver).items
            assert found is not None and (receiver, session.id) == (found.owner, found.session_id)


def test_of_two_who_rest_on_what_the_other_writes_one_is_judged_again(mariadb_url: str) -> None:
    """Each reads that both settings are absent and writes its own: both at once is what no order explains."""

    def claim(tx: Transaction, mine: str, other: str) -> bool:
        if tx.setting(other) is not None or tx.setting(mine) is not None:
            return False
        tx.put_setting(mine, "mine")
        return True

    with open_tokens(mariadb_url) as one, open_tokens(mariadb_url) as two:
        for turn in range(10):
            names = [f"left {turn}", f"right {turn}"]

            def run(number: int, names: list[str] = names) -> None:
                (one, two)[number].store.run_now(claim, names[number], names[1 - number])

            assert Counter({"done": 2}) == outcomes_at_once(2, run)
            found = one.store.read_now([Get("setting", name) for name in names]).found
            assert 1 == sum(result.value is not None for result in found)


def test_what_is_ended_in_one_process_is_refused_in_the_other_as_soon_as_the_call_returned(mariadb_url: str) -> None:
    other = OtherProcess(mariadb_url)
    with open_tokens(mariadb_url, Settings(max_sessions=None)) as tokens:
        for _ in range(10):
            here, there = tokens.open_session("ann"), tokens.open_session("ann")

            assert "True" == other.ask("verify", here.secret)
            tokens.destroy_session(here.id)
            assert "False" == other.ask("verify", here.secret)
            assert "True" == other.ask("end", there.id)
            assert tokens.verify_session(there.secret) is None
    other.end()


def test_of_two_processes_one_wins_each_transfer(mariadb_url: str) -> None:
    others = [OtherProcess(mariadb_url) for _ in range(2)]
    with open_tokens(mariadb_url) as tokens:
        session = tokens.open_session("ann")
        for _ in range(10):
            token = tokens.issue_token(session.id, "v", transferable=True)
            for number, other in enumerate(others):
                other.tell("transfer", token.id, "ann", f"r{number}")

            assert ["NotOwner", "transferred"] == sorted(other.answer() for other in others)
    for other in others:
        other.end()


async def test_a_cancelled_call_never_hands_its_answer_to_another(mariadb_url: str) -> None:
    tokens = await open_async_tokens(mariadb_url, Settings(max_sessions=None))
    issued = [await tokens.open_session(f"owner{number}") for number in range(20)]

    async def verify(number: int) -> tuple[int, str | None]:
        session = await tokens.verify_session(issued[number].secret)
        return number, None if session is None else session.owner

    for turn in range(30):
        tasks = [asyncio.create_task(verify(number)) for number in range(20)]
        for _ in range(turn % 5):
            await asyncio.sleep(0)
        for task in tasks[turn % 3 :: 3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [answer for answer in answers if not isinstance(answer, BaseException)]

        assert len(kept) >= 13
        assert [(number, f"owner{number}") for number, _ in kept] == kept
    await tokens.close()
