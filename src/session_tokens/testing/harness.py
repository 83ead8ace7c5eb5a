"""What the checks of the conformance suite stand on: how a store is opened, how time passes, who runs side by side.

Nothing here needs pytest: a check is a method ``test_…`` of a class, to be collected by pytest or, mixed with
``unittest.TestCase``, by unittest.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from .._async.api import AsyncSessionTokens
from ..clock import ManualClock
from ..contract.queries import Query
from ..contract.store import BlockingStore, Store
from ..errors import SessionTokensError
from ..settings import Settings

T = TypeVar("T")
B = TypeVar("B", bound="StoreBench")

NO_CAP = Settings(max_sessions=None)


def check(test: Callable[[B], Coroutine[Any, Any, None]]) -> Callable[[B], None]:
    """Make a plain test method of a coroutine: it runs on a loop of its own, and what it opened is closed."""

    @functools.wraps(test)
    def run(self: B) -> None:
        asyncio.run(_run(self, test))

    del run.__dict__["__wrapped__"]  # collectors should see a plain function
    return run


async def _run(bench: B, test: Callable[[B], Coroutine[Any, Any, None]]) -> None:
    bench.opened = []
    try:
        bench.store = await bench.another_store()
        bench.tokens = await bench.api(bench.store, NO_CAP)
        await test(bench)
    finally:
        for store in bench.opened:
            await store.close()


class StoreBench:
    """The hooks, and what each check finds ready.

    Attributes:
        clock_is_manual: whether the store's time is that of ``self.clock``; servers keep their own.
        opens_again: whether a second ``open_store`` in one test opens the same records, as it does unless the
            records live and die with the object.
        store: an empty store, opened for this check.
        tokens: the API on it, without a cap on sessions and without a sweeper.
        opened: the stores to close after the check.
    """

    clock_is_manual: ClassVar[bool] = True
    opens_again: ClassVar[bool] = True

    store: Store
    tokens: AsyncSessionTokens
    opened: list[Store]

    async def open_store(self) -> Store:
        """Open the store of this test: empty at the first call, the same records at later ones."""
        return self.open_store_now()

    def open_store_now(self) -> BlockingStore:
        """As ``open_store``, for stores that never wait on an event loop."""
        raise NotImplementedError("say how your store is opened: write open_store(), or open_store_now()")

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        """Change a stored record behind the back of every open store, so that it can be read no more; its stamp too.

        Only for stores whose records outlive them.

        Args:
            kind: ``session`` or ``token``.
            id: of the record.
            key_id: change it as if it had been written under a pepper of this id.
        """
        raise NotImplementedError("say how a record of your store is damaged from outside: write damage()")

    def damage_all(self, kind: str) -> None:
        """As ``damage``, all records of a kind."""
        raise NotImplementedError("say how the records of your store are damaged from outside: write damage_all()")

    async def api(self, store: Store, settings: Settings) -> AsyncSessionTokens:
        """Return the API on a store; another one than the library's own, such as a client's, takes the same checks."""
        return AsyncSessionTokens(store, settings)

    @functools.cached_property
    def clock(self) -> ManualClock:
        """The clock of this test; give it to the store unless ``clock_is_manual`` is ``False``."""
        return ManualClock()

    @property
    def moment_s(self) -> float:
        """A timeout that a check can wait out: a minute by hand, a fraction of a second on a server's clock."""
        return 60.0 if self.clock_is_manual else 0.4

    async def another_store(self) -> Store:
        """Open one more handle; it is closed after the check."""
        store = await self.open_store()
        self.opened.append(store)
        return store

    async def another(self, settings: Settings = NO_CAP) -> AsyncSessionTokens:
        """Return the API on the same records: on a handle of its own where the store has such."""
        return await self.api(await self.another_store() if self.opens_again else self.store, settings)

    async def pass_moment(self) -> None:
        """Let a little more than ``moment_s`` pass."""
        if self.clock_is_manual:
            self.clock.advance(self.moment_s + 0.001)
        else:
            await asyncio.sleep(self.moment_s + 0.1)

    async def now(self) -> int:
        """Return the instant on the store's clock."""
        now, _ = await self.store.read([])
        return now

    async def ask(self, query: Query) -> Any:
        """Return what the store answers to one query."""
        _, found = await self.store.read([query])
        return found[0].value


@contextmanager
def refused(error: type[BaseException]) -> Iterator[None]:
    """Accept a block only if it raises ``error``."""
    try:
        yield
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


async def outcomes(calls: Sequence[Awaitable[T]]) -> tuple[list[T], list[SessionTokensError]]:
    """Do all at once; return what was answered, and what was refused. Other errors are raised."""
    answers: list[T] = []
    refusals: list[SessionTokensError] = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, SessionTokensError):
            refusals.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            answers.append(outcome)
    return answers, refusals


def in_order(records: Sequence[Any]) -> bool:
    """Whether records stand in the order of every listing: created_at, then id."""
    places = [(record.created_at, record.id) for record in records]
    return places == sorted(places)


def checks_of(suite: type) -> list[str]:
    """Return the names of a suite's checks."""
    return [name for name, _ in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")]
