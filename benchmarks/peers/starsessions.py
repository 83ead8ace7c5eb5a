"""Fetch starsessions once into an environment of its own, and start it on a server."""

from __future__ import annotations

import subprocess
import sys
import venv

from benchmarks.harness import Side
from benchmarks.peers import CACHE, HERE, PeerMissing

REQUIREMENTS = HERE / "requirements-starsessions.txt"


def starsessions_side(url: str) -> Side:
    """Start starsessions' Redis store on the server at `url`.

    Raises:
        PeerMissing: if it cannot be installed.
    """
    folder = CACHE / f"starsessions-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
        installed = subprocess.run(argv, check=False, capture_output=True, text=True)
        if installed.returncode:
            raise PeerMissing(f"pip could not install {REQUIREMENTS.name}: {installed.stderr.strip()[-500:]}")
        (folder / "complete").touch()
    return Side("starsessions", [str(python), "-m", "benchmarks.peers.starsessions_on_server", url])
