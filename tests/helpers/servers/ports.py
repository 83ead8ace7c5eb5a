"""Ports of 127.0.0.1 for servers that are about to be started."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 12_000, 32_000
"""Below those that the system gives to whoever connects: none of these is taken before the server is there."""


def free_port() -> int:
    """Return a port on which nothing listens now."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(LOWEST, HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
