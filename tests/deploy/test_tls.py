"""Stores on servers that speak TLS, and on sockets of this machine: used there, and refused where nobody vouches."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable, TokenTables
from session_tokens.cli.main import main
from tests.helpers.servers.certificates import Authority
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.postgres import PostgresServer, running_server

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
PASSWORD = "not-to-be-shown"
HOST = "localhost"
"""The one name that the servers' certificates are made for; they are reached under 127.0.0.1 too."""


@dataclass(frozen=True)
class Reached:
    """How one server is reached.

    Attributes:
        encrypted: its URL over TLS, with the authority that vouches for it.
        by_address: the same under an address that its certificate does not name.
        authority: what stands in the URLs for the authority's file.
        by_socket: its URL on a socket of this machine.
        in_the_clear: a URL without TLS, which it refuses.
    """

    encrypted: str
    by_address: str
    authority: str
    by_socket: str
    in_the_clear: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def redis(authority: Authority) -> Iterator[Reached]:
    with running_redis(authority) as reached:
        yield reached


@contextmanager
def running_redis(authority: Authority) -> Iterator[Reached]:
    """Run a Redis that speaks nothing but TLS, and on a socket."""
    own, port = authority.issue(HOST), free_port()
    with tempfile.TemporaryDirectory(prefix="st-") as name:  # short, because a socket lies in it
        folder = Path(name)
        words = [
            "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder),
            "--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key),
            "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no",
            "--unixsocket", str(folder / "socket"), "--requirepass", PASSWORD,
        ]  # fmt: skip
        server = subprocess.Popen(["redis-server", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            until_s = time.monotonic() + 30
            while not is_listening(port):
                assert server.poll() is None and time.monotonic() < until_s, "the server did not start"
                time.sleep(0.01)
            files = f"?ssl_ca_certs={authority.certificate}"
            yield Reached(
                f"rediss://:{PASSWORD}@{HOST}:{port}/0{files}",
                f"valkeys://:{PASSWORD}@127.0.0.1:{port}/0{files}",
                files,
                f"valkey+unix://:{PASSWORD}@{folder}/socket",
                f"redis://:{PASSWORD}@{HOST}:{port}/0",
            )
        finally:
            server.kill()
            server.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def postgres(authority: Authority) -> Iterator[Reached]:
    """A PostgreSQL that lets nobody in over TCP without TLS."""
    with running_server() as server:
        speak_tls(server, authority)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute("CREATE DATABASE app OWNER app")
        rules = ["local all all trust", "hostssl all app all scram-sha-256", "host all postgres 127.0.0.1/32 trust"]
        (server.folder / "data" / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        server.stop()
        server.start()
        files = f"?sslmode=verify-full&sslrootcert={authority.certificate}"
        where = f"postgresql://app:{PASSWORD}@{{}}:{server.port}/app"
        yield Reached(
            where.format(HOST) + files,
            where.format("127.0.0.1") + files,
            files,
            f"postgresql://app@{quote(str(server.folder), safe='')}:{server.port}/app",
            where.format(HOST) + "?sslmode=disable",
        )


def speak_tls(server: PostgresServer, authority: Authority) -> None:
    """Give a server a certificate; it speaks TLS from its next start on."""
    own, data = authority.issue(HOST), server.folder / "data"
    owner = data.stat()
    for file, name in ((own.certificate, "server.crt"), (own.key, "server.key")):
        shutil.copy(file, data / name)
        os.chown(data / name, owner.st_uid, owner.st_gid)
        (data / name).chmod(0o600)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\n")


SERVERS = [
    pytest.param("redis", marks=pytest.mark.needs_redis),
    pytest.param("postgres", marks=pytest.mark.needs_postgresql),
]


@pytest.fixture(params=SERVERS)
def reached(request: pytest.FixtureRequest) -> Reached:
    server: Reached = request.getfixturevalue(request.param)
    return server


def use(url: str) -> None:
    """Do the main job through both APIs and the seed's names."""

    async def use_for_asyncio() -> None:
        async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
            login = await tokens.open_session("alice")
            assert await tokens.verify_session(login.secret) == login.session

    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        login = tokens.open_session("alice")
        ticket = tokens.issue_token(login.id, "seat", transferable=True)
        bobs = tokens.transfer_token(ticket.id, giver="alice", receiver="bob")
        tokens.destroy_session(login.id)
        assert tokens.verify_session(login.secret) is None
        assert tokens.verify_token(bobs.secret) == bobs.token
    with TokenTables.open(url, pepper=PEPPER, sweep=False) as tables:
        tables.add_session("s", "eve")
        assert tables.active_session("s", "eve") is True
        tables.destroy_session("s")
    asyncio.run(use_for_asyncio())


def refusal(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what all three ways in say of a server that they do not trust, and that none tells the password."""

    async def refused_for_asyncio() -> str:
        with pytest.raises(StoreUnavailable) as refused:
            await AsyncSessionTokens.open(url, pepper=PEPPER)
        return str(refused.value)

    with pytest.raises(StoreUnavailable) as refused:
        SessionTokens.open(url, pepper=PEPPER)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    monkeypatch.setenv("SESSION_TOKENS_STORE", url)
    code, said = main(["sessions"]), capsys.readouterr().err

    assert code == 3
    assert said == f"session-tokens: {refused.value}\n"
    assert str(refused.value) == asyncio.run(refused_for_asyncio())
    assert PASSWORD not in said
    return said


def test_a_store_is_used_over_tls(reached: Reached) -> None:
    use(reached.encrypted)


def test_a_store_is_used_on_a_socket(reached: Reached) -> None:
    use(reached.by_socket)


def test_a_server_that_another_authority_vouches_for_is_not_trusted(
    reached: Reached, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(folder, "another").certificate
    url = reached.encrypted.replace("authority.pem", other.name)
    assert url != reached.encrypted

    said = refusal(url, capsys, monkeypatch)

    assert "certificate verify failed" in said or "certificate is not trusted" in said
    assert "ssl_ca_certs" in said or "SSL error" in said


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    reached: Reached, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file the driver takes the machine's authorities, or insists on one."""
    without = reached.encrypted.replace(
        reached.authority, "?sslmode=verify-full" if "sslmode" in reached.authority else ""
    )

    said = refusal(without, capsys, monkeypatch)

    assert "ssl_ca_certs" in said or "root certificate file" in said


def test_a_certificate_for_another_host_is_not_trusted(
    reached: Reached, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority has vouched for another host, which may be an attacker's."""
    said = refusal(reached.by_address, capsys, monkeypatch)

    assert "127.0.0.1" in said and ("not valid for" in said or "does not match host name" in said)


@pytest.mark.needs_redis
@pytest.mark.skipif(sys.version_info < (3, 13), reason="needs Python 3.13, which demands more of a certificate")
def test_a_certificate_that_lacks_what_this_python_demands_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_redis(Authority(folder, "terse", identifies_keys=False)) as reached:
        said = refusal(reached.encrypted, capsys, monkeypatch)

    assert "Missing Authority Key Identifier" in said
    assert "Python 3.13 and later demand it" in said
    assert "name the host" not in said


def test_an_authority_whose_file_is_not_there_is_told(
    reached: Reached, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(reached.encrypted.replace("authority.pem", "nowhere.pem"), capsys, monkeypatch)

    assert "ssl_ca_certs" in said or "nowhere.pem" in said


def test_a_server_that_wants_tls_is_not_spoken_to_without(
    reached: Reached, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(reached.in_the_clear, capsys, monkeypatch)

    assert "TLS" in said or "no encryption" in said


@pytest.mark.needs_postgresql
def test_a_socket_of_postgresql_may_stand_among_the_options(postgres: Reached) -> None:
    """As its own manual writes it: ``postgresql:///app?host=/run/postgresql``."""
    where = urlsplit(postgres.by_socket)
    folder, _, port = where.netloc.partition("@")[2].partition(":")

    use(f"postgresql:///app?host={folder}&port={port}&user=app")


@pytest.mark.needs_redis
def test_a_socket_that_is_not_there_is_told(
    redis: Reached, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is not there: the socket" in refusal(redis.by_socket + "less", capsys, monkeypatch)


@pytest.mark.needs_redis
def test_who_must_not_look_at_certificates_can_say_so(redis: Reached) -> None:
    use(redis.by_address.replace(redis.authority, "?ssl_cert_reqs=none"))


@pytest.mark.needs_postgresql
def test_a_client_certificate_that_postgresql_demands_is_named(authority: Authority, folder: Path) -> None:
    with running_server() as server:
        speak_tls(server, authority)
        data = server.folder / "data"
        shutil.copy(authority.certificate, data / "authority.crt")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("ssl_ca_file = 'authority.crt'\n")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE app LOGIN")
            connection.execute("CREATE DATABASE app OWNER app")
        rules = ["hostssl all app all trust clientcert=verify-ca", "host all postgres 127.0.0.1/32 trust"]
        (data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        server.stop()
        server.start()
        url = f"postgresql://app@{HOST}:{server.port}/app?sslmode=verify-full&sslrootcert={authority.certificate}"
        with pytest.raises(StoreUnavailable, match=r"client certificate; name one .*\?sslcert=FILE&sslkey=FILE"):
            SessionTokens.open(url, pepper=PEPPER)
        ours = authority.issue("app")
        use(f"{url}&sslcert={ours.certificate}&sslkey={ours.key}")
