"""One try of a request: sent and answered whole within its time, however slowly an answer drips in; and hanging up."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from time import monotonic

import httpx2

from ..errors import StoreUnavailable
from .calls import Request
from .exchange import CLOSED, Sent, Unanswered

TOO_SLOW = Unanswered("it takes too long")


async def tried(http: httpx2.AsyncClient, request: Request, timeout_s: float) -> Sent | Unanswered:
    """Send a request and return what was answered, or why nothing was.

    Raises:
        StoreUnavailable: the client is closed, also since the last try.
    """
    if http.is_closed:
        raise StoreUnavailable(CLOSED)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await http.request(request.method, request.path, headers=request.headers, content=request.content)
    except TimeoutError:
        return TOO_SLOW
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        return Unanswered(type(error).__name__)
    return Sent(answer.status_code, answer.headers, answer.content)


def tried_now(http: httpx2.Client, request: Request, timeout_s: float) -> Sent | Unanswered:
    """Send it as ``tried``, from a thread; of the head of an answer each piece may take that long."""
    if http.is_closed:
        raise StoreUnavailable(CLOSED)
    ends_s, pieces = monotonic() + timeout_s, []
    try:
        with http.stream(request.method, request.path, headers=request.headers, content=request.content) as answer:
            for piece in answer.iter_bytes():
                if monotonic() > ends_s:
                    return TOO_SLOW
                pieces.append(piece)
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        return Unanswered(type(error).__name__)
    return Sent(answer.status_code, answer.headers, b"".join(pieces))


def hang_up(answer: httpx2.Response) -> None:
    """Have a thread that waits for more of an answer find its end at once; a task is woken by closing it."""
    stream = answer.extensions.get("network_stream")
    connection = None if stream is None else stream.get_extra_info("socket")
    is_ours_alone = not answer.is_closed and answer.http_version != "HTTP/2"
    if is_ours_alone and isinstance(connection, socket.socket):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
