"""The tables under test: in memory, on SQLite, on real servers, and over an application's own DB in its forms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens import TokenTables
from session_tokens.tables.strings import TokenStrings
from tests.helpers.effort import PROVING, one_of
from tests.helpers.tables_on_servers import ON_SERVERS, Maker, ToldClock
from tests.helpers.user_dbs import AsyncDB, MixedDB, PlainDB

SERVERS = sorted({kind.partition("-")[0] for kind in ON_SERVERS})
"""A test has one of a server's two stores, for threads or for asyncio, and both when everything is proven."""
KINDS = (
    "memory", "sqlite-sealed", "sqlite-clear", *(ON_SERVERS if PROVING else SERVERS), "db", "async-db", "mixed-db",
    "two-dbs",
)  # fmt: skip


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture(params=KINDS)
def again(request: pytest.FixtureRequest, tmp_path: Path, clock: ToldClock) -> Iterator[Maker]:
    """Makes tables on the same data, as another process would; in memory always the same ones."""
    made: list[TokenTables] = []
    kind = str(request.param)
    if kind in SERVERS and not PROVING:
        kind = one_of([kind, f"{kind}-asyncio"], request.function.__name__)
    in_memory = TokenTables(clock=clock, sweep=False) if kind == "memory" else None
    on_server = ON_SERVERS[kind](clock) if kind in ON_SERVERS else None
    one = {"db": PlainDB, "async-db": AsyncDB, "mixed-db": MixedDB, "two-dbs": PlainDB}.get(kind, PlainDB)()
    other = AsyncDB()

    def make() -> TokenTables:
        if in_memory is not None:
            tables = in_memory
        elif on_server is not None:
            tables = on_server()
        elif kind.startswith("sqlite"):
            strings: TokenStrings = "sealed" if kind == "sqlite-sealed" else "clear"
            url = f"sqlite:///{tmp_path / 'tables.db'}"
            tables = TokenTables.open(url, token_strings=strings, clock=clock, sweep=False)
        elif kind == "two-dbs":
            tables = TokenTables(one, token_db=other, clock=clock, sweep=False)
        else:
            tables = TokenTables(one, clock=clock, sweep=False)
        made.append(tables)
        return tables

    yield make
    for tables in made:
        tables.shutdown()


@pytest.fixture
def tables(again: Maker) -> TokenTables:
    return again()
