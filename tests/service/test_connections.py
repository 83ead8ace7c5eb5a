"""Connections: counted from accept on, a share for each source, room made by those that do nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from session_tokens import AsyncSessionTokens
from session_tokens.service.accepting import Door
from session_tokens.service.app import Service
from session_tokens.service.connections import REFUSED_MAX, Connections, Place
from session_tokens.service.protocol import StrictHTTP
from tests.helpers.running_service import RunningService, received, request, status_of
from tests.helpers.servers.certificates import Authority

pytestmark = pytest.mark.server

LIVEZ = request("GET", "/livez", close=False)
HEAD_BEGUN = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: "


@contextlib.contextmanager
def running_with(folder: Path, store: str = "memory://", **options: object) -> Iterator[RunningService]:
    service = RunningService(store, folder / "log", "", **options)
    try:
        yield service
    finally:
        service.stop()


@contextlib.contextmanager
def connections_to(port: int, count: int, sent: bytes, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Hold connections that sent something; where the service closes one, nothing is done about it."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 15, (source, 0))))
            with contextlib.suppress(OSError):
                made[-1].sendall(sent)
        yield made


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait for what the service does at its next turn; half of what it once took is far too long."""
    ends_s = time.monotonic() + 30
    while not holds() and time.monotonic() < ends_s:
        time.sleep(0.02)
    return holds()


def events_in(log: str) -> list[str]:
    return [json.loads(line).get("event") for line in log.splitlines()]


def status_from(port: int, source: str) -> int:
    with socket.create_connection(("127.0.0.1", port), 15, (source, 0)) as connection:
        connection.sendall(request("GET", "/livez"))
        return status_of(received(connection))


def test_the_soft_limit_of_files_is_raised_to_what_connections_need(tmp_path: Path) -> None:
    with running_with(tmp_path, open_files=[256, 4_096]) as service:
        soft, _ = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        log = service.log()

    assert 1_300 <= soft <= 4_096
    assert log == ""


@pytest.mark.parametrize("sent", [b"", LIVEZ, HEAD_BEGUN])
def test_connections_that_do_nothing_lock_nobody_out(tmp_path: Path, sent: bytes) -> None:
    """Half as many again as there may be files; each asks nothing, asked once, or never comes to an end."""
    with running_with(tmp_path, open_files=[200, 200]) as service:
        with connections_to(service.port, 300, sent):
            answered = [status_from(service.port, source) for source in ("127.0.0.1", "127.0.0.2") * 3]
            files = service.open_files()
        log = service.log()

    assert answered == [200] * 6
    assert files < 100
    assert "Traceback" not in log
    assert events_in(log) == ["few_files", "too_many_connections"]
    assert "LimitNOFILE" in log


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
def test_handshakes_that_are_never_done_lock_nobody_out(tmp_path: Path, sent: bytes) -> None:
    authority = Authority(tmp_path, "authority")
    own = authority.issue("127.0.0.1")
    files = {"tls_certificate": str(own.certificate), "tls_key": str(own.key)}
    trusted = ssl.create_default_context(cafile=str(authority.certificate))
    with running_with(tmp_path, open_files=[200, 200], **files) as service:
        with connections_to(service.port, 300, sent):
            answer = httpx.get(f"https://127.0.0.1:{service.port}/livez", verify=trusted)
        log = service.log()

    assert answer.status_code == 200
    assert "Traceback" not in log
    assert events_in(log) == ["few_files", "too_many_connections"]


def test_clients_that_take_no_answers_lock_nobody_out(tmp_path: Path) -> None:
    """More answers than the buffers between the two take, and nobody who reads them."""
    asks = request("GET", "/docs", close=False) * 200
    with running_with(tmp_path, open_files=[100, 100]) as service, contextlib.ExitStack() as stack:
        for number in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(15)
            client.bind((f"127.0.0.{2 + number % 2}", 0))
            client.connect(("127.0.0.1", service.port))
            with contextlib.suppress(OSError):
                client.sendall(asks)
        spent = [service.processor_s()]
        while len(spent) < 2 or spent[-1] != spent[-2]:  # as long as there is something to answer
            time.sleep(0.5)
            spent.append(service.processor_s())
        answered = [status_from(service.port, source) for source in ("127.0.0.1", "127.0.0.2") * 3]

    assert answered == [200] * 6


def test_without_a_file_left_idle_connections_make_room_and_the_log_stays_short(tmp_path: Path) -> None:
    """The limit falls below what the service counted on, as where something else opens files."""
    with running_with(tmp_path) as service, connections_to(service.port, 20, LIVEZ) as held:
        for one in held:
            one.recv(10_000)
        full = service.open_files()
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (full, 4_096))
        with connections_to(service.port, 30, LIVEZ):
            answered = status_from(service.port, "127.0.0.1")
        log = service.log()

    assert answered == 200
    assert "Traceback" not in log
    assert events_in(log) == ["too_many_connections"]


@pytest.mark.parametrize("aborts", [False, True])
def test_clients_that_leave_while_the_store_is_slow_keep_no_file_open(tmp_path: Path, aborts: bool) -> None:
    """Each sent a whole request and closed; those that aborted are gone before the store answers."""
    file = tmp_path / "tokens.db"
    with running_with(tmp_path, f"sqlite:///{file}") as service:
        bearer = {"Authorization": f"Bearer {service.secret}", "Content-Type": "application/json"}
        asks = request("POST", "/v1/sessions", bearer, b'{"owner": "alice"}', close=False)
        with service.http() as http:
            http.post("/v1/sessions", json={"owner": "bob"})
        assert eventually(lambda: service.open_files() == service.open_files())
        before = service.open_files()
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with connections_to(service.port, 40, asks) as clients:
                assert eventually(lambda: service.open_files() >= before + 38)
                if aborts:
                    for one in clients:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if aborts:
                assert eventually(lambda: service.open_files() <= before + 1)
            other.execute("ROLLBACK")
        left = eventually(lambda: service.open_files() <= before + 1)
        log = service.log()

    assert left
    assert "Traceback" not in log


def test_a_client_that_closed_its_half_gets_all_its_answers(tmp_path: Path) -> None:
    with running_with(tmp_path) as service, socket.create_connection(("127.0.0.1", service.port), 15) as connection:
        connection.sendall(LIVEZ * 3 + HEAD_BEGUN)
        connection.shutdown(socket.SHUT_WR)
        answer = received(connection)

    assert answer.count(b"HTTP/1.1 200 OK") == 3


# --- places ---


def peer(number: int) -> tuple[str, int]:
    return (f"192.0.2.{number}", 1)


def taken(connections: Connections, *numbers: int) -> list[Place]:
    """Return the places of connections from sources of these numbers."""
    places = [connections.place_for(peer(number)) for number in numbers]
    assert all(place is not None and not place.is_refused for place in places)
    return [place for place in places if place is not None]


def cut_by(connections: Connections, places: list[Place], newcomer: int) -> list[int]:
    """Return which of some places made room for a newcomer, by their index."""
    cut: list[int] = []
    for index, place in enumerate(places):
        place.cut = lambda index=index: cut.append(index)  # type: ignore[misc]
    connections.place_for(peer(newcomer))
    return cut


async def test_the_longest_idle_connection_makes_room_first() -> None:
    connections = Connections(4)
    places = taken(connections, 1, 2, 3, 4)
    places[0].works()
    places[0].has_worked()
    places[0].is_idle()
    places[1].is_asked()

    assert cut_by(connections, places, 5) == [2]


async def test_of_several_sources_the_largest_makes_room() -> None:
    connections = Connections(4)
    places = taken(connections, 1, 2, 3, 3)

    assert cut_by(connections, places, 4) == [2]


async def test_idle_goes_before_ending_and_ending_before_slow_and_work_never() -> None:
    connections = Connections(4)
    places = taken(connections, 1, 2, 3, 4)
    places[0].works()
    places[1].is_asked()
    places[2].works()
    places[2].is_ending()
    newcomers = []
    for newcomer, expected in ((5, [3]), (6, [2]), (7, [1])):
        assert cut_by(connections, places, newcomer) == expected
        newcomers += list(connections.idle)
        for place in newcomers:
            place.works()

    refused = connections.place_for(peer(8))
    assert refused is not None and refused.is_refused


async def test_a_request_that_drips_in_makes_its_connection_no_younger() -> None:
    connections = Connections(4)
    places = taken(connections, 1, 2, 3, 4)
    for place in places:
        place.is_asked()
    places[0].is_asked()

    assert cut_by(connections, places, 5) == [0]


async def test_one_source_takes_three_quarters_whatever_it_does() -> None:
    connections = Connections(8)
    for place in taken(connections, *[1] * 6):
        place.works()
    refused = connections.place_for(peer(1))
    others = taken(connections, 2, 3)

    assert refused is not None and refused.is_refused
    assert len(others) == 2


async def test_those_that_are_told_so_are_few_and_the_others_hear_nothing() -> None:
    connections = Connections(1)
    taken(connections, 1)[0].works()
    refused = [connections.place_for(peer(2)) for _ in range(REFUSED_MAX)]

    assert all(place is not None and place.is_refused for place in refused)
    assert connections.place_for(peer(3)) is None
    assert refused[0] is not None
    refused[0].leave()
    refused[0].leave()
    again = connections.place_for(peer(3))
    assert again is not None and again.is_refused
    assert connections.place_for(peer(3)) is None


async def test_places_come_back() -> None:
    connections = Connections(4)
    for _ in range(100):
        places = taken(connections, 1, 2, 3)
        for one in places:
            one.works()
            one.leave()
            one.has_worked()

    assert (connections.requests, len(connections.idle)) == (0, 0)
    assert cut_by(connections, taken(connections, 1, 1, 1), 2) == []


async def test_requests_of_clients_that_are_gone_are_bounded_too() -> None:
    connections = Connections(2)
    may = []
    for _ in range(6):
        (place,) = taken(connections, 1)
        may.append(place.works())
        place.leave()

    assert may == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2), True),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::2", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 1, 0, 0), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 1), True),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth0", 1, 0, 2), True),
    ],
)
async def test_a_source_is_an_address_or_what_one_customer_is_given(one: object, other: object, is_same: bool) -> None:
    connections = Connections(8)
    places = [connections.place_for(peer) for peer in (one, other)]

    assert places[0] is not None and places[1] is not None
    assert places[0].source is not None
    assert (places[0].source == places[1].source) is is_same


@pytest.mark.parametrize("peer", [("10.1.2.3", 1), ("::ffff:10.1.2.3", 1, 0, 0), "", None])
async def test_a_trusted_proxy_and_this_machines_sockets_are_no_source(peer: object) -> None:
    connections = Connections(4, [ip_network("10.0.0.0/8")])
    places = [connections.place_for(peer) for _ in range(4)]

    assert [place and (place.source, place.is_refused) for place in places] == [(None, False)] * 4


class Hasty(StrictHTTP):
    request_timeout_s = 0.2


async def test_a_handshake_has_its_time_from_accepting_on(tmp_path: Path) -> None:
    own = Authority(tmp_path, "authority").issue("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.certificate, own.key)
    connections = Connections(4)
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        config = uvicorn.Config(Service(tokens), lifespan="off", log_config=None)
        config.load()
        listening = socket.create_server(("127.0.0.1", 0))
        door = Door(listening, connections, lambda place: Hasty(config, ServerState(), {}, place=place), tls, 0.2)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        door.close()

    assert answer == b""
    assert connections.idle == {}


async def test_the_time_that_a_handshake_took_is_not_given_again() -> None:
    loop = asyncio.get_running_loop()
    place = Place(Connections(4), None, loop.time() - 5)
    async with await AsyncSessionTokens.open("memory://", sweep=False) as tokens:
        config = uvicorn.Config(Service(tokens), lifespan="off", log_config=None)
        config.load()
        server = await loop.create_server(lambda: Hasty(config, ServerState(), {}, place=place), "127.0.0.1", 0)
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            answer = await reader.read()
            writer.close()

    assert answer == b""
