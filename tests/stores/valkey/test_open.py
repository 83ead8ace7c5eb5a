"""Why a store does not open on a Valkey or Redis server: the true cause, each with its remedy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import valkey

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, StoreError, StoreUnavailable
from session_tokens.stores.valkey import store
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from tests.helpers.servers.certificates import Authority
from tests.helpers.servers.failover import command
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

Start = Callable[..., ValkeyServer]
PEPPER = bytes(range(32))


async def refusals(url: str) -> set[tuple[type[StoreError], str]]:
    """Return what both shells say, which should be one thing."""
    with pytest.raises(StoreError) as blocking:
        open_valkey_blocking(url, pepper=PEPPER)
    with pytest.raises(StoreError) as for_asyncio:
        await open_valkey(url, pepper=PEPPER)
    return {
        (StoreUnavailable if isinstance(error, StoreUnavailable) else StoreError, str(error))
        for error in (blocking.value, for_asyncio.value)
    }


async def test_a_full_server_without_the_library_is_full(private_valkey: Start) -> None:
    server = private_valkey("--maxmemory", "1mb")
    ((kind, said),) = await refusals(server.url)

    assert kind is StoreUnavailable
    assert said.startswith("the server is out of memory; give it more (maxmemory)")


async def test_a_server_that_may_not_write_is_told_to_be_one(private_valkey: Start) -> None:
    """Nobody is told to load the library, with it or without."""
    server = private_valkey()
    for _ in range(2):
        command(server, "CONFIG", "SET", "min-replicas-to-write", "1")
        ((kind, said),) = await refusals(server.url)
        assert (kind, said) == (StoreUnavailable, "the server has too few replicas to accept writes")
        command(server, "CONFIG", "SET", "min-replicas-to-write", "0")
        open_valkey_blocking(server.url, pepper=PEPPER).close_now()


@contextmanager
def running(folder: Path, port: int, *words: str) -> Iterator[None]:
    """Run a Redis of Debian's, which speaks TLS, or a Sentinel."""
    program = shutil.which("redis-server")
    assert program is not None
    server = subprocess.Popen(
        [program, *words, "--bind", "127.0.0.1", "--dir", str(folder)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until_s = time.monotonic() + 30
        while not is_listening(port):
            assert server.poll() is None and time.monotonic() < until_s, "the server did not start"
            time.sleep(0.01)
        yield
    finally:
        server.kill()
        server.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.needs_redis
async def test_tls_where_there_is_none_and_none_where_there_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    own, plain, encrypted = authority.issue("127.0.0.1"), free_port(), free_port()
    words = [
        "--port", str(plain), "--tls-port", str(encrypted), "--save", "", "--tls-cert-file", str(own.certificate),
        "--tls-key-file", str(own.key), "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no",
    ]  # fmt: skip
    with running(tmp_path, encrypted, *words):
        for url, wanted in (
            (f"valkeys://127.0.0.1:{plain}/0?timeout=0.5", "the port speaks no TLS"),
            (f"rediss://app:hidden@127.0.0.1:{plain}/0?timeout=0.5", "the port speaks no TLS"),
            (f"valkeys+cluster://127.0.0.1:{plain}?timeout=0.5", "the port speaks no TLS"),
            (f"valkeys+sentinel://app:hidden@127.0.0.1:{plain}/main?timeout=0.5", "the port speaks no TLS"),
            (f"valkey://127.0.0.1:{encrypted}/0?timeout=0.5", "the port speaks TLS"),
            (f"redis+cluster://app:hidden@127.0.0.1:{encrypted}?timeout=0.5", "the port speaks TLS"),
            (f"valkey+sentinel://127.0.0.1:{encrypted}/main?timeout=0.5", "the port speaks TLS"),
        ):
            ((kind, said),) = await refusals(url)
            assert kind is StoreUnavailable
            assert said.startswith(wanted) and "hidden" not in said


@pytest.mark.needs_redis
async def test_a_client_certificate_that_is_demanded_is_named(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    own, ours, theirs, port = authority.issue("127.0.0.1"), authority.issue("app"), other.issue("app"), free_port()
    words = [
        "--port", "0", "--tls-port", str(port), "--save", "", "--tls-cert-file", str(own.certificate),
        "--tls-key-file", str(own.key), "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "yes",
    ]  # fmt: skip
    url = f"valkeys://127.0.0.1:{port}/0?timeout=2&ssl_ca_certs={authority.certificate}"
    with running(tmp_path, port, *words):
        for without, wanted in (
            (url, "names none; "),
            (f"{url}&ssl_certfile={theirs.certificate}&ssl_keyfile={theirs.key}", "names one that it does not take; "),
        ):
            ((kind, said),) = await refusals(without)
            assert kind is StoreUnavailable
            assert "the server demands a client certificate, and the store's URL " + wanted in said
            assert "?ssl_certfile=FILE&ssl_keyfile=FILE" in said

        right = f"{url}&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}"
        with SessionTokens(open_valkey_blocking(right, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
            assert tokens.verify_session(issued.secret) == issued.session


@pytest.mark.needs_redis
async def test_the_key_of_a_client_certificate_may_be_under_a_password(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    ours, theirs = authority.issue("app", password="horse"), other.issue("app", password="horse")
    own, port = authority.issue("127.0.0.1"), free_port()
    words = [
        "--port", "0", "--tls-port", str(port), "--save", "", "--tls-cert-file", str(own.certificate),
        "--tls-key-file", str(own.key), "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "yes",
    ]  # fmt: skip
    url = f"valkeys://127.0.0.1:{port}/0?timeout=2&ssl_ca_certs={authority.certificate}&ssl_password=horse"
    with running(tmp_path, port, *words):
        ((_, said),) = await refusals(f"{url}&ssl_certfile={theirs.certificate}&ssl_keyfile={theirs.key}")
        assert "names one that it does not take" in said and "horse" not in said

        right = f"{url}&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}"
        with SessionTokens(open_valkey_blocking(right, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
        async with AsyncSessionTokens(await open_valkey(right, pepper=PEPPER)) as others:
            assert await others.verify_session(issued.secret) is not None


async def test_an_option_that_no_driver_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the one for asyncio knows fewer than that for threads."""
    monkeypatch.setattr(store, "DRIVERS", ("valkey",))

    with pytest.raises(InvalidInput, match="asyncio does not take the option ssl_password"):
        await open_valkey("valkeys://127.0.0.1/0?ssl_password=horse", pepper=PEPPER)


@pytest.mark.needs_redis
@pytest.mark.parametrize("database", [0, 1])
async def test_the_port_of_a_sentinel_is_told_to_be_one(tmp_path: Path, private_valkey: Start, database: int) -> None:
    server, port = private_valkey(), free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
    with running(tmp_path, port, str(settings), "--sentinel"):
        ((kind, said),) = await refusals(f"valkey://127.0.0.1:{port}/{database}")

    assert kind is StoreError
    assert "Sentinel" in said and "give the" in said and "primary" in said


# --- several servers, over TLS ---


def works(url: str) -> bool:
    """Whether a store opens at a URL and answers."""
    with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
        issued = tokens.open_session("alice")
        return tokens.verify_session(issued.secret) == issued.session


@pytest.mark.needs_redis
def test_sentinels_and_nodes_speak_tls_like_the_server(tmp_path: Path) -> None:
    authority, ports = Authority(tmp_path, "authority"), (free_port(), free_port(), free_port())
    own, (server, sentinel, node) = authority.issue("127.0.0.1"), ports
    tls = {
        "tls-cert-file": own.certificate, "tls-key-file": own.key, "tls-ca-cert-file": authority.certificate,
        "tls-auth-clients": "no", "tls-replication": "yes", "tls-cluster": "yes", "port": "0",
    }  # fmt: skip
    words = [word for name, value in tls.items() for word in (f"--{name}", str(value))]
    lines = [*(f"{name} {value}" for name, value in tls.items()), f"tls-port {sentinel}"]
    settings = tmp_path / "sentinel.conf"
    settings.write_text("\n".join([*lines, f"sentinel monitor main 127.0.0.1 {server} 1", ""]))
    trusting = f"?timeout=5&ssl_ca_certs={authority.certificate}"
    with (
        running(tmp_path, server, *words, "--tls-port", str(server), "--save", ""),
        running(tmp_path, sentinel, str(settings), "--sentinel"),
    ):
        assert works(f"valkeys+sentinel://127.0.0.1:{sentinel}/main{trusting}")
        with pytest.raises(StoreUnavailable, match="the port speaks TLS"):
            works(f"valkey+sentinel://127.0.0.1:{sentinel}/main")
    cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--tls-port", str(node), "--save", ""]
    with (
        running(tmp_path, node, *words, *cluster),
        valkey.Valkey(port=node, ssl=True, ssl_ca_certs=str(authority.certificate)) as client,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        assert works(f"valkeys+cluster://127.0.0.1:{node}{trusting}")
