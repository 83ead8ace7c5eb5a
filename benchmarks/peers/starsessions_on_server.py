"""Measure starsessions on a Redis-compatible server, driven like every other side.

A session holds what a log-in leaves there at the least. What is called is what its middleware calls for a request:
the handler's `load`, and `save` where the session was changed.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starsessions.serializers import JsonSerializer
from starsessions.session import SessionHandler
from starsessions.stores.redis import RedisStore

from benchmarks.sides.many_tasks import Loop
from benchmarks.sides.names import owner_name, picks
from benchmarks.sides.serving import serve

LIFETIME_S = 24 * 60 * 60


class Measured:
    """The sessions of one side."""

    def __init__(self, url: str) -> None:
        self.loop = Loop()
        self.store = RedisStore(connection=Redis.from_url(url.replace("valkey:", "redis:")))
        self.serializer = JsonSerializer()
        self.keys: list[str] = []

    def handler(self, key: str | None) -> SessionHandler:
        connection = HTTPConnection({"type": "http", "headers": []})
        return SessionHandler(connection, key, self.store, self.serializer, LIFETIME_S)

    def prepare(self, sessions: int) -> dict[str, Any]:
        async def prepare() -> None:
            for number in range(sessions):
                handler = self.handler(None)
                await handler.load()
                handler.connection.session.update(user_id=owner_name(number), visits=0)
                self.keys.append(await handler.save(LIFETIME_S))

        self.loop.run(prepare())
        return {"sessions": sessions}

    def time_operation(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        return self.loop.time_calls(getattr(self, f"_{operation}"), picks(count, len(self.keys)), tasks)

    async def _load(self, number: int) -> bool:
        handler = self.handler("".join(self.keys[number]))
        await handler.load()
        return bool(handler.connection.session["user_id"] == owner_name(number))

    async def _load_and_save(self, number: int) -> bool:
        handler = self.handler("".join(self.keys[number]))
        await handler.load()
        handler.connection.session["visits"] += 1
        await handler.save(LIFETIME_S)
        return bool(handler.connection.session["user_id"] == owner_name(number))

    def describe(self) -> dict[str, str]:
        """Tell the versions."""
        return {name: version(name) for name in ("starsessions", "redis")}


if __name__ == "__main__":
    side = Measured(sys.argv[1])
    serve({"prepare": side.prepare, "time_operation": side.time_operation, "describe": side.describe})
