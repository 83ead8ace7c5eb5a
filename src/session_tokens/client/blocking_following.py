# Generated from client/async_following.py by tools/generate_sync.py; change that file and run it again.
"""Following the events of a service, for threads."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
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


class RemoteEvents:
    """Events of a service as they come; made by ``follow_events``. One thread takes them.

    A stream that ends is begun again behind the last event (``Last-Event-ID``), so that each comes at least once.
    """

    def __init__(self, http: httpx2.Client, retry_for_s: float, path: str) -> None:
        self._http, self._retry_for_s, self._path = http, retry_for_s, path
        self._fetched: deque[Event] = deque()
        self._last: str | None = None
        self._response: httpx2.Response | None = None
        self._pieces: Iterator[bytes] | None = None
        self._reader = EventReader()
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._fetched:
            if self._closed:
                raise StopIteration
            self._fetch()
        return self._fetched.popleft()

    def next_few(self) -> list[Event]:
        """Return the events that have come by now; none after a moment in which none came."""
        if not self._fetched and not self._closed:
            self._fetch()
        events = list(self._fetched)
        self._fetched.clear()
        return events

    def _fetch(self) -> None:
        """Begin the stream, or take what comes next of it, which may be no event but a sign of life."""
        if self._pieces is None:
            self._begin()
        else:
            self._read(self._pieces)

    def _read(self, pieces: Iterator[bytes]) -> None:
        """Take the next piece; where there is none, the stream is over."""
        try:
            piece = next(pieces, b"")
            events = self._reader.read(piece)
        except (httpx2.TransportError, httpx2.StreamError):
            piece, events = b"", []
        except StoreUnavailable:
            self._end()
            raise
        if not piece:
            self._end()
        elif events:
            self._fetched.extend(events)
            self._last = events[-1].id

    def _begin(self) -> None:
        """Begin the stream behind the last event; try again where the service does not answer, or is busy."""
        ends_s, pause_s = monotonic() + self._retry_for_s, FIRST_PAUSE_S
        while not self._closed:
            error = self._ask()
            if error is None:
                if self._closed:  # whoever closed it meanwhile found no stream to end
                    self._end()
                return
            wait_s = pause_s * random.uniform(0.5, 1.0)  # no secret
            if monotonic() + wait_s > ends_s:
                raise error
            time.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _ask(self) -> SessionTokensError | None:
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
            response = self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            return StoreUnavailable(f"the service does not answer ({type(error).__name__}); try again")
        if response.status_code == 200 and response.headers.get("content-type", "").startswith(TYPE):
            self._response, self._pieces, self._reader = response, response.iter_bytes(), EventReader()
            return None
        try:
            sent = Sent(response.status_code, response.headers, response.read())
        except httpx2.TransportError as error:
            return StoreUnavailable(f"the service does not answer ({type(error).__name__}); try again")
        finally:
            response.close()
        if sent.status not in AGAIN:
            raise error_of(sent)
        return error_of(sent)

    def _end(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            response.close()

    def close(self) -> None:
        """End the iteration, also of whoever waits for an event. Calling it again does nothing."""
        self._closed = True
        self._fetched.clear()
        response = self._response
        if response is not None:
            hang_up(response)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
