"""A server that throws keys away since its settings were changed is told at /readyz, in the log and by check."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable

import httpx
import pytest
import valkey

from session_tokens import AsyncSessionTokens, Settings, StoreError
from session_tokens.service.app import Service
from session_tokens.stores.connect import check_store
from session_tokens.stores.valkey.placement import FIRST, Placement
from tests.helpers.servers.cluster import Cluster, cluster_of
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))


async def ready(http: httpx.AsyncClient) -> tuple[int, list[tuple[str, bool]]]:
    """Return what /readyz answers: its status, and of each warning its code and whether it names the remedy."""
    answer = await http.get("/readyz")
    warnings = answer.json().get("warnings", [])
    return answer.status_code, [(one["code"], "set maxmemory-policy noeviction" in one["detail"]) for one in warnings]


async def seen(url: str, change: Callable[[str], object]) -> list[tuple[int, list[tuple[str, bool]]]]:
    """Return what is answered before and after the policy is an evicting one, and when it is none again."""
    opening = AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False)
    async with (
        await opening as tokens,
        httpx.AsyncClient(transport=httpx.ASGITransport(Service(tokens)), base_url="http://service.test") as http,
    ):
        answers = [await ready(http)]
        for policy in ("allkeys-lru", "allkeys-lru", "noeviction"):
            change(policy)
            answers.append(await ready(http))
        return answers


WARNED = (200, [("store_misgiving", True)])


async def test_a_policy_that_is_changed_while_a_service_runs(
    private_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    server = private_valkey()
    with valkey.Valkey(port=server.port) as admin:
        answers = await seen(server.url, lambda policy: admin.config_set("maxmemory-policy", policy))
        admin.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(StoreError, match="set maxmemory-policy noeviction"):
            await asyncio.to_thread(check_store, server.url, fix=False, progress=lambda *_: None)
    told = [record for record in caplog.records if "maxmemory-policy allkeys-lru" in record.getMessage()]

    assert answers == [(200, []), WARNED, WARNED, (200, [])]
    assert [record.levelno for record in told] == [logging.ERROR]


async def test_of_one_node_of_a_cluster() -> None:
    with cluster_of(3, ()) as cluster:
        answers = await seen(f"{cluster.url}?namespace=m{uuid.uuid4().hex[:8]}", _of_the_last_of(cluster))

    assert answers == [(200, []), WARNED, WARNED, (200, [])]


def _of_the_last_of(cluster: Cluster) -> Callable[[str], object]:
    return lambda policy: cluster.nodes[-1].say("CONFIG", "SET", "maxmemory-policy", policy)


@pytest.mark.parametrize("settings", [Settings(), Settings(events="durable")])
async def test_a_node_that_is_silent_leaves_the_service_ready_for_what_lies_on_the_others(settings: Settings) -> None:
    namespace = f"m{uuid.uuid4().hex[:8]}"
    with cluster_of(3, ()) as cluster:
        needed = cluster.holder(Placement(namespace).slots[FIRST])
        url = f"{cluster.url}?namespace={namespace}"
        opening = AsyncSessionTokens.open(url, pepper=PEPPER, settings=settings, sweep=False)
        async with (
            await opening as tokens,
            httpx.AsyncClient(transport=httpx.ASGITransport(Service(tokens)), base_url="http://service.test") as http,
        ):
            silent, other = (node for node in cluster.nodes if node is not needed)
            silent.freeze()
            answers = [await ready(http) for _ in range(3)]
            other.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            answers.append(await ready(http))
            silent.wake()

    assert [(200, [])] * 3 == answers[:3]
    assert answers[3][0] == 200
