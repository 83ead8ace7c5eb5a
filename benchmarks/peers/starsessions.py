"""Start starsessions on a server, from an environment of its own."""

from __future__ import annotations

from benchmarks.harness import Side
from benchmarks.peers import HERE, python_with

REQUIREMENTS = HERE / "requirements-starsessions.txt"


def starsessions_side(url: str) -> Side:
    """Start starsessions' Redis store on the server at `url`.

    Raises:
        PeerMissing: if it cannot be installed.
    """
    return Side(
        "starsessions",
        [python_with("starsessions", REQUIREMENTS), "-m", "benchmarks.peers.starsessions_on_server", url],
    )
