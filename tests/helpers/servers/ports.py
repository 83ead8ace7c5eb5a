"""Ports of 127.0.0.1 for servers that are about to be started."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
