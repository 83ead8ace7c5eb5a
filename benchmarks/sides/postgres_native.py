"""Measure `AsyncSessionTokens` and `SessionTokens` on a PostgreSQL server, as on a Valkey server."""

from __future__ import annotations

import sys

from benchmarks.sides.serving import serve
from benchmarks.sides.valkey_native import Measured


class OnPostgres(Measured):
    """The same sessions and tokens, on another server."""

    def __init__(self, url: str, anchor: str | None = None) -> None:
        super().__init__(url, anchor)
        self.url = f"{url}?timeout=30"


if __name__ == "__main__":
    side = OnPostgres(*sys.argv[1:])
    serve({"prepare": side.prepare, "time_operation": side.time_operation})
    side.close()
