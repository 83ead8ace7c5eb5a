"""Measure the client library that session-tokens uses, bare: what a round trip and a commit cost at the least.

The commit is that of a transferred token: the same words to the same function, its records made beforehand, with
nothing read, judged, minted, signed or answered.
"""

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
RECORD = b"r" * 480
IN_A_PIPELINE = 25
COMMIT = ("FCALL", "session_tokens_commit_v1", 1, "{bare:00}:n")


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
        self.stamps, self.holders = [b""] * sessions, [0] * sessions
        return {"sessions": sessions}

    def time_operation(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        numbers = picks(count, self.sessions)
        if operation == "commit":
            done = {"operations": count // IN_A_PIPELINE * IN_A_PIPELINE}
            return self.loop.time_calls(self._commits, range(count // IN_A_PIPELINE), tasks) | done | {"checked": count}
        if operation == "get_blocking":
            return count_right(self.blocking.get, [(session_name(number),) for number in numbers], [VALUE] * count)
        return self.loop.time_calls(self._get, numbers, tasks)

    async def _commits(self, number: int) -> int:
        """Move as many tokens as travel in one pipeline, each by a call of its own."""
        first = number * IN_A_PIPELINE % (len(self.stamps) // IN_A_PIPELINE * IN_A_PIPELINE)
        pipeline = self.client.pipeline(transaction=False)
        for token in range(first, first + IN_A_PIPELINE):
            pipeline.execute_command(*COMMIT, *self._words_of(token))
        replies = await pipeline.execute()
        for token, (_, stamp) in enumerate(replies, first):
            self.stamps[token] = b"%d" % stamp
            self.holders[token] += 1
        return sum(stamp > 0 for _, stamp in replies)

    def _words_of(self, token: int) -> list[bytes]:
        """Return the words of one commit: what must be as it was, the record, its look-up keys, where it is held."""
        id, holder = b"%028d" % token, self.holders[token]
        giver, receiver = b"%028d" % (token + holder), b"%028d" % (token + holder + 1)
        checks = [b"t:" + id, self.stamps[token]]
        for name in (b"s:" + giver, b"e:" + giver, b"e:" + receiver, b"s:" + receiver):
            checks += (name, b"")
        writes = [b"k", b"t:" + id, RECORD, b"d", b"T:%064d" % (token * 10_000 + holder)]
        writes += (b"p", b"T:%064d" % (token * 10_000 + holder + 1), b"0", b"t:" + id + b"\n")
        writes += (b"h", id, b"1795000000000", giver if holder else b"", receiver, b"x")
        return [b"0", b"9000000000000000", b"%d" % (len(checks) // 2), *checks, b"%d" % len(writes), *writes]

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
