"""The Valkey and Redis store for asyncio; see ``store``."""

from __future__ import annotations

import time
from asyncio import wrap_future
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import TypeVar

from ...contract.batch import Batch
from ...contract.coalesce import SHARE_FROM, Coalescer
from ...contract.coalescing import CoalescingStore
from ...contract.drive import drive
from ...contract.event_log import LogRead
from ...contract.near_cache import NearCache
from ...contract.optimistic import Commit
from ...contract.queries import DueRecord, Get, Query, Snapshot, is_lost
from ...contract.threads import in_thread
from ...crypto.minting import PepperKeyring
from ...errors import InvalidInput, StoreUnavailable
from ...events import Event, Listeners, Place
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.findings import Finding, Progress
from ..common.pepper_records import Mark
from ..common.retry import Full
from .async_connections import AsyncConnections
from .check import checking, in_small_steps
from .connections import Moved, Steps
from .dump import clearing, counting, dumping
from .event_log import log_read, read_words, rewriting, trim_words
from .exchanges import IN_USE, Seen, ValkeyCore, snapshots_on
from .key_chains import KeyChain
from .key_chains import packed as packed_chains
from .keys import NAMES, PEPPERS
from .packing import fields_of, pack
from .primaries import DriverPool
from .rows import Reply
from .schema import Address, evicting, forgetting, marking, preparing
from .tracking import Tracking, tracking_of

T = TypeVar("T")


class ValkeyStore(CoalescingStore):
    """Sessions and tokens on one Valkey or Redis server, for asyncio: one event loop, any number of tasks.

    Made by ``open_valkey``.

    Attributes:
        tracked_pool: returns how blocking connections to the server are made, which a near cache follows it over.
    """

    keeps_events = True
    tracked_pool: Callable[[], DriverPool] | None = None
    _tracking: Tracking | None = None

    def __init__(self, address: Address, pool: DriverPool, keyring: PepperKeyring, space: str) -> None:
        super().__init__()
        self._address = address
        self._core = ValkeyCore(address, keyring, space)
        self.keyring = keyring
        self.clock = self._core.clock
        self.listeners = Listeners()
        self.unreadables = self._core.codec.unreadables
        codec = self._core.codec
        self.record_cache = codec.record_cache
        self._connections = AsyncConnections(
            pool,
            address.primary(pool, codec.last_stamp_key),
            codec.last_stamp_key,
            partial(preparing, codec, keyring, address.replicas),
            self._moved,
            address.replicas,
            address.policy.timeout_s,
        )
        self._paths = codec.paths
        self._retrying = self._core.retrying
        self._closed = False
        home = self._home
        self._chains: Coalescer[KeyChain, Seen | None] = Coalescer(
            self._carry_chains, alone=self._carry_chain, home=home
        )
        self._followed_chains: Coalescer[KeyChain, Seen | None] = Coalescer(self._carry_followed_chains, home=home)
        self._unseen: Coalescer[Query, Seen | None] = Coalescer(self._carry_unseen, share_from=SHARE_FROM, home=home)
        self._chains_together: Coalescer[Sequence[KeyChain], Snapshot | None] = Coalescer(
            self._carry_together, home=home
        )

    def begin_near_cache(self, bound_s: float) -> None:
        """Keep what verifications find, and follow what changes of it over a connection of its own.

        Raises:
            InvalidInput: the store was made with a client, which tells nobody how it connects.
        """
        if self.tracked_pool is None:
            raise InvalidInput("a near cache needs a store that was opened by its URL, without client=")
        self.near_cache = NearCache(NAMES, self.clock.now, bound_s)
        self._tracking = tracking_of(
            self._address, self.tracked_pool(), self._core.codec, self.near_cache, self._core.clock.heard
        )
        self._tracking.start()

    def _moved(self) -> None:
        """Forget what was said by another run of a server than the one to which the address leads now."""
        self._core.codec.record_cache.drop()
        if self.near_cache is not None:
            self.near_cache.drop()

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant; over chains that are known all in one plain command.

        What is as it was when it was last read is not decoded again. Commands ``read``, so that what they
        rest on is remembered for their next run.
        """
        paths = self._paths.of(queries) if queries else None
        if paths is not None:
            snapshot = await self._chains_together.ask(paths)
            if snapshot is not None:
                return snapshot
        now, (*found, in_use) = await self.read([*queries, IN_USE])
        if is_lost(queries, found):
            self._core.insist(in_use)
        return Snapshot(now, found)

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        near = self.near_cache
        reading = None if near is None else near.begin_session(lookups[0])
        path = self._paths.of_one("S:", lookups)
        # As ``look``, on the way of every verification.
        chains = self._chains if reading is None or not reading.is_followed else self._followed_chains
        seen = None if path is None else await chains.ask(path)
        if seen is None:
            seen = await self._unseen.ask(Get("session_lookup", lookups[0], tuple(lookups[1:])))
            if seen is None:
                return await super().find_session(lookups)
        now, answer = seen
        if near is not None and reading is not None:
            near.keep_session(reading, lookups[0], answer.value)
        session, entry = answer.value
        return now, session, entry

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and entry; a forged or torn record is no token."""
        near = self.near_cache
        reading = None if near is None else near.begin_token(lookups[0])
        path = self._paths.of_one("T:", lookups)
        chains = self._chains if reading is None or not reading.is_followed else self._followed_chains
        seen = None if path is None else await chains.ask(path)
        if seen is None:
            seen = await self._unseen.ask(Get("token_lookup", lookups[0], tuple(lookups[1:])))
            if seen is None:
                return await super().find_token(lookups)
        now, answer = seen
        if near is not None and reading is not None:
            near.keep_token(reading, lookups[0], answer.value)
        token, session, entry, heir = answer.value
        return (now, token, session, entry) if heir is None else (now, *answer.value.followed())

    async def _carry_unseen(self, asked: Sequence[Query]) -> Sequence[Seen | Exception | None]:
        each = asked if len(asked) == 1 else [*dict.fromkeys(asked)]
        ask = self._ask if self._tracking is None else self._ask_tracked
        reply, _ = await ask(self._core.asked_first(each), 1, self._connections.probe)
        return self._core.seen_first(asked, each, reply)

    async def _carry_together(self, asked: Sequence[Sequence[KeyChain]]) -> Sequence[Snapshot | None]:
        seen = await self._carry_chains([path for chains in asked for path in chains])
        return snapshots_on(map(len, asked), seen)

    async def _carry_chain(self, path: KeyChain) -> Seen | None:
        to = self._connections  # as ``_ask``
        values, now = await self._retrying.ask(to.ask, path.alone, 1, to.timed_probe, idempotent=True)
        return self._core.seen_alone(path, values, now)

    async def _carry_chains(self, asked: Sequence[KeyChain]) -> Sequence[Seen | None]:
        each = [*dict.fromkeys(asked)]
        values, now = await self._ask(packed_chains(each), 1, self._connections.timed_probe)
        return self._core.seen_on(asked, each, values, now)

    async def _carry_followed_chains(self, asked: Sequence[KeyChain]) -> Sequence[Seen | None]:
        each = [*dict.fromkeys(asked)]
        values, now = await self._ask_tracked(packed_chains(each), 1, self._connections.timed_probe)
        return self._core.seen_on(asked, each, values, now)

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of all queries as of one instant, in one round trip."""
        return await drive(self._core.reading(queries), self._ask_to_read)

    async def commit_batch(self, commits: Sequence[Commit]) -> Sequence[bool | Exception]:
        """Carry out commits one after another in one round trip, each whole or not at all."""
        try:
            return await self._committed(commits, though_full=False)
        except Full as full:
            ends = [commit for commit in commits if commit.changes.only_ends]
            if not ends:
                raise
            written = iter(await self._committed(ends, though_full=True))
            return [next(written) if commit.changes.only_ends else full for commit in commits]

    async def _committed(self, commits: Sequence[Commit], *, though_full: bool) -> list[bool]:
        try:
            return await drive(self._core.committing(commits, though_full=though_full), self._ask_to_write)
        except Moved:
            return [False] * len(commits)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), longest due first."""
        return self._core.keys(await self._ask_once(self._core.due_words(now, limit)))

    async def due_in_turn(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due``; nothing while another process is sweeping."""
        return self._core.keys(await self._ask_once(self._core.due_words(now, limit, in_turn=True)))

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place, in one round trip."""
        codec = self._core.codec
        return log_read(codec, await self._ask_once(read_words(codec, after, limit)), after, limit)

    async def trim_events(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        return int(await self._ask_once(trim_words(self._core.codec, keep)))

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were."""
        return await self.driven(rewriting(self._core.codec, change))

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Finding]:
        """Compare indexes and links with the records; ``fix`` mends these, and sets aside records that cannot be read.

        Reads everything, in small steps; commands may go on meanwhile.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        return await self._read_through(in_small_steps(checking(self._core.codec, fix, progress)))

    async def dump(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        run, _, cursor = after.rpartition(" ")
        dump = await self._read_through(dumping(self._core.codec, kind, cursor, limit), run)
        return dump if dump.after is None else dump._replace(after=f"{self._connections.run} {dump.after}")

    async def count(self) -> int:
        """Return how many records there are in the name space; about, where others write meanwhile."""
        return await self._read_through(counting(self._core.codec))

    async def clear(self) -> None:
        """Delete every key of the name space; the mark of a copy goes last, so that this can be begun again."""
        await self._read_through(clearing(self._core.codec))

    async def pepper_marks(self) -> dict[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        return await self.driven(marking(self._core.codec))

    async def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        await self.driven(forgetting(self._core.codec, key_id))

    async def driven(self, steps: Generator[list[bytes], Reply, T]) -> T:
        """Ask one question after another, each of which may be asked twice; return what the last step returns."""
        return await drive(steps, self._ask_once)

    async def _read_through(self, steps: Generator[list[bytes], Reply, T], run: str = "") -> T:
        """As ``driven``, for what has places that hold on one server alone: those of ``SCAN``.

        Args:
            steps: yields what to ask.
            run: of the server on which this was begun, if it was.

        Raises:
            StoreUnavailable: another one is the primary by now.
        """

        async def ask(words: list[bytes]) -> Reply:
            nonlocal run
            reply = await self._ask_once(words)
            run = run or self._connections.run
            if run != self._connections.run:
                raise StoreUnavailable("another server became the primary while this one was read through; begin again")
            return reply

        return await drive(steps, ask)

    async def open(self) -> None:
        """Make sure that the server can hold the store; why a server is not reached is found out.

        Raises:
            StoreUnavailable: it cannot be reached.
            StoreError: it cannot hold the store.
            InvalidInput: a pepper is missing, or another one.
        """
        core = self._core
        await self._connections.carry_out_first(partial(preparing, core.codec, core.keyring, core.replicas))
        await self._connections.look_around()

    async def misgiving(self) -> str | None:
        """Return what is said of a server that throws keys away by now; one that did when it was opened is refused."""
        return evicting(fields_of(await self._ask_once([b"INFO", b"memory"])))

    async def is_there(self) -> bool:
        """Whether the server holds the records of the name space; makes nothing."""
        counted: list[Reply] = []

        def asking() -> Steps:
            codec = self._core.codec
            counted.append((yield [b"EXISTS", codec.prefix + PEPPERS, codec.last_stamp_key]))

        await self._connections.carry_out_first(asking)
        return any(counted)

    async def close(self) -> None:
        """Wait for what is under way and close the connections; calling it again does nothing."""
        self._closed = True
        if self._tracking is not None:
            await in_thread(self._tracking.stop)
        await self._chains.close()
        await self._followed_chains.close()
        await self._unseen.close()
        await self._chains_together.close()
        await self.close_queues()
        await self._connections.close_all()

    async def _ask_tracked(self, packed: bytes, replies: int, probe: bytes) -> list[Reply]:
        """Ask over the connection whose reads are tracked, where there is one."""
        until_s = time.monotonic() + self._address.policy.timeout_s
        asked = None if self._tracking is None else self._tracking.ask((packed,), probe)
        answers = None if asked is None else await wrap_future(asked)
        if answers is not None:
            return answers
        if time.monotonic() >= until_s:
            raise StoreUnavailable("the server did not answer in time")
        return await self._ask(packed, replies, probe, until_s)

    def _ask(self, packed: bytes, replies: int, probe: bytes, until_s: float | None = None) -> Awaitable[list[Reply]]:
        if self._closed and probe:
            raise StoreUnavailable("the store is closed; open it again")
        ask, is_read = self._connections.ask, bool(probe)
        return self._retrying.ask(ask, packed, replies, probe, idempotent=is_read, until_s=until_s)

    def _ask_to_read(self, step: tuple[bytes, bool]) -> Awaitable[list[Reply]]:
        packed, timed = step
        return self._ask(packed, 1, self._connections.timed_probe if timed else self._connections.probe)

    def _ask_to_write(self, step: tuple[bytes, int]) -> Awaitable[list[Reply]]:
        return self._ask(*step, b"")

    async def _ask_once(self, words: list[bytes]) -> Reply:
        return (await self._ask(pack(words), 1, self._connections.probe))[0]
