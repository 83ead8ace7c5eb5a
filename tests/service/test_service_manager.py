"""What a service manager hands over and is told: with real sockets and files, in a process of its own."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.service.checks import check_address
from session_tokens.service.serve import serve
from session_tokens.service.service_manager import ServiceManager, Sockets, sockets_given
from session_tokens.service.unix_listener import UnixListener
from tests.helpers.managed_service import Managed
from tests.helpers.running_service import ROOT, received, request, status_of, told_in
from tests.helpers.servers.certificates import Authority
from tools.system_packages import SEARCH_PATH

pytestmark = pytest.mark.server

# A process is handed its sockets as the files from 3 on, and told its own number: so it is set in the child.


Start = Callable[..., Managed]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def begin(*arguments: str, **options: object) -> Managed:
        managed = Managed(tmp_path / "log", *arguments, **options)  # type: ignore[arg-type]
        started.append(managed)
        return managed

    yield begin
    for managed in started:
        managed.stop()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Yield the manager's socket and what ``NOTIFY_SOCKET`` names it."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"@session-tokens-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name.replace("@", "\0"))
        heard.settimeout(15)
        yield heard, name


def ask_unix(path: str, target: str = "/livez") -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        connection.sendall(request("GET", target))
        return received(connection)


# --- being told -----------------------------------------------------------------------------------------------------


def test_the_manager_is_told_of_readiness_life_and_stopping(start: Start, manager: tuple[socket.socket, str]) -> None:
    heard, name = manager
    managed = start(
        "--store", "memory://", "--port", "0", environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
    )
    ready = heard.recv(4_096).decode()
    url = re.search(r"http://\S+", managed.lines[0])
    alive = [heard.recv(4_096) for _ in range(3)]
    managed.process.terminate()
    rest: list[bytes] = []
    while not rest or not rest[-1].startswith(b"STOPPING"):
        rest.append(heard.recv(4_096))

    assert url is not None
    assert ready == f"READY=1\nSTATUS=serving on {url[0]}"
    assert alive == [b"WATCHDOG=1"] * 3
    assert set(rest[:-1]) <= {b"WATCHDOG=1"}
    assert rest[-1].startswith(b"STOPPING=1\n")
    assert managed.stop() == 0


def test_ready_is_said_when_requests_are_answered_and_the_first_key_is_there(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"{tmp_path}/notify")
        heard.settimeout(15)
        managed = start(
            "--store", f"sqlite:///{tmp_path}/tokens.db", "--host", f"unix:{tmp_path}/http",
            environment={"NOTIFY_SOCKET": f"{tmp_path}/notify"},
        )  # fmt: skip
        heard.recv(4_096)

        assert status_of(ask_unix(f"{tmp_path}/http")) == 200
        assert managed.secret


def test_a_watchdog_that_is_for_another_process_is_none_of_ours() -> None:
    told = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "2000000"}

    assert ServiceManager(told).alive_every_s == 1.0
    assert ServiceManager({**told, "WATCHDOG_PID": str(os.getpid())}).alive_every_s == 1.0
    assert ServiceManager({**told, "WATCHDOG_PID": "1"}).alive_every_s is None
    assert ServiceManager({**told, "WATCHDOG_USEC": "0"}).alive_every_s is None
    assert ServiceManager({"WATCHDOG_USEC": "2000000"}).alive_every_s is None


def test_a_manager_that_is_not_there_stops_nothing(start: Start, tmp_path: Path) -> None:
    managed = start("--store", "memory://", "--port", "0", environment={"NOTIFY_SOCKET": f"{tmp_path}/nobody"})

    assert managed.secret
    assert managed.stop() == 0
    assert told_in(managed.log_path).count("could not be notified") == 1


# --- the journal ----------------------------------------------------------------------------------------------------


def printed(arguments: Sequence[str], *, journal: bool) -> str:
    """Start a service whose standard output is a stream socket, the journal's or another; return what it prints."""
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    stream = f"{status.st_dev}:{status.st_ino}" if journal else f"{status.st_dev}:{status.st_ino + 1}"
    words = [sys.executable, "-m", "session_tokens.cli.main", "serve", "--port", "0", *arguments]
    with ours, theirs:
        ours.settimeout(30)
        environment = {**os.environ, "JOURNAL_STREAM": stream}
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs.fileno(), env=environment)
        theirs.close()
        try:
            text = b""
            while b"Ctrl-C" not in text and (part := ours.recv(4_096)):
                text += part
        finally:
            process.terminate()
            process.wait(timeout=20)
    return text.decode()


def test_no_key_goes_to_the_journal_and_a_later_start_elsewhere_makes_the_first_one(tmp_path: Path) -> None:
    store = ["--store", f"sqlite:///{tmp_path}/tokens.db"]
    kept, refused = printed(store, journal=True), printed([*store, "--no-first-key"], journal=False)
    shown, later = printed(store, journal=False), printed(store, journal=True)

    assert "stk_" not in kept + refused + later
    assert [True, True, False] == [
        "session-tokens keys create --role admin" in words for words in (kept, refused, later)
    ]
    assert 1 == shown.count("first admin key, shown this once: stk_")


# --- sockets that are handed over -----------------------------------------------------------------------------------


def test_sockets_that_are_handed_over_take_the_place_of_host_and_port(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{tmp_path}/http")
        unix.listen()
        managed = start(sockets=[tcp, unix])
        url = f"http://127.0.0.1:{tcp.getsockname()[1]}"

        assert managed.lines[0] == f"session-tokens serves on {url} and unix:{tmp_path}/http\n"
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/console").status_code == 200
        assert status_of(ask_unix(f"{tmp_path}/http")) == 200
        assert managed.stop() == 0
        assert Path(tmp_path, "http").exists()  # it is the manager's to remove


@pytest.mark.needs_systemd
@pytest.mark.parametrize("name", ["console", "http"])
def test_systemds_own_activator_hands_its_sockets_over(tmp_path: Path, name: str) -> None:
    """The part of systemd that runs without being the first process; it starts the service at the first connection."""
    program = shutil.which("systemd-socket-activate", path=SEARCH_PATH)
    assert program is not None
    unix, console = f"{tmp_path}/http", f"{tmp_path}/second"
    words = [
        program,
        "-l",
        unix,
        "-l",
        console,
        f"--fdname=http:{name}",
        sys.executable,
        "-m",
        "session_tokens.cli.main",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "serve", "--store", "memory://"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        while not os.path.exists(console):
            assert process.poll() is None, (tmp_path / "log").read_text()
        answers = [status_of(ask_unix(path, page)) for path in (unix, console) for page in ("/console", "/docs")]
    finally:
        process.terminate()
        code = process.wait(timeout=20)

    assert answers == ([404, 200, 200, 404] if name == "console" else [200, 200, 200, 200])
    assert code == 0


def test_nobody_is_refused_while_a_service_with_a_socket_of_its_manager_restarts(start: Start, tmp_path: Path) -> None:
    """What comes between two processes waits in the socket."""
    store = ["--store", f"sqlite:///{tmp_path}/tokens.db"]
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        start(*store, sockets=[tcp]).stop()
        with socket.create_connection(tcp.getsockname(), timeout=15) as waiting:
            waiting.sendall(request("GET", "/livez"))
            start(*store, sockets=[tcp])

            assert status_of(received(waiting)) == 200


def test_a_socket_named_console_is_the_consoles(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.create_server(("127.0.0.1", 0)) as console:
        managed = start(sockets=[console, tcp], environment={"LISTEN_FDNAMES": "console:http"})
        service_url, console_url = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (tcp, console))

        assert managed.lines[:2] == [
            f"session-tokens serves on {service_url}\n",
            f"its console on {console_url}/console\n",
        ]
        assert httpx.get(f"{console_url}/console").status_code == 200
        assert httpx.get(f"{service_url}/console").status_code == 404


def test_a_socket_that_others_reach_needs_tls_or_a_proxy_too(start: Start) -> None:
    with socket.create_server(("0.0.0.0", 0)) as tcp:
        managed = start(sockets=[tcp])

        assert managed.stop() == 2
        assert "--behind-proxy" in managed.log_path.read_text()
        assert start("--store", "memory://", "--behind-proxy", sockets=[tcp]).secret


@pytest.mark.parametrize("kind", ["datagrams", "not listening"])
def test_what_is_no_listening_socket_is_told(start: Start, kind: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM) as handed:
        handed.bind(("127.0.0.1", 0))
        managed = start(sockets=[handed])

        assert managed.stop() == 2
        assert "ListenStream=" in managed.log_path.read_text()


def test_sockets_of_another_process_are_left_alone(start: Start) -> None:
    """Variables that were inherited by chance name files that are something else here."""
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "3"}
    managed = start("--store", "memory://", "--port", "0", environment=environment)

    assert managed.secret


@pytest.mark.parametrize("count", ["abc", "-1", "1.0", "\u0663", " 1"])
def test_a_number_of_sockets_that_is_none_is_told(count: str) -> None:
    """To be without them would be to listen elsewhere than everybody asks."""
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}

    with pytest.raises(InvalidInput, match="LISTEN_FDS"):
        sockets_given(environment)


@pytest.mark.parametrize("environment", [{}, {"LISTEN_FDS": "0"}])
def test_no_sockets_are_none(environment: dict[str, str]) -> None:
    assert Sockets([], None) == sockets_given({"LISTEN_PID": str(os.getpid()), **environment})


@pytest.mark.parametrize("allowed", ["abc", "-1", "\u0663"])
def test_a_watchdog_whose_patience_is_no_number_is_told(allowed: str) -> None:
    with pytest.raises(InvalidInput, match="WATCHDOG_USEC"):
        ServiceManager({"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": allowed})


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
def test_a_service_with_such_a_watchdog_does_not_start(start: Start, tmp_path: Path, workers: list[str]) -> None:
    environment = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "soon"}
    managed = start("--store", f"sqlite:///{tmp_path}/s.db", "--port", "0", *workers, environment=environment)

    assert managed.stop() == 2
    assert "WATCHDOG_USEC is a number" in managed.log_path.read_text()


# --- a Unix socket of its own ---------------------------------------------------------------------------------------


def test_a_unix_socket_is_served_and_removed_again(start: Start, tmp_path: Path) -> None:
    path = f"{tmp_path}/http"
    managed = start("--store", "memory://", "--host", f"unix:{path}")
    transport = httpx.HTTPTransport(uds=path)
    with httpx.Client(transport=transport, headers={"Authorization": f"Bearer {managed.secret}"}) as http:
        opened = http.post("http://tokens/v1/sessions", json={"owner": "alice"}).json()
        guarded = http.get("http://tokens/forward-auth", headers={"Authorization": f"Bearer {opened['secret']}"})
        console = http.get("http://tokens/console")

    assert managed.lines[0] == f"session-tokens serves on unix:{path}\n"
    assert (guarded.status_code, guarded.headers["x-session-owner"]) == (204, "alice")
    assert console.status_code == 200
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    assert managed.stop() == 0
    assert not os.path.exists(path)


def test_a_socket_that_a_killed_service_left_is_replaced_and_a_living_one_is_not(start: Start, tmp_path: Path) -> None:
    arguments = ("--store", "memory://", "--host", f"unix:{tmp_path}/http")
    start(*arguments).stop(signal.SIGKILL)
    left_behind = os.path.exists(f"{tmp_path}/http")
    second = start(*arguments)
    third = start(*arguments)

    assert left_behind
    assert third.stop() == 2
    assert "another process listens" in third.log_path.read_text()
    assert status_of(ask_unix(f"{tmp_path}/http")) == 200
    assert second.stop() == 0


def test_a_service_that_is_too_busy_to_be_reached_keeps_its_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
        busy.bind(f"{tmp_path}/http")
        busy.listen(0)
        answer = 0
        while answer == 0:
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            answer = one.connect_ex(f"{tmp_path}/http")
        assert answer == errno.EAGAIN
        with pytest.raises(InvalidInput, match="another process listens"):
            UnixListener(tmp_path / "http")

    assert (tmp_path / "http").exists()


@pytest.mark.parametrize("place", ["file", "link", "nowhere/http", "x" * 120])
def test_a_place_where_no_socket_can_be_is_told_and_left_as_it_is(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(InvalidInput, match=r"socket"):
        serve("memory://", host=f"unix:{tmp_path}/{place}")

    assert (tmp_path / "file").read_text() == "precious"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("host", ["unix:", "unix:http.sock", "unix:/run/x/", "unix:/run/\0x"])
def test_a_unix_socket_is_named_by_its_whole_path(host: str) -> None:
    with pytest.raises(InvalidInput, match="whole path"):
        check_address(host, tls=False, behind_proxy=False)
    with pytest.raises(InvalidInput, match="an address and a port"):
        serve("memory://", console_host="unix:/run/console", console_port=0)


def test_behind_a_proxy_on_a_unix_socket_its_word_about_the_client_is_taken(start: Start, tmp_path: Path) -> None:
    managed = start("--store", "memory://", "--behind-proxy", "--host", f"unix:{tmp_path}/http")
    transport = httpx.HTTPTransport(uds=f"{tmp_path}/http")
    with httpx.Client(transport=transport) as http:
        bearer = {"Authorization": f"Bearer {managed.secret}"}
        key = {"role": "verify", "networks": ["192.0.2.0/24"]}
        made = http.post("http://tokens/v1/keys", json=key, headers=bearer).json()
        bound = {"Authorization": f"Bearer {made['secret']}"}
        answers = [
            http.post("http://tokens/introspect", data={"token": "x"}, headers={**bound, **forwarded}).status_code
            for forwarded in ({"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.1"}, {})
        ]

    assert answers == [200, 403, 403]


# --- hanging up -----------------------------------------------------------------------------------------------------


def test_a_hang_up_ends_nothing_and_is_told_to_the_manager(start: Start, manager: tuple[socket.socket, str]) -> None:
    heard, name = manager
    managed = start("--store", "memory://", "--port", "0", environment={"NOTIFY_SOCKET": name})
    ready = heard.recv(4_096)
    managed.process.send_signal(signal.SIGHUP)
    reloading, again = heard.recv(4_096), heard.recv(4_096)
    url = managed.lines[0].split()[-1]

    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[0-9]+", reloading)
    assert again == ready
    assert httpx.get(f"{url}/livez").status_code == 200
    assert managed.stop() == 0


def test_a_hang_up_has_the_certificate_read_again_and_a_broken_one_is_not_taken(start: Start, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def install(authority: Authority) -> None:
        made = authority.issue("localhost")
        certificate.write_bytes(made.certificate.read_bytes())
        key.write_bytes(made.key.read_bytes())

    def trusted_by() -> list[str]:
        found = []
        for name, authority in (("old", old), ("new", new)):
            context = ssl.create_default_context(cafile=str(authority.certificate))
            try:
                httpx.get(f"{url}/livez", verify=context)
                found.append(name)
            except httpx.ConnectError:
                pass
        return found

    install(old)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"{tmp_path}/notify")
        heard.settimeout(15)
        managed = start(
            "--store", "memory://", "--port", "0", "--tls-certificate", str(certificate), "--tls-key", str(key),
            environment={"NOTIFY_SOCKET": f"{tmp_path}/notify"},
        )  # fmt: skip
        url = managed.lines[0].split()[-1].replace("127.0.0.1", "localhost")
        heard.recv(4_096)

        def hang_up() -> None:
            managed.process.send_signal(signal.SIGHUP)
            assert [heard.recv(4_096)[:9], heard.recv(4_096)[:5]] == [b"RELOADING", b"READY"]

        before = trusted_by()
        install(new)
        hang_up()
        after = trusted_by()
        certificate.write_bytes(old.certificate.read_bytes())  # does not fit the key
        hang_up()
        broken = trusted_by()

    assert (before, after, broken) == (["old"], ["new"], ["new"])
    assert "the earlier ones stay" in told_in(managed.log_path)


def test_at_a_terminal_a_hang_up_closes_the_service_and_its_store(tmp_path: Path) -> None:
    """The terminal went away: whoever started it there is gone."""
    main, terminal = os.openpty()
    program = [sys.executable, "-m", "session_tokens.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*program, "--store", f"sqlite:///{tmp_path}/tokens.db"], cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    os.close(terminal)
    assert process.stdout is not None
    while "Ctrl-C" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGHUP)
    code = process.wait(timeout=20)
    process.stdout.close()
    os.close(main)

    assert code == 0
    assert not (tmp_path / "tokens.db-wal").exists()
