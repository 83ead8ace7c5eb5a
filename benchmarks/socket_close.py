"""How long after a log-out in another process is a WebSocket closed?

The goal is a p99 below 100 ms where events are followed (`Settings(events="durable")`); without them each session is
looked at once a second. The site runs in a process of its own with 50 open WebSockets. This process ends their
sessions one after another, and takes the time from the answer of `destroy_session` until the closing is here.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.harness import Measured, NothingMeasured, Options, Report, Row, Samples, compare
from benchmarks.new_stores import NEW_STORES
from session_tokens import AsyncSessionTokens, Settings
from tests.helpers.socket_site import PEPPER, socket_site

SOCKETS = 50


def run(options: Options) -> Report:
    """Measure one store after the other."""
    report = Report("socket_close", (__doc__ or "").split("\n", 1)[0])
    sockets = options.scaled(SOCKETS, quick=3)
    report.notes.append(f"{sockets} WebSockets a turn, each closed for itself; memory is of one process and left out")
    for where in ("sqlite", "valkey", "postgres"):
        for events in (True, False):
            with NEW_STORES[where]() as new_store:
                url = new_store()
                times: list[float] = []
                what = f"{where}, {'events' if events else 'looked at'}"
                p50 = Row(f"{what}: p50", Samples("closed after a log-out elsewhere"), None, "ms")
                p99 = Samples("closed after a log-out elsewhere")
                report.rows.append(
                    compare(
                        options,
                        p50,
                        partial(_turn, url, sockets, times, events),
                        None,
                        (p99, partial(_percentile, times, 0.99)),
                    )
                )
                report.rows.append(Row(f"{what}: p99", p99, None, "ms"))
    return report


def _turn(url: str, count: int, times: list[float], events: bool) -> Measured:
    times[:] = asyncio.run(_close(url, count, events))
    return _percentile(times, 0.5)


def _percentile(times: list[float], part: float) -> Measured:
    return Measured(sorted(times)[math.ceil(part * len(times)) - 1], None, len(times))


async def _close(url: str, count: int, events: bool) -> list[float]:
    """Return for each WebSocket how many milliseconds after the log-out it was closed."""
    settings = Settings(events="durable") if events else Settings()
    async with await AsyncSessionTokens.open(url, settings=settings, pepper=PEPPER) as st:
        issued = [await st.open_session(f"owner {n}") for n in range(count)]
        with socket_site(url) as address:
            sockets = [
                await connect(address, additional_headers={"cookie": f"session={each.secret}"}) for each in issued
            ]
            times = []
            for each, socket in zip(issued, sockets, strict=True):
                closed = asyncio.create_task(_closed(socket))
                await st.destroy_session(each.session.id)
                since = time.perf_counter()
                times.append(max(0.0, (await closed - since) * 1000))
            return times


async def _closed(socket: ClientConnection) -> float:
    try:
        await asyncio.wait_for(socket.recv(), 60)
    except ConnectionClosed:
        if socket.close_code == 4001:
            return time.perf_counter()
    raise NothingMeasured(f"the WebSocket was not closed with 4001 but with {socket.close_code}")
