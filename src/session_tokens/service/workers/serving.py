"""Serves by several workers: what is to be right before one is started, and the supervisor's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ...errors import InvalidInput
from ...stores.common.store_url import store_url_of
from ..checks import LOOPBACK, check_places, check_ports, check_tls
from ..listening import Places
from ..logs import log_to
from ..service_manager import sockets_given
from ..terminal import is_at_terminal, say
from .memory import WORKERS_MAX, SharedMemory
from .supervisor import Supervisor
from .worker import Handed


def serve_by_workers(
    store_url: str,
    workers: int,
    command: Sequence[str],
    options: Mapping[str, Any],
    *,
    host: str,
    port: int,
    console_host: str | None,
    console_port: int | None,
    tls_certificate: str | Path | None,
    tls_key: str | Path | None,
    behind_proxy: bool,
    announce: Callable[[str], object] = say,
) -> int:
    """Serve by several processes until SIGINT or SIGTERM; SIGHUP puts new ones in their place.

    Args:
        store_url: see ``AsyncSessionTokens.open``; of a store that several processes can use.
        workers: how many, 2 to 64.
        command: runs one worker; the number of a file is added to it.
        options: for each worker, in plain values of JSON.
        host, port, console_host, console_port, tls_certificate, tls_key, behind_proxy, announce: see ``serve``.

    Returns:
        The exit code: 0 after a stop, that of a worker that did not come up at the beginning.

    Raises:
        InvalidInput: a store in memory, or what ``serve`` refuses.
        OSError: the address cannot be listened on, or no process can be started.
    """
    check_workers(workers, store_url)
    check_ports(port, console_host, console_port)
    given = sockets_given()
    check_places(given, host, console_host, tls=tls_certificate is not None, behind_proxy=behind_proxy)
    check_tls(tls_certificate, tls_key)
    places = Places(host, port, console_host or LOOPBACK, console_port, given)
    with closing(log_to()), places.bound() as bound, closing(SharedMemory.make(workers)) as memory:
        handed = Handed(command, options, workers, bound, memory)
        supervisor = Supervisor(handed, at_terminal=is_at_terminal(), close=bound.close, announce=announce)
        return asyncio.run(supervisor.run())


def check_workers(workers: int, store_url: str) -> None:
    """Accept a number of workers.

    Raises:
        InvalidInput: it is not 1 to 64, or the store is in memory, of which each worker would have another.
    """
    if not 1 <= workers <= WORKERS_MAX:
        raise InvalidInput(f"--workers is 1 to {WORKERS_MAX}")
    if workers > 1 and store_url_of(store_url).kind == "memory":
        raise InvalidInput(
            "each worker would have a store in memory of its own; name one that processes share, such as "
            "sqlite:///session-tokens.db, or leave --workers out"
        )
