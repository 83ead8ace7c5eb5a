"""How a connection is made within its time: of several hosts each gets a share, and one that was silent comes last.

The driver waits two seconds at the least for each host, one after the other. A store that answers within a second would
never get past a server that was cut off, to the one that was promoted meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import generators, waiting
from psycopg.conninfo import conninfo_attempts, conninfo_attempts_async, conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn

from ...contract.drive import drive, drive_now
from .errors import TimedOut, bounded

LOOK_IN_S: Final = 0.1
"""How often a waiting driver looks whether its time is over."""

Attempt = Mapping[str, Any]
"""The parameters of one try: one address of one host."""
Making = Generator[Any, Any, PGconn]


class Hosts:
    """The hosts of one address, and which of them were silent when they were tried last; safe for threads.

    Args:
        conninfo: the address as the driver takes it.
    """

    def __init__(self, conninfo: str) -> None:
        self._params = conninfo_to_dict(conninfo)
        self._silent: set[tuple[Any, ...]] = set()

    def connect(self, timeout_s: float) -> PGconn:
        """Connect to the first host that answers and is what the address asks for.

        Raises:
            psycopg.Error: there is none within ``timeout_s`` seconds.
        """
        until_s = time.monotonic() + timeout_s
        trying = self._trying(conninfo_attempts(self._params), until_s)
        return drive_now(trying, lambda making: waiting.wait_conn(making, LOOK_IN_S))

    async def connect_async(self, timeout_s: float) -> PGconn:
        """As ``connect``, for the running event loop."""
        until_s = time.monotonic() + timeout_s
        trying = self._trying(await conninfo_attempts_async(self._params), until_s)
        return await drive(trying, lambda making: waiting.wait_conn_async(making, LOOK_IN_S))

    def _trying(self, attempts: Sequence[Attempt], until_s: float) -> Generator[Making, PGconn, PGconn]:
        """Yield what makes a connection to one host after the other; return the first that was made."""
        errors: list[psycopg.Error] = []
        in_order = sorted(attempts, key=lambda attempt: _place(attempt) in self._silent)
        for left, attempt in zip(range(len(in_order), 0, -1), in_order, strict=True):
            share_s = max(0.001, until_s - time.monotonic()) / left
            try:
                pgconn = yield bounded(generators.connect(make_conninfo("", **attempt)), share_s)
            except TimedOut as error:
                self._silent.add(_place(attempt))
                errors.append(error)
                continue
            except psycopg.Error as error:
                errors.insert(0, error)
                pgconn = None
            self._silent.discard(_place(attempt))
            if pgconn is not None:
                return pgconn
        raise errors[0] if len(errors) == 1 else type(errors[0])("\n".join(map(str, errors)))


def _place(attempt: Attempt) -> tuple[Any, ...]:
    return attempt.get("host"), attempt.get("hostaddr"), attempt.get("port")
