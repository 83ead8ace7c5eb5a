"""Ask an introspection endpoint over kept-open connections, as fast as it answers; the server is a child of this side.

Arguments: `session-tokens`, `fastapi` or `node`, a folder for its files or the URL of a store on a server, and for
`session-tokens` how many workers serve. The client is a bare asyncio protocol that sends ready-made requests and
compares the answers, so that it costs less than what it measures; where that is still too much, it is wrk.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sides.names import owner_name, picks
from benchmarks.sides.serving import serve

READY_WITHIN_S = 30.0
WRK_REQUESTS = 1_000
"""Different requests that wrk sends, one after another."""
CHECKED = 200
"""Requests whose answers are looked at before wrk sends as many as it can, of which it counts those refused."""


class Filled(NamedTuple):
    """What a server is to serve: a store, the `Authorization` header, and secrets in the order of their owners."""

    where: str
    authorization: str
    secrets: Sequence[str]


class Load:
    """One server and the requests to it."""

    def __init__(self, kind: str, where: str, workers: int = 1) -> None:
        self._kind = kind
        self._where = where
        self._workers = workers
        self._server: subprocess.Popen[str] | None = None
        self._port = 0
        self._requests: list[tuple[bytes, bytes]] = []

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Make the sessions, start the server, and write the requests down."""
        secrets: Sequence[str]
        if self._kind == "node":
            from benchmarks.peers import npm_introspection

            authorization, secrets = "Bearer benchmark", [f"token-{number}" for number in range(sessions)]
            self._start(npm_introspection(sessions))
        elif self._kind == "session-tokens":
            where, authorization, secrets = asyncio.run(fill_store(self._where, sessions))
            server = [sys.executable, "-m", "benchmarks.sides.http_server", self._kind, where]
            if self._workers > 1:
                many = ["serve", "--store", where, "--port", "0", "--workers", str(self._workers)]
                server = [sys.executable, "-m", "session_tokens.cli.main", *many]
            self._start(server)
        else:
            where, authorization, secrets = _fill_fastapi(Path(self._where), sessions)
            self._start([sys.executable, "-m", "benchmarks.sides.http_server", self._kind, where])
        for number, secret in enumerate(secrets):
            owner = f"owner-{number}" if self._kind == "node" else owner_name(number)
            expected = b'"sub":"' + owner.encode() + b'"'
            self._requests.append((request_of(authorization, secret), expected))
        return {"sessions": len(self._requests)}

    def _start(self, argv: Sequence[str]) -> None:
        """Start the server and wait until it says where it is."""
        self._server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self._port = int(found[1])
                break

    def introspect(self, count: int, connections: int) -> dict[str, Any]:
        """Introspect `count` sessions at random; an answer that does not name the owner is not right."""
        return asyncio.run(self._introspect(count, connections))

    async def _introspect(self, count: int, connections: int) -> dict[str, Any]:
        asked = iter([self._requests[number] for number in picks(count, len(self._requests))])
        loop = asyncio.get_running_loop()
        protocols = [
            (await loop.create_connection(lambda: _Asking(asked), "127.0.0.1", self._port))[1]
            for _ in range(connections)
        ]
        cpu, start = self._cpu_seconds(), time.perf_counter()
        for protocol in protocols:
            protocol.ask()
        await asyncio.gather(*(protocol.done for protocol in protocols))
        seconds, cpu_seconds = time.perf_counter() - start, self._cpu_seconds() - cpu
        for protocol in protocols:
            protocol.transport.close()
        right = sum(protocol.right for protocol in protocols)
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "operations": count, "right": right}

    def wrk(self, seconds: int, connections: int) -> dict[str, Any]:
        """Let wrk introspect for so many seconds, by one thread; an answer that is refused is not right."""
        checked = self.introspect(CHECKED, 1)
        if checked["right"] != CHECKED:
            return checked
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "requests.lua"
            step = max(1, len(self._requests) // WRK_REQUESTS)
            asked = (json.dumps(request.decode()) for request, _ in self._requests[::step])
            script.write_text(
                f"local asked, n = {{{', '.join(asked)}}}, 0\n"
                "function request() n = n % #asked + 1; return asked[n] end\n"
            )
            argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
            cpu = self._cpu_seconds()
            said = subprocess.run(
                [*argv, f"http://127.0.0.1:{self._port}/"], capture_output=True, text=True, check=True
            ).stdout
            cpu_seconds = self._cpu_seconds() - cpu
        done = re.search(r"(\d+) requests in ([\d.]+)(m?s),", said)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        assert done is not None, said
        took_s = float(done[2]) / (1000 if done[3] == "ms" else 1)
        count, wrong = int(done[1]), int(refused[1]) if refused else 0
        return {"seconds": took_s, "cpu_seconds": cpu_seconds, "operations": count, "right": count - wrong}

    def _cpu_seconds(self) -> float:
        """Return the processor time of the server and its workers; 0 where the system does not tell (Linux does).

        The ticks of `/proc/…/stat` are 10 ms, as long as a short turn; the scheduler counts nanoseconds.
        """
        assert self._server is not None
        try:
            threads = [thread for process in _tree_of(self._server.pid) for thread in _threads_of(process)]
            return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
        except OSError:
            return 0.0

    def describe(self) -> dict[str, Any]:
        """Name the packages that serve."""
        found = {}
        for name in ("uvicorn", "h11", "httptools", "uvloop", "starlette", "fastapi", "msgspec"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found

    def stop(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=READY_WITHIN_S)
            if self._server.stdout is not None:
                self._server.stdout.close()


class _Asking(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is whole."""

    def __init__(self, asked: Any) -> None:
        self._asked = asked
        self._expected = b""
        self._received = b""
        self.right = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self) -> None:
        request = next(self._asked, None)
        if request is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._expected = request[1]
        self.transport.write(request[0])

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, rest = head.lower().partition(b"content-length: ")
        if len(body) < int(rest.partition(b"\r\n")[0]):
            return
        self._received = b""
        if head.startswith(b"HTTP/1.1 200") and self._expected in body:
            self.right += 1
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _threads_of(process: int) -> list[Path]:
    return list(Path(f"/proc/{process}/task").iterdir())


def _tree_of(process: int) -> list[int]:
    """Return a process and those that it started."""
    started = [int(word) for thread in _threads_of(process) for word in (thread / "children").read_text().split()]
    return [process, *(one for child in started for one in _tree_of(child))]


def request_of(authorization: str, secret: str) -> bytes:
    """Write down the request that introspects a secret."""
    body = f"token={secret}"
    head = (
        f"POST /introspect HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


async def fill_store(where: str, sessions: int) -> Filled:
    """Open sessions through the library, for a service on the same store.

    Args:
        where: the URL of a store, or a folder for a file.
    """
    from session_tokens import AsyncSessionTokens, Settings

    create_key = _keys_module().create_key
    url = f"{where}?timeout=30" if "://" in where else f"sqlite:///{Path(where) / 'tokens.db'}"
    os.environ["SESSION_TOKENS_PEPPER"] = bytes(range(32)).hex()  # a file makes its own where none is given
    settings = Settings(max_age=86_400)
    async with await AsyncSessionTokens.open(url, settings=settings, sweep=False) as tokens:
        key = await create_key(tokens.store, "verify")
        issued = await asyncio.gather(*(tokens.open_session(owner_name(number)) for number in range(sessions)))
    return Filled(url, f"Bearer {key.secret}", [one.secret for one in issued])


def _keys_module() -> Any:
    """Return the module that makes service keys, which stands elsewhere in earlier trees."""
    try:
        return import_module("session_tokens.service_keys.keys")
    except ModuleNotFoundError:
        return import_module("session_tokens.service.keys")


def _fill_fastapi(folder: Path, sessions: int) -> Filled:
    """Fill the peer's tables."""
    from benchmarks.peers.fastapi_introspection import fill

    database = folder / "fastapi.db"
    return Filled(str(database), *fill(database, sessions))


if __name__ == "__main__":
    load = Load(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
    try:
        serve({"prepare": load.prepare, "introspect": load.introspect, "wrk": load.wrk, "describe": load.describe})
    finally:
        load.stop()
