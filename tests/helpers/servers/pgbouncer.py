"""A real PgBouncer for tests: pools by transaction in front of a real PostgreSQL, on a free port, ended with its test.

A test gets it by the fixture ``bouncer`` (one before this run's PostgreSQL) and carries the marker
``needs_pgbouncer``. Its pool is small, so that every client's statements are spread over connections that other
clients use too: whoever relies on the server's session is found out. It refuses to run as root; started by root, it
runs as the user ``postgres``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.helpers.servers.ports import free_port
from tests.helpers.servers.postgres import command_prefix, text_of

START_TIMEOUT_S = 60
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 400
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pidfile = {folder}/pid
"""


class Bouncer:
    """One PgBouncer in front of one server.

    Args:
        server_port: of PostgreSQL, on 127.0.0.1.
        folder: for its configuration; it must be able to read it.
        pool_size: connections to the server for each database and role.
    """

    def __init__(self, server_port: int, folder: Path, pool_size: int = 3) -> None:
        program = shutil.which("pgbouncer", path=SEARCH_PATH)
        if program is None:
            raise RuntimeError("PgBouncer is missing: apt-get install pgbouncer")
        self.folder = folder
        self.port = free_port()
        self._program = program
        self._as_user = command_prefix()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o755)
        if self._as_user:
            shutil.chown(folder, self._as_user[2])
        (folder / "users").write_text('"postgres" ""\n')
        self._pool_size = pool_size
        self._configure(server_port)

    def _configure(self, server_port: int) -> None:
        words = {
            "server_port": server_port, "port": self.port, "folder": self.folder, "pool_size": self._pool_size,
        }  # fmt: skip
        (self.folder / "ini").write_text(CONFIG.format(**words))

    def lead_to(self, server_port: int) -> None:
        """Lead all databases to another server; the clients' connections stay."""
        self._configure(server_port)
        self.ask("RELOAD")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, self._program, "-q", str(self.folder / "ini")],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ask("SHOW VERSION")
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PgBouncer did not start: {text_of(self.folder / 'log')}") from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it: ``SIGKILL`` cuts all connections in the middle of what they carry."""
        if self._process is None:
            return
        os.kill(int(text_of(self.folder / "pid") or self._process.pid), how)
        self._process.wait(START_TIMEOUT_S)
        self._process = None
        (self.folder / "pid").unlink(missing_ok=True)

    def url(self, server_url: str) -> str:
        """Return the URL that goes through it, for one that goes to the server itself."""
        before, _, database = server_url.rpartition("/")
        user = before.partition("://")[2].partition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def admit(self, role: str) -> None:
        """Let a role of the server come through."""
        with (self.folder / "users").open("a") as users:
            users.write(f'"{role}" ""\n')
        self.ask("RELOAD")

    def ask(self, command: str) -> list[tuple[object, ...]]:
        """Give a command to its console."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/pgbouncer"
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as console:
            cursor = psycopg.ClientCursor(console)
            cursor.execute(command.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running_bouncer(server_port: int, pool_size: int = 3) -> Iterator[Bouncer]:
    """Run one; nothing of it is left afterwards."""
    above = Path(tempfile.mkdtemp(prefix="st-pgb-"))
    above.chmod(0o755)
    bouncer = Bouncer(server_port, above / "bouncer", pool_size)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.stop()
        shutil.rmtree(above, ignore_errors=True)
