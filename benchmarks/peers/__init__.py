"""Fetch the peers once into a folder that is not committed, and start them.

Nothing of a peer is part of this repository: the npm package is fetched with `npm pack`, Django with pip, both with
the versions pinned here, both through the registries that the reader's own npm and pip are set up for.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Report, Side

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
NPM_PACKAGE = "session_tokens@1.0.1"
REQUIREMENTS = HERE / "requirements.txt"


class PeerMissing(RuntimeError):
    """A peer cannot be run here; the message names what to install."""


def npm_side(heap_mib: int = 12_000) -> Side:
    """Start the npm package on node.

    Raises:
        PeerMissing: if node or npm is not installed or the package cannot be fetched.
    """
    node = shutil.which("node")
    if node is None:
        raise PeerMissing("node is not installed: install Node.js 18 or newer to measure the npm package")
    argv = [node, "--expose-gc", f"--max-old-space-size={heap_mib}", str(HERE / "npm_tokens.cjs"), str(_npm_package())]
    return Side("npm session_tokens", argv)


def npm_introspection(sessions: int) -> list[str]:
    """Return the command of node's own server over the npm package with so many sessions.

    Raises:
        PeerMissing: if node or npm is not installed or the package cannot be fetched.
    """
    node = shutil.which("node")
    if node is None:
        raise PeerMissing("node is not installed: install Node.js 18 or newer to measure the npm package")
    return [node, str(HERE / "npm_introspection.cjs"), str(_npm_package()), str(sessions)]


def django_side(journal: str, folder: Path) -> Side:
    """Start Django's `db` sessions on a new SQLite file in `folder`.

    Args:
        journal: "wal", or "delete" for what Django does unasked.

    Raises:
        PeerMissing: if Django cannot be installed.
    """
    database = str(folder / f"django-{journal}.db")
    argv = [_python_with_django(), "-m", "benchmarks.peers.django_sessions", journal, database]
    return Side(f"Django db sessions ({journal})", argv)


def _npm_package() -> Path:
    folder = CACHE / "npm"
    if not (folder / "package" / "index.js").exists():
        npm = shutil.which("npm")
        if npm is None:
            raise PeerMissing(f"npm is not installed: it is needed once, to fetch {NPM_PACKAGE}")
        folder.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            [npm, "pack", "--silent", NPM_PACKAGE], cwd=folder, check=False, capture_output=True, text=True
        )
        archive = folder / fetched.stdout.strip().split("\n")[-1]
        if fetched.returncode or not archive.is_file():
            raise PeerMissing(f"npm could not fetch {NPM_PACKAGE}: {fetched.stderr.strip()}")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder / "package"


def flask_session_side(url: str) -> Side:
    """Start a Flask application whose sessions are Flask-Session's on the server at `url`.

    Raises:
        PeerMissing: if it cannot be installed.
    """
    python = python_with("flask-session", HERE / "requirements-flask-session.txt")
    return Side("Flask-Session", [python, "-m", "benchmarks.sides.flask_requests", "flask-session", url])


def _python_with_django() -> str:
    """Choose this Python if it has Django, else one in a virtual environment of the cache."""
    return sys.executable if importlib.util.find_spec("django") else python_with("django", REQUIREMENTS)


def python_with(name: str, requirements: Path) -> str:
    """Return the Python of an environment in the cache that has what a file of requirements lists.

    Raises:
        PeerMissing: if it cannot be installed.
    """
    folder = CACHE / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
        installed = subprocess.run(argv, check=False, capture_output=True, text=True)
        if installed.returncode:
            raise PeerMissing(f"pip could not install {requirements.name}: {installed.stderr.strip()[-500:]}")
        (folder / "complete").touch()
    return str(python)


def peer_if_any(start: Callable[[], Side], stack: ExitStack, report: Report) -> Side | None:
    """Start a peer that `stack` will close, or write into the report why there is none."""
    try:
        return stack.enter_context(start())
    except PeerMissing as missing:
        report.notes.append(f"peer not measured: {missing}")
        return None
