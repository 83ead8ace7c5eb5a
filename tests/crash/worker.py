"""What is killed: it opens sessions, issues and transfers tokens, ends sessions, and tells what was acknowledged.

Each lane opens a session, issues a token, transfers it and ends the session, for one owner after the other. After
each answer it writes one line to its standard output, in one piece: so what is in the pipe was acknowledged, whenever
the process was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading

from session_tokens import AsyncSessionTokens, SessionTokens, Settings

LANES = 12


def tell(**told: str) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def lane_of_a_thread(tokens: SessionTokens, cycle: str, lane: int) -> None:
    number = 0
    while True:
        owner, receiver = f"{cycle}-{lane}-{number}", f"receiver-{cycle}-{lane}-{number}"
        session = tokens.open_session(owner)
        tell(owner=owner, step="open", secret=session.secret)
        token = tokens.issue_token(session.id, owner, transferable=True)
        tell(owner=owner, step="issue", secret=token.secret, id=token.id)
        moved = tokens.transfer_token(token.id, giver=owner, receiver=receiver)
        tell(owner=owner, step="transfer", secret=moved.secret)
        if number % 2:
            tokens.destroy_session(session.secret)
            tell(owner=owner, step="end")
        number += 1


async def lane_of_a_task(tokens: AsyncSessionTokens, cycle: str, lane: int) -> None:
    number = 0
    while True:
        owner, receiver = f"{cycle}-{lane}-{number}", f"receiver-{cycle}-{lane}-{number}"
        session = await tokens.open_session(owner)
        tell(owner=owner, step="open", secret=session.secret)
        token = await tokens.issue_token(session.id, owner, transferable=True)
        tell(owner=owner, step="issue", secret=token.secret, id=token.id)
        moved = await tokens.transfer_token(token.id, giver=owner, receiver=receiver)
        tell(owner=owner, step="transfer", secret=moved.secret)
        if number % 2:
            await tokens.destroy_session(session.secret)
            tell(owner=owner, step="end")
        number += 1


async def tasks(url: str, cycle: str) -> None:
    async with await AsyncSessionTokens.open(url, settings=Settings(sweep_interval=0.01)) as tokens:
        await asyncio.gather(*[lane_of_a_task(tokens, cycle, lane) for lane in range(LANES)])


def threads(url: str, cycle: str) -> None:
    tokens = SessionTokens.open(url, settings=Settings(sweep_interval=0.01))
    workers = [threading.Thread(target=lane_of_a_thread, args=(tokens, cycle, lane)) for lane in range(LANES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    if sys.argv[3] == "tasks":
        asyncio.run(tasks(sys.argv[1], sys.argv[2]))
    else:
        threads(sys.argv[1], sys.argv[2])
