"""A read that breaks just before its time is over is asked again in what is left of it, and not as long once more."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from tests.helpers.near_caches import BOUND_S, answers_near
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
TIMEOUT_S = 3
BREAKS_AFTER_S = 2.6
"""When the first try has failed: then there is hardly any time left."""
TWICE_S = 5.2
"""Long after the time is over, and before it would be over for the second time (5.6)."""


class Place:
    """A server, alone or a cluster's only node, that says nothing, then is gone, and whose port then says nothing."""

    def __init__(self, kind: str, held: ExitStack) -> None:
        if kind == "cluster":
            cluster = Cluster(1, (), CALM_TIMEOUT_MS)
            held.callback(cluster.remove)
            cluster.start()
            self.server: ValkeyServer = cluster.nodes[0]
            self.url = f"{cluster.url}?timeout={TIMEOUT_S}"
        else:
            self.server = ValkeyServer()
            held.callback(self.server.remove)
            self.server.start()
            self.url = f"{self.server.url}?timeout={TIMEOUT_S}"

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Freeze it; before the time is over all connections break, and what takes new ones never answers."""
        self.server.pause()
        with ThreadPoolExecutor(1) as later, ExitStack() as held:

            def breaks() -> None:
                time.sleep(BREAKS_AFTER_S)
                self.server.kill()
                held.enter_context(socket.create_server(("127.0.0.1", self.server.port), backlog=64))

            broken = later.submit(breaks)
            yield
            broken.result()


@pytest.fixture(params=["server", "cluster"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as held:
        yield Place(request.param, held)


@pytest.mark.parametrize("near_s", [0, BOUND_S])
def test_a_verification_whose_first_try_breaks_takes_its_time_once(place: Place, near_s: float) -> None:
    with SessionTokens.open(place.url, pepper=PEPPER, sweep=False, near_cache=near_s) as st:
        issued = st.open_session("ann")
        assert st.verify_session(issued.secret) is not None
        if near_s:
            wait_until(lambda: answers_near(st, issued.secret))
        st.change_session(issued.id, label="not near")
        with place.breaking():
            since_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                st.verify_session(issued.secret)
            took_s = time.monotonic() - since_s

    assert took_s < TWICE_S


@pytest.mark.parametrize("near_s", [0, BOUND_S])
async def test_a_task_whose_first_try_breaks_takes_its_time_once(place: Place, near_s: float) -> None:
    st = await AsyncSessionTokens.open(place.url, pepper=PEPPER, sweep=False, near_cache=near_s)
    async with st:
        issued = await st.open_session("ann")
        while not (near_s and st.store.near_cache and st.store.near_cache.hits):
            assert await st.verify_session(issued.secret) is not None
            if not near_s:
                break
        await st.change_session(issued.id, label="not near")
        with place.breaking():
            since_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await st.verify_session(issued.secret)
            took_s = time.monotonic() - since_s

    assert took_s < TWICE_S
