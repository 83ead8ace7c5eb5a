"""Traces which files one call passes through, and how often it goes from one file to another.

Usage: ``python -m tools.trace_way``; starts a Valkey and a PostgreSQL of its own, on this machine.
A change of file is a call that leads from a function in one file of the package to a function in another; imports,
generated code and the standard library do not count. Of several calls the shortest is told, for into others falls what
is renewed now and then: a key's last use, a glance at the settings. The figures are kept in ``docs/decisions/``: a
shorter way is easier to follow, so a change that lengthens it much should say why.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

import session_tokens
from session_tokens import AsyncSessionTokens
from session_tokens.service.app import Service
from session_tokens.service_keys.keys import create_key
from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

PACKAGE = str(Path(session_tokens.__file__).parent) + "/"
PEPPER = bytes(range(32))
TRACED = 20
"""Calls, of which the shortest is told."""


class Way:
    """The files that a call enters, in order, and how often it goes from one to another."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.changes = 0
        self._last = ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note where a function begins; given to ``sys.setprofile``."""
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(PACKAGE):
            return
        name = name.removeprefix(PACKAGE)
        if name != self._last:
            self.changes += 1
            self.files[name] = self.files.get(name, 0) + 1
            self._last = name


async def traced(call: Callable[[], Awaitable[object]]) -> Way:
    """Make a call often enough that all is loaded and remembered, then trace some; return the shortest way."""
    for _ in range(3):
        await call()
    ways = []
    for _ in range(TRACED):
        ways.append(Way())
        sys.setprofile(ways[-1])
        try:
            await call()
        finally:
            sys.setprofile(None)
    return min(ways, key=lambda way: (len(way.files), way.changes))


async def introspection(url: str) -> Way:
    """Trace one introspection of a token, from the request to the answer."""
    async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        service = Service(tokens)
        key = await create_key(tokens.store, "verify")
        opened = await tokens.open_session("alice")
        token = await tokens.issue_token(opened.id, "seat")
        headers = [
            (b"authorization", f"Bearer {key.secret}".encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/introspect",
            "raw_path": b"/introspect", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "",
        }  # fmt: skip
        answers: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": f"token={token.secret}".encode(), "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            answers.append(message)

        way = await traced(lambda: service(dict(scope), receive, send))
        assert b'"active":true' in b"".join(message.get("body", b"") for message in answers).replace(b" ", b"")
        return way


async def transfer(url: str) -> Way:
    """Trace one transfer of a token between two owners who are logged in."""
    async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        opened = await tokens.open_session("alice")
        await tokens.open_session("bob")
        token = await tokens.issue_token(opened.id, "seat", transferable=True)
        owners = ["alice", "bob"]

        async def hand_over() -> None:
            giver, receiver = owners
            owners.reverse()
            await tokens.transfer_token(token.id, giver=giver, receiver=receiver)

        return await traced(hand_over)


def main() -> int:
    """Print both ways; with ``--files``, each file and how often it is entered."""
    valkey = ValkeyServer()
    valkey.start()
    try:
        ways = {"an introspection on Valkey": asyncio.run(introspection(valkey.url))}
    finally:
        valkey.kill()
    with running_server() as server:
        ways["a transfer on PostgreSQL"] = asyncio.run(transfer(server.url()))
    for name, way in ways.items():
        print(f"{name}: {len(way.files)} files, {way.changes} changes of file")
        if "--files" in sys.argv[1:]:
            for file, times in sorted(way.files.items(), key=lambda item: -item[1]):
                print(f"  {times:4} {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
