"""A service in a process of its own, as users run it; and this file run as that process."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.helpers.effort import one_of

QUIET_S = 0.2
LOOPS = ("asyncio", "uvloop")
ROOT = Path(__file__).resolve().parents[2]


class RunningService:
    """`serve()` in a child process on a free port of 127.0.0.1; `open_files` limits it, softly and hard.

    It runs on asyncio's loop or on uvloop's, one that falls to the test by its name where none is asked for.

    Attributes:
        url: where it is.
        secret: of the first admin key; kept from the first start for later ones on the same store.
        log_path: everything that it wrote to standard error.
    """

    def __init__(
        self, store_url: str, log_path: Path, secret: str = "", loop: object = None, **options: object
    ) -> None:
        self.store_url = store_url
        self.log_path = log_path
        self._log = log_path.open("ab")
        argv = [sys.executable, "-m", "tests.helpers.running_service", store_url, json.dumps(options)]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        loop = loop or one_of(LOOPS, os.environ.get("PYTEST_CURRENT_TEST", ""))
        environment = {**os.environ, "PYTHONPATH": paths, "TESTS_LOOP": str(loop)}
        self.process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.announced = []
        for line in self.process.stdout:
            self.announced.append(line)
            if "Ctrl-C" in line:
                break
        words = "".join(self.announced)
        where = re.search(r"https?://\S+", words)
        if where is None:
            self.stop()
            raise AssertionError(f"the service did not start: {words}{log_path.read_text()}")
        self.url = where[0]
        self.port = int(self.url.rpartition(":")[2])
        found = re.search(r"stk_\w+", words)
        self.secret = found[0] if found else secret

    def http(self, **options: object) -> httpx.Client:
        """Return a client that sends the admin key."""
        headers = {"Authorization": f"Bearer {self.secret}"}
        return httpx.Client(base_url=self.url, headers=headers, **options)  # type: ignore[arg-type]

    def raw(self, data: bytes, *, timeout_s: float = 15.0) -> bytes:
        """Send bytes as they are; answer all that comes back until the service closes or stays silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(data)
            return received(connection)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; answer its exit code. Stopping twice is the same."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()
        return code

    def open_files(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def processor_s(self) -> float:
        """Return how much processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """Return what it wrote to its log so far."""
        return told_in(self.log_path)


def told_in(log: Path) -> str:
    """Return what a service wrote to its log; it writes a moment after what it tells, so this waits for silence."""
    size = -1
    while size != (size := log.stat().st_size):
        time.sleep(QUIET_S)
    return log.read_text(encoding="utf-8")


def received(connection: socket.socket) -> bytes:
    """Return all bytes until the other side closes its half."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    """Return the status of the first answer in what was received; 0 where there is none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def request(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *, close: bool = True
) -> bytes:
    """Return the bytes of a plain request."""
    fields = {"Host": "127.0.0.1", **(headers or {})}
    if body:
        fields.setdefault("Content-Length", str(len(body)))
    if close:
        fields["Connection"] = "close"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


if __name__ == "__main__":
    from session_tokens import Settings
    from session_tokens.service.serve import serve

    if os.environ.get("TESTS_LOOP", "asyncio") == "asyncio":
        sys.modules["uvloop"] = None  # type: ignore[assignment]  # as if it were not installed
    given = json.loads(sys.argv[2])
    if "open_files" in given:
        resource.setrlimit(resource.RLIMIT_NOFILE, given.pop("open_files"))
    if "settings" in given:
        given["settings"] = Settings(**given["settings"])
    serve(sys.argv[1], port=0, **given)
