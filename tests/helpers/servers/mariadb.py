"""A real MariaDB for tests: found on this machine, started on a free port, ended when the tests are over.

Started by root, it runs as the user ``mysql``.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymysql

from tests.helpers.servers.ports import free_port
from tests.helpers.waiting import stop_still

START_TIMEOUT_S = 60
MISSING = "MariaDB is missing: apt-get install mariadb-server"


def program(name: str) -> str:
    """Return where one of MariaDB's programs is.

    Raises:
        RuntimeError: it is not there; it names what to install.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if found is None:
        raise RuntimeError(MISSING)
    return found


def _user() -> str | None:
    """Return the user that the server runs as where the tests run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("mysql", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError(MISSING)


@functools.cache
def _empty_data() -> Path:
    """Return a data folder that was just made; making one takes five seconds, copying it none."""
    folder = Path(tempfile.mkdtemp(prefix="st-my-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    done = subprocess.run(
        [
            program("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal",
            "--skip-test-db", f"--datadir={folder}", "--innodb-log-file-size=16M",
            *([] if user is None else [f"--user={user}"]),
        ],
        capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False,
        env={**os.environ, "TMPDIR": str(folder)},  # in /tmp several of them meet
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"mariadb-install-db failed: {done.stderr or done.stdout}")
    return folder


class MariaDBServer:
    """One server with a data folder of its own.

    Args:
        folder: where its data goes; made, and owned by the user that the server runs as.
        words: further settings, as on its command line.
    """

    def __init__(self, folder: Path, words: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self.words = list(words)
        self._user = _user()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        shutil.copytree(_empty_data(), folder / "data")
        if self._user is not None:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self._user)

    def _as_user(self) -> list[str]:
        return [] if self._user is None else [f"--user={self._user}"]

    def url(self, database: str = "mysql", user: str = "root") -> str:
        """Return the URL of one database."""
        return f"mysql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
                "--bind-address=127.0.0.1", f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}",
                "--skip-name-resolve", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
                "--max-connections=150",
                # What is committed survives the server, and not the machine: nothing here ends the machine.
                "--innodb-flush-log-at-trx-commit=2", *self._as_user(), *self.words,
            ],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "TMPDIR": str(self.folder)},
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"MariaDB did not start: {(self.folder / 'log').read_text()}") from None
                time.sleep(0.05)

    def connect(self, database: str | None = None) -> Any:
        """Return a connection of the driver's, to do what it likes."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True, ssl_disabled=True,
            read_timeout=START_TIMEOUT_S,
        )  # fmt: skip

    def execute(self, statement: str, database: str | None = None) -> Sequence[tuple[Any, ...]]:
        """Carry out one statement; answer its rows."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: ``SIGTERM`` shuts it down, ``SIGKILL`` ends it at once, as a power cut would."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def pause(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        assert self._process is not None
        stop_still(self._process.pid)

    def resume(self) -> None:
        """Let a hanging server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def new_database(self) -> str:
        """Make an empty database; answer its URL."""
        name = f"st_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop what ``new_database`` made."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]}")


@contextmanager
def running_server(words: Sequence[str] = ()) -> Iterator[MariaDBServer]:
    """Run a server of its own; nothing of it is left afterwards."""
    above = Path(tempfile.mkdtemp(prefix="st-my-"))  # short, because a socket lies in it
    above.chmod(0o755)
    try:
        server = MariaDBServer(above / "server", words)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)  # nothing of it is kept, and an orderly end takes a second
    finally:
        shutil.rmtree(above, ignore_errors=True)


@functools.cache
def shared_server() -> MariaDBServer:
    """Return the one server of this process's tests, which ends with the process."""
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(running_server())
