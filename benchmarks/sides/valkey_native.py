"""Measure `AsyncSessionTokens` and `SessionTokens` on a Valkey server.

Arguments are strings made anew, equal to the real ones, as they would arrive with a request.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from benchmarks.sides.many_tasks import Loop
from benchmarks.sides.names import VALUE, owner_name, picks
from benchmarks.sides.serving import Stopwatch, serve
from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.audit.log import Audit

PEPPER = bytes(range(32))
SETTINGS = Settings(max_age=24 * 60 * 60)
OPENED_AT_ONCE = 200


class Measured:
    """The sessions of one side, a session-bound and a transferable token in each."""

    st: AsyncSessionTokens

    def __init__(self, url: str, anchor: str | None = None) -> None:
        self.url = f"{url}?namespace={'ours' if anchor is None else 'logged'}&timeout=30"
        self.audit = None if anchor is None else Audit(anchor)
        self.loop = Loop()
        self.sessions: list[str] = []
        self.secrets: list[str] = []
        self.token_secrets: list[str] = []
        self.tokens: list[str] = []
        self.holders: list[int] = []

    def prepare(self, sessions: int) -> dict[str, Any]:
        self.loop.run(self._prepare(sessions))
        self.blocking = SessionTokens.open(self.url, pepper=PEPPER, settings=SETTINGS, sweep=False)
        # A running process has seen most of its sessions before; what it costs to see one first is asked separately.
        for secret in self.secrets:
            assert self.blocking.verify_session(secret) is not None
        everyone = list(range(sessions))
        for call in (self._verify_session, self._verify_token):
            assert self.loop.time_calls(call, everyone, 50)["right"] == sessions
        return {"sessions": len(self.sessions)}

    def _unseen(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        """Ask about each session once, in a process that has seen none of them."""
        seen = self.st
        self.st = self.loop.run(self._opened())
        numbers = list(range(min(count, len(self.sessions))))
        answer = self.loop.time_calls(getattr(self, f"_{operation}"), numbers, tasks)
        self.loop.run(self.st.close())
        self.st = seen
        return answer

    def _in_turn(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        """Let two stores work on the same sessions in turn, so that neither knows what state they are in."""
        one, other = self.st, self.loop.run(self._opened())
        numbers = self._apart(len(self.sessions) // tasks * tasks, tasks)
        turns: list[dict[str, Any]] = []
        while sum(turn["operations"] for turn in turns) < count:
            for self.st in (one, other):
                turns.append(self.loop.time_calls(getattr(self, f"_{operation}"), numbers, tasks))
        self.loop.run(other.close())
        self.st = one
        return {name: sum(turn[name] for turn in turns) for name in turns[0]}

    def _opened(self) -> Any:
        return AsyncSessionTokens.open(self.url, pepper=PEPPER, settings=SETTINGS, sweep=False, audit=self.audit)

    async def _prepare(self, sessions: int) -> None:
        self.st = await self._opened()

        async def open_one(number: int) -> tuple[Any, Any, Any]:
            session = await self.st.open_session(owner_name(number), data={"visits": 0})
            bound = await self.st.issue_token(session.id, VALUE)
            return session, bound, await self.st.issue_token(session.id, VALUE, transferable=True)

        for first in range(0, sessions, OPENED_AT_ONCE):
            numbers = range(first, min(sessions, first + OPENED_AT_ONCE))
            for session, bound, transferable in await asyncio.gather(*map(open_one, numbers)):
                self.sessions.append(session.id)
                self.secrets.append(session.secret)
                self.token_secrets.append(bound.secret)
                self.tokens.append(transferable.id)
        self.holders = list(range(sessions))

    def close(self) -> None:
        if self.sessions:
            self.loop.run(self.st.close())
            self.blocking.close()

    def time_operation(self, operation: str, count: int, tasks: int) -> dict[str, Any]:
        if operation == "verify_session_blocking":
            return self._verify_session_blocking(count)
        operation, _, how = operation.partition(", ")
        if how:
            return {"unseen": self._unseen, "in turn": self._in_turn}[how](operation, count, tasks)
        # Two commands on one session at once would be a race, and its loser's second attempt another question.
        numbers = picks(count, len(self.sessions)) if operation.startswith("verify") else self._apart(count, tasks)
        return self.loop.time_calls(getattr(self, f"_{operation}"), numbers, tasks)

    def _apart(self, count: int, tasks: int) -> list[int]:
        """Choose numbers so that no two tasks ever have the same one."""
        numbers = picks(count, len(self.sessions) // tasks * tasks)
        return [number // tasks * tasks + place % tasks for place, number in enumerate(numbers)]

    def _verify_session_blocking(self, count: int) -> dict[str, Any]:
        asked = [(_anew(self.secrets[number]), owner_name(number)) for number in picks(count, len(self.secrets))]
        verify_session, right = self.blocking.verify_session, 0
        watch = Stopwatch()
        for secret, owner in asked:
            session = verify_session(secret)
            if session is not None and session.owner == owner:
                right += 1
        return watch.answer(count, right)

    async def _verify_session(self, number: int) -> bool:
        session = await self.st.verify_session(_anew(self.secrets[number]))
        return session is not None and session.owner == owner_name(number)

    async def _verify_token(self, number: int) -> bool:
        token = await self.st.verify_token(_anew(self.token_secrets[number]))
        return token is not None and token.owner == owner_name(number)

    async def _change_session(self, number: int) -> bool:
        return (await self.st.change_session(_anew(self.sessions[number]), label="desk")).label == "desk"

    async def _issue_token(self, number: int) -> bool:
        return (await self.st.issue_token(_anew(self.sessions[number]), VALUE)).token.owner == owner_name(number)

    async def _transfer_token(self, number: int) -> bool:
        giver = self.holders[number]
        receiver = (giver + 1) % len(self.sessions)
        issued = await self.st.transfer_token(
            _anew(self.tokens[number]), giver=owner_name(giver), receiver=owner_name(receiver)
        )
        self.holders[number] = receiver
        return issued.token.owner == owner_name(receiver)


def _anew(text: str) -> str:
    return "".join(text)


if __name__ == "__main__":
    side = Measured(*sys.argv[1:])
    serve({"prepare": side.prepare, "time_operation": side.time_operation})
    side.close()
