"""Serving as a process: where it may listen, the first key, stopping and coming back."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from session_tokens import InvalidInput
from session_tokens.service.checks import check_address, check_hosts, load_tls
from session_tokens.service.serve import serve
from session_tokens.web.addresses import proxies_of, source_of
from tests.helpers.running_service import RunningService, received, status_of
from tests.helpers.servers.certificates import Authority
from tests.helpers.service_world import World

PUBLIC = ["0.0.0.0", "::", "192.0.2.1", "tokens.example", "", "127.0.0.1.evil.test"]


@pytest.mark.parametrize("host", PUBLIC)
def test_secrets_do_not_travel_in_the_clear_unless_a_proxy_speaks_tls(host: str) -> None:
    with pytest.raises(InvalidInput, match="--behind-proxy"):
        serve("memory://", host=host)
    check_address(host, tls=True, behind_proxy=False)
    check_address(host, tls=False, behind_proxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_may_be_listened_on(host: str) -> None:
    check_address(host, tls=False, behind_proxy=False)


def test_a_trusted_proxy_is_a_network() -> None:
    assert [str(network) for network in proxies_of(["10.0.0.0/8", "::1"])] == ["10.0.0.0/8", "::1/128"]
    as_ipv6 = ["::ffff:10.0.0.0/104", "::ffff:192.0.2.7", "2001:db8::/32"]
    assert [str(network) for network in proxies_of(as_ipv6)] == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    for trusted in (as_ipv6, ["::/0"]):  # every address, also of a socket for both kinds
        assert source_of("::ffff:10.0.0.1", "192.0.2.7", proxies_of(trusted)) == "192.0.2.7"
    assert source_of("10.0.0.1", "192.0.2.7", proxies_of(["2001:db8::/32"])) == "10.0.0.1"
    with pytest.raises(InvalidInput, match="network"):
        proxies_of(["proxy.example"])


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="port"):
        serve("memory://", port=65_536)


def test_a_tls_key_needs_its_certificate() -> None:
    with pytest.raises(InvalidInput, match="certificate"):
        serve("memory://", tls_key="key.pem")


def test_tls_files_that_cannot_be_read_are_not_said_to_hold_something_else(tmp_path: Path) -> None:
    """As those of a user with more rights, whose folder is closed, and at a reload those that are not there yet."""
    with pytest.raises(InvalidInput, match=r"cannot be used: .*File name too long"):
        serve("memory://", tls_certificate="c" * 300)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for key, said in ((None, "the file .* cannot be read"), (tmp_path / "k.pem", "one of the files .* cannot be read")):
        with pytest.raises(OSError, match=f"{said}: No such file"):
            load_tls(context, tmp_path / "c.pem", key)


def test_hosts_that_may_be_named() -> None:
    check_hosts(
        ["tokens.example", "127.0.0.1", "[::1]", "localhost"], ["app.internal", "10.0.0.1:80", "[::1]:8443", "::1"]
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("own", None, "a chain of certificates and its key"),
        ("nonsense", "own", "a chain of certificates and its key"),
        ("own", "another", "is not that of the certificate"),
        ("own", "locked", "under a passphrase"),
        ("both", None, "under a passphrase"),
    ],
)
def test_tls_files_that_are_no_good_are_bad_input_and_nobody_is_asked(
    tmp_path: Path, certificate: str, key: str | None, said: str
) -> None:
    """A service manager would start what ends otherwise again and again, and a reload would wait for who types."""
    own, another = (Authority(tmp_path, name).issue("localhost") for name in ("first", "second"))
    locked, both, nonsense = tmp_path / "locked", tmp_path / "both", tmp_path / "nonsense"
    private = serialization.load_pem_private_key(own.key.read_bytes(), None)
    form = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))
    both.write_bytes(own.certificate.read_bytes() + locked.read_bytes())
    nonsense.write_text("no PEM")
    certificates = {"own": own.certificate, "both": both, "nonsense": nonsense}
    keys = {"own": own.key, "another": another.key, "locked": locked}
    named = ["--tls-certificate", str(certificates[certificate])]
    named += [] if key is None else ["--tls-key", str(keys[key])]
    done = subprocess.run(
        [sys.executable, "-m", "session_tokens.cli.main", "serve", "--store", "memory://", "--port", "0", *named],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert said in done.stderr and "Enter" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("session_cookie", "a;b"),
        ("owner_header", "Set-Cookie"),
        ("login_url", "log-in"),
        ("session_cookie", ""),
        ("session_cookie", "sitzung\xe9"),
        ("public_url", "tokens.example"),
        ("public_url", "https://tokens.example/"),
        ("tls_certificate", "/nowhere/certificate.pem"),
        ("allowed_hosts", ["https://tokens.example"]),
        ("allowed_hosts", ["tokens.example:8443"]),
        ("allowed_hosts", ["::1"]),
        ("allowed_hosts", [""]),
        ("webhook_allow", ["https://app.internal"]),
        ("webhook_allow", ["app.internal/hooks"]),
        ("webhook_allow", [""]),
    ],
)
def test_options_that_can_never_be_right_are_refused(option: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        serve("memory://", **{option: value})  # type: ignore[arg-type]


@pytest.mark.server
def test_hosts_and_the_public_url_are_told_at_the_command_line(tmp_path: Path) -> None:
    arguments = ["--allowed-host", "tokens.example", "--public-url", "https://tokens.example", "--login-url", "/log-in"]
    program = [sys.executable, "-m", "session_tokens.cli.main", "serve", "--port", "0", *arguments]
    started = subprocess.Popen(
        [*program, "--store", f"sqlite:///{tmp_path}/tokens.db"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    assert started.stdout is not None
    url = started.stdout.readline().split()[-1]
    address = "/.well-known/oauth-authorization-server"
    wrong = httpx.get(url + address)
    right = httpx.get(url + address, headers={"Host": "tokens.example"})
    sent = httpx.get(url + "/forward-auth", headers={"Host": "tokens.example", "Accept": "text/html"})
    started.terminate()
    started.communicate(timeout=20)

    assert (wrong.status_code, wrong.json()["code"]) == (421, "wrong_host")
    assert right.json()["issuer"] == "https://tokens.example"
    assert (sent.status_code, sent.headers["location"]) == (303, "/log-in")


@pytest.mark.server
def test_the_main_job_runs_across_a_restart(tmp_path: Path) -> None:
    """Open, issue, introspect, transfer; stop and start; end the session and see what becomes of both tokens."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    first = RunningService(store, tmp_path / "log1")
    with first.http() as http:
        opened = http.post("/v1/sessions", json={"owner": "alice"}).json()
        id = opened["session"]["id"]
        bound = http.post("/v1/tokens", json={"session": id, "value": "b"}).json()
        ticket = http.post("/v1/tokens", json={"session": id, "value": "t", "transferable": True}).json()
        other = http.post("/v1/tokens", json={"session": id, "value": "o", "transferable": True}).json()
        moved = http.post(
            f"/v1/tokens/{ticket['token']['id']}/transfer", json={"giver": "alice", "receiver": "bob"}
        ).json()
    code = first.stop()
    second = RunningService(store, tmp_path / "log2", first.secret)
    with second.http() as http:

        def introspect(secret: str) -> dict[str, object]:
            answer: dict[str, object] = http.post("/introspect", data={"token": secret}).json()
            return answer

        after_restart = [introspect(thing["secret"])["active"] for thing in (opened, bound, ticket, moved, other)]
        http.delete(f"/v1/sessions/{id}")
        after_end = [introspect(thing["secret"])["active"] for thing in (opened, bound, ticket, moved, other)]
        waiting = http.get("/v1/tokens", params={"unassigned": "true"}).json()["tokens"]
    second.stop()

    assert code == 0
    assert any("first admin key" in line for line in first.announced)
    assert not any("stk_" in line for line in second.announced)
    assert after_restart == [True, True, False, True, True]
    assert after_end == [False, False, False, True, False]
    assert [token["id"] for token in waiting] == [other["token"]["id"]]


@pytest.mark.server
def test_a_service_that_could_not_listen_made_no_first_key(tmp_path: Path) -> None:
    """Its secret would have been shown to nobody, and the next start would make none."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="is in use"):
        serve(store, port=taken.getsockname()[1])
    service = RunningService(store, tmp_path / "log")
    service.stop()

    assert service.secret.startswith("stk_")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.server
def test_a_request_under_way_is_finished_before_the_service_stops(tmp_path: Path, how: signal.Signals) -> None:
    """The command waits for a lock that this test holds; only then is the service told to stop."""
    service = RunningService(f"sqlite:///{tmp_path}/tokens.db?busy_timeout=20", tmp_path / "log")
    blocker = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    body = b'{"owner":"alice"}'
    head = (
        f"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {service.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        # A second connection that is answered shows that the first was read: both are served by one loop, in order.
        with service.http() as http:
            assert http.get("/livez").status_code == 200
        service.process.send_signal(how)
        while is_listening(service.port):
            pass
        blocker.execute("ROLLBACK")
        answer = received(connection)
    blocker.close()

    assert status_of(answer) == 201
    assert service.process.wait(timeout=20) == 0
    service.stop()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.server
def test_the_store_is_closed_after_a_stop(tmp_path: Path) -> None:
    """SQLite's journal is folded into the file by the last connection that closes."""
    service = RunningService(f"sqlite:///{tmp_path}/tokens.db", tmp_path / "log")
    service.stop()

    assert not (tmp_path / "tokens.db-wal").exists()


@pytest.mark.server
def test_tls_is_spoken_where_a_certificate_is_given(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "tls.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    service = RunningService("memory://", tmp_path / "log", tls_certificate=str(pem))
    context = ssl.create_default_context(cafile=str(pem))
    with httpx.Client(verify=context, base_url=f"https://localhost:{service.port}") as http:
        alive = http.get("/livez")
        described = http.get("/.well-known/oauth-authorization-server").json()
    old = ssl.create_default_context(cafile=str(pem))
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=old, base_url=f"https://localhost:{service.port}") as http:
        with_1_2 = http.get("/livez")
    in_the_clear = service.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    service.stop()

    assert (alive.status_code, with_1_2.status_code) == (200, 200)
    assert described["issuer"] == f"https://localhost:{service.port}"
    assert b"alive" not in in_the_clear


@pytest.mark.server
def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in (["--port", str(port)], ["--port", "0", "--console-port", str(port)]):
            run = subprocess.run(
                [sys.executable, "-m", "session_tokens.cli.main", "serve", "--store", "sqlite:///s.db", *options],
                cwd=tmp_path, capture_output=True, text=True, timeout=60,
            )  # fmt: skip

            assert run.returncode == 3
            (said,) = [line for line in run.stderr.splitlines() if line.startswith("session-tokens: port")]
            assert f"port {port} of 127.0.0.1 is in use" in said and f"{options[-2]} (0: a free one)" in said
            assert "Traceback" not in run.stderr and "stk_" not in run.stdout + run.stderr


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1 is no address of this machine"):
        serve("memory://", host="192.0.2.1", behind_proxy=True, port=0)


@pytest.mark.parametrize("host", ["db..internal", "a" * 64, f"{'a' * 64}.example"])
def test_a_name_that_can_be_none_is_told_as_that(host: str) -> None:
    with pytest.raises(OSError, match=f"the host {host} is no address of this machine and no name of one"):
        serve("memory://", host=host, behind_proxy=True, port=0)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost", "LocalHost", "127.0.0.2"])
def test_this_machine_alone_is_known_however_it_is_written(host: str) -> None:
    from session_tokens.service.binding import bound_sockets

    check_address(host, tls=False, behind_proxy=False)
    for one in bound_sockets(host, 0, "--port"):
        assert one.getsockname()[0] in ("::1", "127.0.0.1", "127.0.0.2")
        one.close()


@pytest.mark.parametrize("host", ["", "::", "[::]", "0.0.0.0", "::ffff:192.0.2.1", "192.0.2.1", "localhost.example"])
def test_what_others_may_reach_needs_tls_or_a_proxy(host: str) -> None:
    with pytest.raises(InvalidInput, match="may be reached from other machines"):
        check_address(host, tls=False, behind_proxy=False)


def test_localhost_is_one_port_on_each_of_its_addresses() -> None:
    from session_tokens.service.binding import bound_sockets

    made = bound_sockets("localhost", 0, "--port")
    try:
        assert len({one.getsockname()[1] for one in made}) == 1
    finally:
        for one in made:
            one.close()


async def test_a_browser_at_the_front_door_finds_where_to_go(world: World) -> None:
    page = await world.ask("GET", "/")

    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert "session-tokens" in page.text and len(page.content) < 2_000
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in re.findall(r'href="([^"]+)"', page.text):
        assert (await world.ask("GET", path)).status_code == 200, path
    assert 'href="/docs"' in page.text and "/console" not in page.text
    assert (await world.ask("POST", "/")).status_code == 405


@pytest.mark.server
def test_where_the_console_is_on_the_same_listener_the_front_door_leads_there(tmp_path: Path) -> None:
    running = RunningService("memory://", tmp_path / "log")
    try:
        page = httpx.get(running.url + "/", headers={"Accept": "text/html"})
        assert 'href="/console"' in page.text
        assert httpx.get(running.url + "/console", follow_redirects=True).status_code == 200
    finally:
        running.stop()
