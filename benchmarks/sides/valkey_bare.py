"""Measure a bare GET of the client library that session-tokens uses: what one round trip costs at the least."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import valkey
import valkey.asyncio

from benchmarks.sides.many_tasks import Loop
from benchmarks.sides.names import picks, session_name
from benchmarks.sides.serving import count_right, serve

VALUE = b"v" * 400


class Measured:
    """As many keys as there are sessions, each with a value of about the size of a session."""

    def __init__(self, url: str) -> None:
        self.loop = Loop()
        self.blocking: Any = valkey.Valkey.from_url(url)
        self.client: Any = valkey.asyncio.Valkey.from_url(url)
        self.sessions = 0

    def prepare(self, sessions: int) -> dict[str, Any]:
        for number in range(sessions):
            self.blocking.set(session_name(number), VALUE)
        self.sessions = sessions
        return {"sessions": sessions}

    def time_operation(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        numbers = picks(count, self.sessions)
        if operation == "get_blocking":
            return count_right(self.blocking.get, [(session_name(number),) for number in numbers], [VALUE] * count)
        return self.loop.time_calls(self._get, numbers, tasks)

    async def _get(self, number: int) -> bool:
        return bool(await self.client.get(session_name(number)) == VALUE)

    def describe(self) -> dict[str, str]:
        """Tell the versions."""
        server = self.blocking.info("server")
        kind = "valkey" if "valkey_version" in server else "redis"
        names = ("valkey", "libvalkey")
        return {f"{kind} server": server[f"{kind}_version"]} | {f"{name} client": version(name) for name in names}


if __name__ == "__main__":
    side = Measured(sys.argv[1])
    serve({"prepare": side.prepare, "time_operation": side.time_operation, "describe": side.describe})
