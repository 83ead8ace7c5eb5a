"""Real servers under many processes, through a network that loses replies, and under callers who give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, Issued
from session_tokens.stores.connect import open_store
from session_tokens.stores.postgres.store import open_postgres
from session_tokens.stores.valkey.placement import Placement
from tests.helpers.effort import PROVING, times
from tests.helpers.races.field import ALL, PEPPER, Field, field_of
from tests.helpers.races.processes import judge, race_of_processes
from tests.helpers.servers.cluster import Mover, shared_cluster
from tests.helpers.servers.proxy import proxy_to, sometimes, through
from tests.helpers.waiting import until_answered, values_listed

COMMANDS = times(4_000, proving=100_000)
CANCELLATIONS = times(4_000, proving=1_000_000)
PROCESSES, MOVES = 8, 12


@pytest.fixture(params=["postgres", "mariadb", "valkey", "cluster"])
def server(request: pytest.FixtureRequest) -> Iterator[Field]:
    field = field_of(request.param, request)
    yield field
    field.close()


@pytest.mark.parametrize("seed", range(times(1, proving=10)))
def test_one_order_explains_what_eight_processes_saw(server: Field, seed: int, tmp_path: Path) -> None:
    operations, start = race_of_processes(server, PROCESSES, seed, tmp_path, MOVES)

    assert len(operations) >= PROCESSES * 2 * MOVES
    judge(operations, start)


if PROVING:

    @pytest.mark.server
    def test_one_order_explains_what_processes_saw_while_their_slot_moved(tmp_path: Path) -> None:
        cluster = shared_cluster()
        mover = Mover(cluster, Placement("moving").slots, MOVES)
        field = Field(f"{cluster.url}?timeout=30&namespace=moving")
        with mover.going_on():
            operations, start = race_of_processes(field, PROCESSES, 1, tmp_path, 4 * MOVES)
        field.close()

        assert len(operations) >= PROCESSES * 8 * MOVES and mover.moves > 2
        judge(operations, start)


@pytest.mark.parametrize("kind", ["postgres", "mariadb"] if PROVING else ["postgres"])
async def test_commands_with_lost_replies_and_idempotency_keys_are_applied_exactly_once(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """The twin of Valkey's test: whatever is lost on the way, a command sent again under its key is done once."""
    chance = random.Random(12)
    sessions_count, tasks_count = 20, 50
    url, port = request.getfixturevalue(f"{kind}_url"), request.getfixturevalue(f"{kind}_server").port
    with proxy_to(port) as proxy:
        store = await open_store(through(proxy, url, "?timeout=10"), pepper=PEPPER)
        tokens = AsyncSessionTokens(store, ALL)
        sessions = [(await tokens.open_session("alice")).id for _ in range(sessions_count)]
        proxy.reply_fate = sometimes(chance, 0.06, "cut", "truncate")
        proxy.request_fate = sometimes(chance, 0.02, "drop", "truncate")
        asked = next_number = 0
        issued: dict[int, Issued] = {}

        async def issue(number: int) -> Issued:
            async def once() -> Issued:
                nonlocal asked
                asked += 1
                key = f"command {number}"
                return await tokens.issue_token(sessions[number % sessions_count], number, idempotency_key=key)

            return await until_answered(once)

        def is_enough() -> bool:
            """Whether as many commands were carried out as are wanted, and as much was lost as chance will have it."""
            return next_number >= COMMANDS and proxy.lost > 15 and asked - next_number > 100

        async def work() -> None:
            nonlocal next_number
            while not is_enough():
                number, next_number = next_number, next_number + 1
                assert number < 20 * COMMANDS, "nothing is lost on the way"
                issued[number] = await issue(number)

        await asyncio.gather(*(work() for _ in range(tasks_count)))
        proxy.heal()

        assert len({answer.id for answer in issued.values()}) == len(issued) == next_number
        assert sorted(await values_listed(tokens)) == list(range(next_number))
        for number in chance.sample(range(COMMANDS), 200):
            token = await tokens.verify_token(issued[number].secret)
            assert token is not None and (token.id, token.value) == (issued[number].id, number)
        assert await store.check() == []  # type: ignore[attr-defined]  # of these stores
        await tokens.close()


async def test_cancelled_calls_to_postgres_never_cross_answers(postgres_url: str) -> None:
    """Each owner is a canary: a verification that answers another owner's session has crossed."""
    chance = random.Random(6)
    tokens = AsyncSessionTokens(await open_postgres(postgres_url + "?timeout=10", pepper=PEPPER), ALL)
    issued = [await tokens.open_session(f"canary {number}") for number in range(64)]
    crossed = cancelled = answered = 0

    async def ask(number: int) -> None:
        nonlocal crossed, answered
        if chance.random() < 0.1:
            session = await tokens.change_session(issued[number].id, label=f"canary {number}")
        else:
            verified = await tokens.verify_session(issued[number].secret)
            assert verified is not None
            session = verified
        crossed += (session.owner, session.label or session.owner) != (f"canary {number}", f"canary {number}")
        answered += 1

    while cancelled < CANCELLATIONS:
        tasks = [asyncio.create_task(ask(chance.randrange(64))) for _ in range(200)]
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        for task in tasks:
            if chance.random() < 0.8:
                task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled += sum(isinstance(end, asyncio.CancelledError) for end in ends)
        assert not [end for end in ends if isinstance(end, Exception)]

    assert crossed == 0
    assert answered > CANCELLATIONS // 20
    for number, one in enumerate(issued):
        session = await tokens.verify_session(one.secret)
        assert session is not None and session.owner == f"canary {number}"
    await tokens.close()
