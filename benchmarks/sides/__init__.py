"""Hold the programs that do the measured work, each run in a process of its own and driven by lines of JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.harness import ROOT, Side


def token_tables_side(url: str | None = None, root: Path = ROOT) -> Side:
    """Start `TokenTables`, in memory unless a store is named."""
    return _start("TokenTables", "benchmarks.sides.token_tables", *([url] if url else []), root=root)


def compiled_side(side: str, *arguments: str) -> Side:
    """Start a side of ours (`token_tables`, `native`) on a core that is compiled from the sources as they are now.

    Raises:
        PeerMissing: it cannot be built here, with the line that says why.
    """
    from benchmarks.peers import PeerMissing
    from tools.compiled_environment import compiled_python  # sides in the environments of peers know no builder

    try:
        python = compiled_python()
    except SystemExit as failure:
        words = str(failure).splitlines()
        raise PeerMissing(next((line for line in words if "no compiled core:" in line), words[-1])) from failure
    label = {"token_tables": "TokenTables, compiled", "native": "SessionTokens, compiled"}[side]
    return Side(label, [str(python), "-m", f"benchmarks.sides.{side}", *arguments])


def native_side(url: str, idle_timeout_s: float | None = None, sweep: bool = False, root: Path = ROOT) -> Side:
    """Start `SessionTokens` on the store at `url`, with or without its background sweeper."""
    wanted = "none" if idle_timeout_s is None else str(idle_timeout_s)
    return _start("SessionTokens", "benchmarks.sides.native", url, wanted, "sweep" if sweep else "no-sweep", root=root)


def log_in_side(url: str) -> Side:
    """Start `SessionTokens` on the store at `url`, with one owner who logs in again and again."""
    return _start("SessionTokens", "benchmarks.sides.log_in", url)


def empty_lists_side(url: str) -> Side:
    """Start `SessionTokens` on the store at `url`, with many tokens of which no list wants any."""
    return _start("SessionTokens", "benchmarks.sides.empty_lists", url)


def http_side(what: str, where: Path | str, sources: Path | None = None, workers: int = 1) -> Side:
    """Start `what` (session-tokens, fastapi, node) as a server, and a client that loads it.

    Args:
        what: the server.
        where: a folder for its files, or the URL of a store on a server.
        sources: the tree whose package is served; the program that loads it is always this tree's.
        workers: processes that serve, of session-tokens.
    """
    label = {"session-tokens": "session-tokens serve", "fastapi": "FastAPI", "node": "node, npm session_tokens"}[what]
    label += f", {workers} workers" if workers > 1 else ""
    return _start(label, "benchmarks.sides.http_load", what, str(where), str(workers), sources=sources)


def valkey_side(what: str, url: str, *anchor: str, root: Path = ROOT) -> Side:
    """Start `what` (native: session-tokens, bare: the client library alone) on the server at `url`.

    With a file for anchors, session-tokens keeps an audit log.
    """
    label = {"native": "SessionTokens", "bare": "valkey-py GET"}[what] + (", audit log" if anchor else "")
    return _start(label, f"benchmarks.sides.valkey_{what}", url, *anchor, root=root)


def postgres_side(what: str, url: str, *anchor: str, root: Path = ROOT) -> Side:
    """Start `what` (native: session-tokens, by_hand: bare statements) on the PostgreSQL database at `url`.

    With a file for anchors, session-tokens keeps an audit log.
    """
    label = {"native": "SessionTokens", "by_hand": "psycopg by hand"}[what] + (", audit log" if anchor else "")
    return _start(label, f"benchmarks.sides.postgres_{what}", url, *anchor, root=root)


def flask_side(what: str, url: str) -> Side:
    """Start a Flask application whose sessions are `what` (session-tokens, near, none) on the Valkey server at `url`.

    With `wsgi` it has none, and our middleware of WSGI is around it.
    """
    label = {
        "session-tokens": "Flask, session-tokens", "near": "Flask, near cache",
        "none": "Flask, no sessions", "wsgi": "Flask, our WSGI middleware",
    }[what]  # fmt: skip
    return _start(label, "benchmarks.sides.flask_requests", what, url)


def asgi_side(what: str) -> Side:
    """Start an application of Starlette with our middleware around it (session-tokens), or with none."""
    label = {"session-tokens": "Starlette, our middleware", "none": "Starlette"}[what]
    return _start(label, "benchmarks.sides.asgi_requests", what)


def django_requests_side(what: str, way: str, url: str) -> Side:
    """Start a Django project whose sessions are `what` (session-tokens, db), called by `way` (wsgi, asgi)."""
    label = {"session-tokens": "Django, session-tokens", "db": "Django, its db sessions"}[what]
    return _start(label, "benchmarks.sides.django_requests", what, way, url)


def _start(label: str, module: str, *arguments: str, root: Path = ROOT, sources: Path | None = None) -> Side:
    paths = [str((sources or root) / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return Side(label, [sys.executable, "-m", module, *arguments], environment, root)
