"""Give out empty stores of each kind, on servers that are started for this and gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.helpers.servers.postgres import running_server
from tests.helpers.servers.valkey import ValkeyServer

NewStore = Callable[[], str]
"""Answers the URL of another empty store."""


@contextmanager
def _memory() -> Iterator[NewStore]:
    yield lambda: "memory://"


@contextmanager
def _sqlite() -> Iterator[NewStore]:
    with tempfile.TemporaryDirectory() as folder:
        names = iter(range(100))
        yield lambda: f"sqlite:///{Path(folder) / f'{next(names)}.db'}"


@contextmanager
def _valkey() -> Iterator[NewStore]:
    server = ValkeyServer()
    try:
        server.start()
        numbers = iter(range(16))
        yield lambda: f"{server.url.removesuffix('/0')}/{next(numbers)}?timeout=30"
    finally:
        server.remove()


@contextmanager
def _postgres() -> Iterator[NewStore]:
    with running_server() as server:
        yield lambda: f"{server.new_database()}?timeout=30"


NEW_STORES: dict[str, Callable[[], AbstractContextManager[NewStore]]] = {
    "memory": _memory, "sqlite": _sqlite, "valkey": _valkey, "postgres": _postgres,
}  # fmt: skip
