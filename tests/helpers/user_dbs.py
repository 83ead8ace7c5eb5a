"""Databases with the seed's six methods, as applications have them: plain, async, and ones that fail."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any


class PlainDB:
    """Keeps everything in dictionaries, shared by whoever holds it; every method is sync."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.calls: list[str] = []
        self.lock = threading.Lock()

    @staticmethod
    def hash_of(session_token: str, ownership_key: str) -> str:
        return hashlib.sha256(f"{ownership_key}".encode()).hexdigest()[:16] + ":" + session_token

    def set_session_key_value(self, session_token: str, ownership_key: str) -> Any:
        self.calls.append("set_session_key_value")
        self.sessions[session_token] = ownership_key
        return self.hash_of(session_token, ownership_key)

    def del_session_key_value(self, session_token: str) -> Any:
        self.calls.append("del_session_key_value")
        return self.sessions.pop(session_token, None) is not None

    def set_key_value(self, t_token: str, value: str) -> Any:
        self.calls.append("set_key_value")
        self.values[t_token] = value

    def get_key_value(self, t_token: str) -> Any:
        self.calls.append("get_key_value")
        return self.values.get(t_token, False)

    def del_key_value(self, t_token: str) -> Any:
        self.calls.append("del_key_value")
        self.values.pop(t_token, None)

    def check_hash(self, hh_unidentified: str, ownership_key: str) -> Any:
        self.calls.append("check_hash")
        return any(
            owner == ownership_key and self.hash_of(session, owner) == hh_unidentified
            for session, owner in self.sessions.items()
        )


class AsyncDB(PlainDB):
    """The same with every method async."""

    async def set_session_key_value(self, session_token: str, ownership_key: str) -> Any:
        await asyncio.sleep(0)
        return super().set_session_key_value(session_token, ownership_key)

    async def del_session_key_value(self, session_token: str) -> Any:
        await asyncio.sleep(0)
        return super().del_session_key_value(session_token)

    async def set_key_value(self, t_token: str, value: str) -> Any:
        await asyncio.sleep(0)
        return super().set_key_value(t_token, value)

    async def get_key_value(self, t_token: str) -> Any:
        await asyncio.sleep(0)
        return super().get_key_value(t_token)

    async def del_key_value(self, t_token: str) -> Any:
        await asyncio.sleep(0)
        return super().del_key_value(t_token)

    async def check_hash(self, hh_unidentified: str, ownership_key: str) -> Any:
        await asyncio.sleep(0)
        return super().check_hash(hh_unidentified, ownership_key)


class MixedDB(PlainDB):
    """The seed's own mixture: some methods sync, some async."""

    async def get_key_value(self, t_token: str) -> Any:
        return super().get_key_value(t_token)

    async def check_hash(self, hh_unidentified: str, ownership_key: str) -> Any:
        return super().check_hash(hh_unidentified, ownership_key)


class BrokenDB(PlainDB):
    """Does something else when one method is called for the n-th time from when it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: str | None = None
        self.spared = 0
        self.act: Callable[[], Any] = lambda: None

    def break_next(self, method: str, act: Callable[[], Any], *, after: int = 0) -> None:
        self.broken, self.act, self.spared = method, act, after

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith(("set_", "del_", "get_", "check_")) and name == super().__getattribute__("broken"):
            if self.spared == 0:
                self.broken = None
                return lambda *args: self.act()
            self.spared -= 1
        return found
