"""Connections that come back from what went wrong: none is kept beyond the end, none is left open."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreError
from session_tokens.stores.valkey.packing import pack
from tests.helpers.servers.valkey import client_of
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
WITHIN_S = 30


class Waiting:
    """Makes connections of one name wait for the server, which refuses that when it is told to, and not before.

    Attributes:
        command: waits for what comes of a stream.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name
        client.xgroup_create(name, "readers", mkstream=True)
        words = ["XREADGROUP", "GROUP", "readers", "one", "BLOCK", "0", "STREAMS", name, ">"]
        self.command = pack([word.encode() for word in words])

    def _clients(self) -> list[Any]:
        return [each for each in self._client.client_list() if each["name"] == self._name]

    def is_there(self) -> bool:
        return any("b" in each["flags"] for each in self._clients())

    def refuse(self) -> None:
        self._client.xgroup_destroy(self._name, "readers")

    def is_gone(self) -> bool:
        return not self._clients()


async def test_a_refusal_after_the_end_keeps_no_connection(valkey_url: str) -> None:
    with closing(client_of(valkey_url)) as client:
        waiting = Waiting(client, "ending-task")
        tokens = await AsyncSessionTokens.open(f"{valkey_url}&client_name=ending-task", pepper=PEPPER, sweep=False)
        connections: Any = tokens.store._connections  # type: ignore[attr-defined]
        asking = asyncio.create_task(connections.exchange(waiting.command, 1, WITHIN_S))
        await asyncio.to_thread(wait_until, waiting.is_there)
        await tokens.close()
        waiting.refuse()
        with pytest.raises(StoreError):
            await asking
        assert [] == connections._idle
        await asyncio.to_thread(wait_until, waiting.is_gone)


def test_a_refusal_after_the_end_keeps_no_connection_of_threads(valkey_url: str) -> None:
    with closing(client_of(valkey_url)) as client:
        waiting = Waiting(client, "ending-thread")
        tokens = SessionTokens.open(f"{valkey_url}&client_name=ending-thread", pepper=PEPPER, sweep=False)
        connections: Any = tokens.store._connections  # type: ignore[attr-defined]
        refused = list[StoreError]()

        def ask() -> None:
            try:
                connections.exchange(waiting.command, 1, WITHIN_S)
            except StoreError as error:
                refused.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(waiting.is_there)
        tokens.close()
        waiting.refuse()
        asking.join(WITHIN_S)
        assert (1, []) == (len(refused), connections._idle)
        wait_until(waiting.is_gone)


async def test_a_task_that_is_cancelled_while_it_looks_at_a_connection_closes_it(valkey_url: str) -> None:
    async with await AsyncSessionTokens.open(valkey_url, pepper=PEPPER, sweep=False) as tokens:
        connections: Any = tokens.store._connections  # type: ignore[attr-defined]
        ((connection, run, since_s),) = connections._idle
        connections._idle = [(connection, run, since_s - 1)]  # long enough ago to be looked at
        asking = asyncio.create_task(connections.take())
        await asyncio.sleep(0)
        assert [] == connections._idle
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not connection.is_connected


def test_a_connection_that_comes_back_while_another_thread_closes_is_closed(valkey_url: str) -> None:
    tokens = SessionTokens.open(valkey_url, pepper=PEPPER, sweep=False)
    connections: Any = tokens.store._connections  # type: ignore[attr-defined]
    connection, run = connections._connection(WITHIN_S)

    class ClosedMeanwhile(list[Any]):
        """Idle connections that are closed between the look at them and what follows from it."""

        def __len__(self) -> int:
            closing = threading.Thread(target=tokens.close)
            closing.start()
            closing.join()
            return 0

    connections._idle = ClosedMeanwhile()
    connections.give_back(connection, run)

    assert (None, []) == (connection._sock, connections._idle)
