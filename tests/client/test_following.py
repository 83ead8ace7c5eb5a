"""Following events over HTTP: each comes once the service has it, also across its death and its restart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, StoreUnavailable, UnknownKey
from session_tokens.client.event_stream import EVENT_BYTES_MAX, EventReader
from tests.helpers.running_service import RunningService
from tests.helpers.servers.proxy import proxy_to

EVENT = (
    b'id: %b\nevent: session_opened\ndata: {"id":"%b","kind":"session_opened","at":1,"subject_id":"ses_1",'
    b'"owner":"ann","reason":null,"previous_owner":null,"terms":null}\n\n'
)


def test_a_stream_is_read_whatever_its_pieces() -> None:
    stream = b"retry: 1000\n\n:\n\n" + EVENT % (b"a", b"a") + b":\n\n" + (EVENT % (b"b", b"b")).replace(b"\n", b"\r\n")
    for size in (1, 2, 7, 100, len(stream)):
        reader = EventReader()
        events = [event for place in range(0, len(stream), size) for event in reader.read(stream[place : place + size])]

        assert [(event.id, event.owner) for event in events] == [("a", "ann"), ("b", "ann")]


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * (EVENT_BYTES_MAX + 1),
        b"data: no JSON\n\n",
        b"data: {}\n\n",
        b"data: 1\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_no_stream_of_events_is_an_error(stream: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="no stream of events"):
        EventReader().read(stream)


def test_signs_of_life_pile_up_nowhere() -> None:
    reader = EventReader()
    for _ in range(EVENT_BYTES_MAX // 1_000):
        assert reader.read(b":\n\n" * 1_000) == []


@contextmanager
def running(tmp_path: Path) -> Iterator[tuple[RunningService, Any, str]]:
    """Yield a service whose store keeps events, a proxy in front of it, and its URL."""
    service = RunningService(f"sqlite:///{tmp_path}/s.db", tmp_path / "log", settings={"events": "durable"})
    with proxy_to(service.port) as proxy:
        yield service, proxy, f"http://127.0.0.1:{proxy.port}"
    service.stop()


def restarted(service: RunningService, proxy: Any, tmp_path: Path) -> RunningService:
    """Kill the service and start it again."""
    service.stop(signal.SIGKILL)
    again = RunningService(service.store_url, tmp_path / "log", service.secret, settings={"events": "durable"})
    proxy.target_port = again.port
    return again


@pytest.mark.process
def test_a_follower_outlives_the_service(tmp_path: Path) -> None:
    """Opened before, while nothing listens, and after; for threads and for asyncio, which come again by themselves."""
    seen: list[str] = []
    with running(tmp_path) as (service, proxy, url):
        second = service

        def follow() -> None:
            with SessionTokens.connect(url, key=service.secret, retry_for=60) as st, st.follow_events() as follower:
                for event in follower:
                    if event.kind == "session_opened":
                        seen.append(event.subject_id)
                    if event.owner == "last":
                        break

        with SessionTokens.connect(url, key=service.secret, retry_for=60) as st:
            opened = [st.open_session("ann").id]
            thread = threading.Thread(target=follow)
            thread.start()
            waited = threading.Event()
            for _ in range(600):
                if seen or not thread.is_alive():
                    break
                waited.wait(0.05)
            first = list(seen)
            opened.append(st.open_session("ann").id)
            try:
                second = restarted(service, proxy, tmp_path)
                opened += [st.open_session("ann").id, st.open_session("last").id]
                thread.join(60)
            finally:
                second.stop()

    assert opened[:1] == first
    assert not thread.is_alive()
    assert list(dict.fromkeys(seen)) == opened


@pytest.mark.process
async def test_a_follower_for_asyncio_goes_on_behind_what_it_has_seen(tmp_path: Path) -> None:
    with running(tmp_path) as (service, proxy, url):
        second = service
        async with await AsyncSessionTokens.connect(url, key=service.secret, retry_for=60) as st:
            opened = [(await st.open_session(owner)).id for owner in ("ann", "bob", "ann")]
            seen = []
            try:
                async with st.follow_events(owner="ann") as follower:
                    seen.append((await anext(follower)).subject_id)
                    after = (await anext(follower)).id
                    second = restarted(service, proxy, tmp_path)
                    opened.append((await st.open_session("ann")).id)
                    while len(seen) < 2:
                        event = await anext(follower)
                        seen.append(event.subject_id)
                async with st.follow_events(after=after) as follower:
                    seen.append((await anext(follower)).subject_id)
                with pytest.raises(StopAsyncIteration):
                    await anext(follower)
            finally:
                second.stop()

    assert seen == [opened[0], opened[3], opened[3]]


@pytest.mark.process
def test_what_there_is_no_following_for_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as (service, _, url):
        with SessionTokens.connect(url, key=service.secret, retry_for=0.2) as st:
            with pytest.raises(InvalidInput, match="remembers no followers"):
                st.follow_events(name="mailer")
            with pytest.raises(InvalidInput, match="looks like a secret"):
                st.follow_events(owner=service.secret)
            with pytest.raises(InvalidInput):
                next(st.follow_events(after="nonsense"))
            follower = st.follow_events()
            service.stop()
            for _ in range(2):  # iterating goes on, and says so again
                with pytest.raises(StoreUnavailable):
                    next(follower)
        plain = RunningService(f"sqlite:///{tmp_path}/plain.db", tmp_path / "log")
        try:
            with (
                SessionTokens.connect(plain.url, key=plain.secret) as st,
                pytest.raises(InvalidInput, match="no events"),
            ):
                next(st.follow_events())
            with SessionTokens.connect(plain.url, key=service.secret) as st, pytest.raises(UnknownKey):
                next(st.follow_events())
        finally:
            plain.stop()
