"""Following the events of a service, for asyncio."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Self

import httpx2

from ..errors import SessionTokensError, StoreUnavailable
from ..events import Event
from .event_stream import TYPE, EventReader
from .exchange import AGAIN, CLOSED, FIRST_PAUSE_S, LONGEST_PAUSE_S, Sent, error_of
from .in_time import hang_up

SILENCE_S = 35.0
"""After which a stream counts as broken: the service sends something every ten seconds."""


class AsyncRemoteEvents:
    """Events of a service as they come; made by ``follow_events``. One task takes them.

    A stream that ends is begun again behind the last event (``Last-Event-ID``), so that each comes at least once.
    """

    def __init__(self, http: httpx2.AsyncClient, retry_for_s: float, path: str) -> None:
        self._http, self._retry_for_s, self._path = http, retry_for_s, path
        self._fetched: deque[Event] = deque()
        self._last: str | None = None
        self._response: httpx2.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._reader = EventReader()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._fetched:
            if self._closed:
                raise StopAsyncIteration
            await self._fetch()
        return self._fetched.popleft()

    async def next_few(self) -> list[Event]:
        """Return the events that have come by now; none after a moment in which none came."""
        if not self._fetched and not self._closed:
            await self._fetch()
        events = list(self._fetched)
        self._fetched.clear()
        return events

    async def _fetch(self) -> None:
        """Begin the stream, or take what comes next of it, which may be no event but a sign of life."""
        if self._pieces is None:
            await self._begin()
        else:
            await self._read(self._pieces)

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        """Take the next piece; where there is none, the stream is over."""
        try:
            piece = await anext(pieces, b"")
            events = self._reader.read(piece)
        except (httpx2.TransportError, httpx2.StreamError):
            piece, events = b"", []
        except StoreUnavailable:
            await self._end()
            raise
        if not piece:
            await self._end()
        elif events:
            self._fetched.extend(events)
            self._last = events[-1].id

    async def _begin(self) -> None:
        """Begin the stream behind the last event; try again where the service does not answer, or is busy."""
        ends_s, pause_s = monotonic() + self._retry_for_s, FIRST_PAUSE_S
        while not self._closed:
            error = await self._ask()
            if error is None:
                if self._closed:  # whoever closed it meanwhile found no stream to end
                    await self._end()
                return
            wait_s = pause_s * random.uniform(0.5, 1.0)  # no secret
            if monotonic() + wait_s > ends_s:
                raise error
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _ask(self) -> SessionTokensError | None:
        """Ask once; return why there is no stream yet.

        Raises:
            SessionTokensError: there never will be one.
        """
        if self._http.is_closed:
            raise StoreUnavailable(CLOSED)
        headers = {"Accept": TYPE, **({} if self._last is None else {"Last-Event-ID": self._last})}
        timeout = httpx2.Timeout(self._http.timeout.connect, read=SILENCE_S)
        request = self._http.build_request("GET", self._path, headers=headers, timeout=timeout)
        try:
            response = await self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            return StoreUnavailable(f"the service does not answer ({type(error).__name__}); try again")
        if response.status_code == 200 and response.headers.get("content-type", "").startswith(TYPE):
            self._response, self._pieces, self._reader = response, response.aiter_bytes(), EventReader()
            return None
        try:
            sent = Sent(response.status_code, response.headers, await response.aread())
        except httpx2.TransportError as error:
            return StoreUnavailable(f"the service does not answer ({type(error).__name__}); try again")
        finally:
            await response.aclose()
        if sent.status not in AGAIN:
            raise error_of(sent)
        return error_of(sent)

    async def _end(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await response.aclose()

    async def close(self) -> None:
        """End the iteration, also of whoever waits for an event. Calling it again does nothing."""
        self._closed = True
        self._fetched.clear()
        response = self._response
        if response is not None:
            hang_up(response)
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
