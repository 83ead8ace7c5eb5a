"""Ports of 127.0.0.1 for servers that are about to be started."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

LOWEST, HIGHEST = 12_000, 32_000
"""Below those that the system gives to whoever connects: none of these is taken before the server is there."""

_given: Final[set[int]] = set()
"""What was given out: between that and the start of its server nothing listens there."""


def free_port() -> int:
    """Return a port on which nothing listens now, and that no test of this run was given before."""
    chance, ours = random.SystemRandom(), _ours()
    while True:
        port = chance.choice(ours)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def _ours() -> range:
    """Return the ports of this process: each of those that run tests side by side has some of its own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    assert len(_given) < (HIGHEST - LOWEST) // count // 2, "servers may have the ports of those that are gone: empty it"
    return range(LOWEST + number % count, HIGHEST, count)
