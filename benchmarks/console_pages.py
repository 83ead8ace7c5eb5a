"""What a page of the console costs over 1,000 sessions and over 100,000: CPU of this process, in one run.

``python -m benchmarks.console_pages [few] [many]`` prints a line for each page: both medians, and how much more the
second is. A page looks at a bounded stretch, so that the ratio stays at about one.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from session_tokens import AsyncSessionTokens
from session_tokens.audit.log import Audit
from session_tokens.service.app import Options, Service
from session_tokens.service.console.activity import LOOKED_AT
from session_tokens.service.console.app import Console
from session_tokens.service_keys.keys import create_key

RATIO_MAX = 1.3
ROUNDS = 15
AT_ONCE = 200
TOKENS_MIN = 1_000
"""Tokens, and of these on offer, at the least: as many as one page looks at."""
PAGES = (
    "/console/overview", "/console/sessions", "/console/sessions?sort=oldest", "/console/sessions?sort=ends",
    "/console/sessions?q=nobody", "/console/sessions?state=detached", "/console/tokens", "/console/unassigned",
    "/console/owners", "/console/owners?sort=sessions", "/console/owners?which=disabled", "/console/owners?q=nobody",
    "/console/owners/owner%201", "/console/market", "/console/tokens?q=nobody", "/console/audit", "/console/keys",
    "/console/find?q=nobody",
)  # fmt: skip


class Desk:
    """A console over so many sessions, and a browser in it."""

    def __init__(self, tokens: AsyncSessionTokens, browser: httpx.AsyncClient) -> None:
        self._tokens, self._browser = tokens, browser

    @classmethod
    async def over(cls, count: int, folder: Path) -> Desk:
        """Open a store of so many sessions with an audit log; the first thousand, or twentieth, hold a token each.

        For each of these, which is on offer, there is an unassigned token too, and a tenth as many owners are disabled.
        """
        audit = Audit(folder / f"{count}.anchors")
        tokens = await AsyncSessionTokens.open(f"sqlite:///{folder}/{count}.db", sweep=False, audit=audit)
        for first in range(0, count, AT_ONCE):
            opened = await asyncio.gather(
                *(tokens.open_session(f"owner {number}", max_age=86_400) for number in range(first, first + AT_ONCE))
            )
            if first < max(TOKENS_MIN, count // 20):
                held = await asyncio.gather(*(tokens.issue_token(one.id, "seat", transferable=True) for one in opened))
                await asyncio.gather(*(tokens.offer_token(one.id, price=1, currency="EUR") for one in held))
                await asyncio.gather(*(tokens.issue_token(None, "job", transferable=True) for _ in opened))
                await asyncio.gather(*(tokens.disable_owner(f"gone {first + one}") for one in range(AT_ONCE // 10)))
        for _ in range(LOOKED_AT // 2):  # what a timeline looks through is the same for few and for many
            await tokens.disable_owner("nobody else")
            await tokens.enable_owner("nobody else")
        transport = httpx.ASGITransport(Service(tokens, Options(more_routes=Console(tokens).routes)))
        browser = httpx.AsyncClient(transport=transport, base_url="https://desk.test")
        return cls(tokens, browser)

    async def enter(self) -> None:
        """Enter the console, whose sessions end when they are idle for a quarter of an hour: after all is filled."""
        key = await create_key(self._tokens.store, "admin")
        entered = await self._browser.post("/console/enter", data={"secret": key.secret})
        assert entered.status_code == 303, entered.text

    async def cost_of(self, page: str) -> float:
        """Return the CPU seconds that one answer takes."""
        began = time.process_time()
        answer = await self._browser.get(page)
        assert answer.status_code in (200, 404), (page, answer.status_code)
        return time.process_time() - began

    async def close(self) -> None:
        """Close both."""
        await self._browser.aclose()
        await self._tokens.close()


async def compared(few: int, many: int) -> int:
    """Print what each page costs over few and over many; return how many cost too much."""
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        desks = [await Desk.over(count, Path(folder)) for count in (few, many)]
        for desk in desks:
            await desk.enter()
        print(f"{'page':34} {few:>9,} {many:>9,}  ratio   (median CPU ms of {ROUNDS})")
        for page in PAGES:
            costs: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for desk, times in zip(desks, costs, strict=True):
                    times.append(await desk.cost_of(page))
            small, large = (statistics.median(times) * 1000 for times in costs)
            over += large > RATIO_MAX * small
            print(f"{page:34} {small:9.2f} {large:9.2f}  {large / small:5.2f}")
        for desk in desks:
            await desk.close()
    return over


def main() -> None:
    """Compare, and fail where a page costs more than it may."""
    few, many = [int(given) for given in sys.argv[1:3]] or (1_000, 100_000)
    sys.exit(1 if asyncio.run(compared(few, many)) else 0)


if __name__ == "__main__":
    main()
