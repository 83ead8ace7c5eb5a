"""The Valkey and Redis stores: two thin shells, for asyncio and for threads, over one codec and one function library.

Theory of operation. Reads of one turn of the event loop become one call of a read-only function, commits one call of
the commit function, which carries out each whole or not at all; see ``coalesce``, ``valkey_codec`` and
``lua/session_tokens_v1.lua``. The server's clock judges. Nothing depends on keys expiring: what is over is dead when
it is read, and a key's own time-to-live, a week beyond the deadline, only brings space back where nobody sweeps.

Durability. What a command answered is on the server; what the server can lose is a choice of its operator and URL:

- ``durability=fast`` (the default): what the server's persistence can lose. With ``appendonly yes`` and
  ``appendfsync everysec`` a crash of its machine loses about the last second, with ``always`` nothing; with snapshots
  alone everything since the last one. A fail-over to a replica loses what had not reached it.
- ``durability=replicated&replicas=n``: a command is answered only after n replicas have it in memory (``WAIT``), else
  ``StoreUnavailable``, its outcome unknown. A fail-over to one of those loses nothing; all of them crashing at once
  loses what persistence loses.

``min-replicas-to-write`` of the server is no such promise: it fences off a primary without replicas.

What is lost is lost as a whole command; a session that was ended within the time lost is alive again, and no store on
such a server can prevent that. Where this matters use ``appendfsync always``.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Generator, Sequence
from importlib import import_module
from typing import Any, TypeVar

from ...contract.coalesce import Batch, Coalescer, CoalescingStore
from ...contract.optimistic import BlockingOptimisticStore, Commit
from ...contract.queries import Key, Query, Result, Snapshot
from ...contract.transaction import Rule
from ...crypto.key_file import given_keyring
from ...crypto.minting import Pepper, PepperKeyring
from ...errors import InvalidInput, StoreError, StoreUnavailable
from ...events import Listeners
from ...records import OwnerEntry, Session, Token
from ..common.copying import Dump
from ..common.retry import Full, NotExecuted
from .check import Problem, Progress, checking
from .connections import AsyncConnections, BlockingConnections, Moved, Pool, pack
from .dump import dumping
from .errors import LibraryLost, NotReached
from .exchanges import ValkeyCore, stray
from .key_chains import Path
from .key_chains import packed as packed_chains
from .keys import PEPPERS
from .rows import Reply
from .schema import Address, Exchange, preparing

T = TypeVar("T")

DRIVERS = ("valkey", "redis")


class ValkeyStore(CoalescingStore):
    """Sessions and tokens on one Valkey or Redis server, for asyncio: one event loop, any number of tasks.

    Made by ``open_valkey``.
    """

    def __init__(self, address: Address, pool: Pool, keyring: PepperKeyring, space: str) -> None:
        super().__init__()
        self._core = ValkeyCore(address, keyring, space)
        self.keyring = keyring
        self.clock = self._core.clock
        self.listeners = Listeners()
        self.unreadables = self._core.codec.unreadables
        codec = self._core.codec
        self._connections = AsyncConnections(pool, codec.last_stamp_key, codec.record_cache.drop, address.replicas)
        self._closed = False
        self._paths = codec.paths
        self._known: Coalescer[Sequence[Path], Snapshot | None] = Coalescer(self._carry_known)

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Run a rule atomically: on what was seen lately, and where that is not what is there, on what is read."""
        record_cache = self._core.codec.record_cache
        cached_run = record_cache.cached_run(rule, args)
        if cached_run is not None:
            answer, commit = cached_run
            if await self._commits.ask(commit):
                record_cache.was_right()
                self.listeners.tell(commit.changes.notes, commit.now)
                return answer
            record_cache.was_wrong()
            self.conflicts += 1
        return await super().run(rule, *args)

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant; over ways that are known all in one plain command.

        What is as it was when it was last looked at is not taken apart again. Commands ``read``, so that what they
        rest on is remembered for their next run.
        """
        paths = self._paths.of(queries) if queries else None
        if paths is not None:
            snapshot = await self._known.ask(paths)
            if snapshot is not None and not stray(queries, snapshot.found):
                return snapshot
        return await self.read(queries)

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry; a forged or torn record is no session."""
        path = self._paths.of_one("S:", lookups)
        if path is not None:  # as ``look``, on the way of every verification
            snapshot = await self._known.ask(path.itself)
            if snapshot is not None:
                session, entry = snapshot.found[0].value
                if session is not None:
                    return snapshot.now, session, entry
        return await super().find_session(lookups)

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and entry; a forged or torn record is no token."""
        path = self._paths.of_one("T:", lookups)
        if path is not None:
            snapshot = await self._known.ask(path.itself)
            if snapshot is not None and snapshot.found[0].value.token is not None:
                return (snapshot.now, *snapshot.found[0].value.followed())
        return await super().find_token(lookups)

    async def _carry_known(self, asked: Sequence[Sequence[Path]]) -> Sequence[Snapshot | None]:
        paths = asked[0] if len(asked) == 1 else [*dict.fromkeys([path for ways in asked for path in ways])]
        values, time = await self._ask(packed_chains(paths), 2, idempotent=True)
        return self._core.known(asked, paths, values, time)

    async def read_batch(self, queries: Sequence[Query]) -> Batch:
        """Return the results of all queries as of one instant, in one round trip."""
        steps = self._core.reading(queries)
        try:
            packed, replies = next(steps)
            while True:
                packed, replies = steps.send(await self._ask(packed, replies, idempotent=True))
        except StopIteration as stop:
            batch: Batch = stop.value
            return batch

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
        steps = self._core.committing(commits, though_full=though_full)
        packed, replies = next(steps)
        try:
            steps.send(await self._ask(packed, replies, idempotent=False))
        except Moved:
            return [False] * len(commits)
        except StopIteration as stop:
            written: list[bool] = stop.value
            return written
        raise AssertionError("a commit is one exchange")

    async def due(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), longest due first."""
        return self._core.keys((await self._ask(self._core.due_packed(now, limit), 1, idempotent=True))[0])

    async def check(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Problem]:
        """Compare indexes and links with the records; ``fix`` mends these, and sets aside records that cannot be read.

        Reads everything, in small steps; commands may go on meanwhile.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        steps = checking(self._core.codec, fix, progress)
        try:
            words = next(steps)
            while True:
                words = steps.send((await self._ask(pack(words), 1, idempotent=True))[0])
        except StopIteration as stop:
            problems: list[Problem] = stop.value
            return problems

    async def close(self) -> None:
        """Wait for what is under way and close the connections; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            await self._known.close()
            await self.close_queues()
            await self._connections.close()

    async def _ask(self, packed: bytes, replies: int, *, idempotent: bool) -> list[Reply]:
        if self._closed and idempotent:
            raise StoreUnavailable("the store is closed; open it again")

        return await self._core.retrying.ask(self._exchange, packed, replies, idempotent, idempotent=idempotent)

    async def _exchange(self, left_s: float, packed: bytes, replies: int, is_read: bool) -> list[Reply]:
        try:
            return await self._connections.exchange(packed, replies, left_s, is_read=is_read)
        except LibraryLost as lost:
            await self._drive(preparing(self._core.codec, self._core.keyring), left_s)
            raise NotExecuted(str(lost)) from lost

    async def _drive(self, steps: Exchange, timeout_s: float) -> None:
        try:
            words = next(steps)
            while True:
                try:
                    (reply,) = await self._connections.exchange(pack(words), 1, timeout_s, is_read=True)
                except StoreError as error:
                    words = steps.throw(error)
                else:
                    words = steps.send(reply)
        except StopIteration:
            return

    async def _prepare(self) -> None:
        try:
            await self._drive(preparing(self._core.codec, self._core.keyring), self._core.retrying.policy.timeout_s)
        except NotReached as error:
            await self._connections.close()
            why: str | None = await to_thread(self._connections.why_not_reached)
            raise NotExecuted(why or str(error)) from error
        except BaseException:
            await self._connections.close()
            raise


class BlockingValkeyStore(BlockingOptimisticStore):
    """Sessions and tokens on one Valkey or Redis server, for threads: each call has a connection to itself.

    Made by ``open_valkey_blocking``.
    """

    def __init__(self, address: Address, pool: Pool, keyring: PepperKeyring, space: str) -> None:
        self._core = ValkeyCore(address, keyring, space)
        self.keyring = keyring
        self.clock = self._core.clock
        self.listeners = Listeners()
        codec = self._core.codec
        self.unreadables = codec.unreadables
        self._connections = BlockingConnections(
            pool, codec.last_stamp_key, codec.record_cache.drop, address.replicas, address.policy.timeout_s
        )
        self._closed = False

    def run_now(self, rule: Rule[T], *args: object) -> T:
        """Run a rule atomically; see ``ValkeyStore.run``."""
        record_cache = self._core.codec.record_cache
        cached_run = record_cache.cached_run(rule, args)
        if cached_run is not None:
            answer, commit = cached_run
            if self.commit_now(commit):
                record_cache.was_right()
                self.listeners.tell(commit.changes.notes, commit.now)
                return answer
            record_cache.was_wrong()
            self.conflicts += 1
        return super().run_now(rule, *args)

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant, in one round trip."""
        now, found = self._read_batch(queries)
        answers: list[Result] = []
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return Snapshot(now, answers)

    def look_now(self, queries: Sequence[Query]) -> Snapshot:
        """As ``ValkeyStore.look``."""
        paths = self._core.codec.paths.of(queries) if queries else None
        if paths is not None:
            values, time = self._ask(packed_chains(paths), 2, idempotent=True)
            (snapshot,) = self._core.known([paths], paths, values, time)
            if snapshot is not None and not stray(queries, snapshot.found):
                return snapshot
        return self.read_now(queries)

    def _read_batch(self, queries: Sequence[Query]) -> Batch:
        steps = self._core.reading(queries)
        try:
            packed, replies = next(steps)
            while True:
                packed, replies = steps.send(self._ask(packed, replies, idempotent=True))
        except StopIteration as stop:
            batch: Batch = stop.value
            return batch

    def commit_now(self, commit: Commit) -> bool:
        """Write all changes if every stamp is as given and it is not too late, in one round trip."""
        try:
            return self._committed(commit, though_full=False)
        except Full:
            if not commit.changes.only_ends:
                raise
            return self._committed(commit, though_full=True)

    def _committed(self, commit: Commit, *, though_full: bool) -> bool:
        steps = self._core.committing([commit], though_full=though_full)
        packed, replies = next(steps)
        try:
            steps.send(self._ask(packed, replies, idempotent=False))
        except Moved:
            return False
        except StopIteration as stop:
            written: bool = stop.value[0]
            return written
        raise AssertionError("a commit is one exchange")

    def due_now(self, now: int, limit: int) -> Sequence[Key]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), longest due first."""
        return self._core.keys(self._ask(self._core.due_packed(now, limit), 1, idempotent=True)[0])

    def check_now(self, *, fix: bool = False, progress: Progress | None = None) -> Sequence[Problem]:
        """Compare indexes and links with the records; see ``ValkeyStore.check``."""
        return self.driven(checking(self._core.codec, fix, progress))

    def dump_now(self, kind: str, after: str, limit: int) -> Dump:
        """Return a batch of all records of a kind; see ``copying.Copyable``."""
        return self.driven(dumping(self._core.codec, kind, after, limit))

    def driven(self, steps: Generator[list[bytes], Reply, T]) -> T:
        """Ask one question after another, each of which may be asked twice; return what the last step answers."""
        try:
            words = next(steps)
            while True:
                words = steps.send(self._ask(pack(words), 1, idempotent=True)[0])
        except StopIteration as stop:
            answer: T = stop.value
            return answer

    def close_now(self) -> None:
        """Close the connections; calling it again does nothing."""
        self._closed = True
        self._connections.close()

    def _ask(self, packed: bytes, replies: int, *, idempotent: bool) -> list[Reply]:
        if self._closed:
            raise StoreUnavailable("the store is closed; open it again")

        return self._core.retrying.ask_now(self._exchange, packed, replies, idempotent, idempotent=idempotent)

    def _exchange(self, left_s: float, packed: bytes, replies: int, is_read: bool) -> list[Reply]:
        try:
            return self._connections.exchange(packed, replies, is_read=is_read)
        except LibraryLost as lost:
            self._drive(preparing(self._core.codec, self._core.keyring))
            raise NotExecuted(str(lost)) from lost

    def _drive(self, steps: Exchange) -> None:
        try:
            words = next(steps)
            while True:
                try:
                    (reply,) = self._connections.exchange(pack(words), 1, is_read=True)
                except StoreError as error:
                    words = steps.throw(error)
                else:
                    words = steps.send(reply)
        except StopIteration:
            return

    def first(self, steps: Exchange) -> None:
        """Ask what is asked first; a server that is not reached is looked at closely."""
        try:
            self._drive(steps)
        except NotReached as error:
            self._connections.close()
            raise NotExecuted(self._connections.why_not_reached() or str(error)) from error
        except BaseException:
            self._connections.close()
            raise


async def open_valkey(url: str = "", *, pepper: Pepper | None, space: str = "", client: Any = None) -> ValkeyStore:
    """Open the store on the Valkey or Redis server that a URL names, for asyncio.

    Args:
        url: ``valkey://user:password@host:port/db`` (also ``valkeys://``, ``redis://``, ``rediss://``,
            ``valkey+unix:///path``), with ``?timeout=`` (seconds, default 1), ``durability=fast`` or ``replicated``,
            ``replicas=``, ``namespace=`` (what key names begin with, default ``st``) and the driver's own options.
        pepper: at least 32 bytes, or key id → bytes of which the first is the current one. It is kept apart from the
            server: whoever holds only one of them can do nothing.
        space: a name space beside the main one: keys of its own.
        client: an existing ``valkey.asyncio.Valkey`` or ``redis.asyncio.Redis`` instead of the address in the URL. The
            store makes connections as the client does, and leaves the client's own alone.

    Raises:
        InvalidInput: no pepper, a wrong one, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached, or refuses user or password.
        StoreError: the server is too old, would evict keys, or holds another text of the function library.
    """
    address = Address(url)
    keyring = given_keyring(pepper, "Valkey")
    pool = _pool_of(client, "asyncio") if client is not None else _pool_of_url(address, ".asyncio")
    store = ValkeyStore(address, pool, keyring, space)
    await store._prepare()
    return store


def open_valkey_blocking(
    url: str = "", *, pepper: Pepper | None, space: str = "", client: Any = None
) -> BlockingValkeyStore:
    """As ``open_valkey``, for threads; ``client`` is then a ``valkey.Valkey`` or ``redis.Redis``."""
    address = Address(url)
    keyring = given_keyring(pepper, "Valkey")
    pool = _pool_of(client, "") if client is not None else _pool_of_url(address, "")
    store = BlockingValkeyStore(address, pool, keyring, space)
    store.first(preparing(store._core.codec, keyring))
    return store


def is_there(url: str, space: str = "") -> bool:
    """Whether a server holds a name space's records; makes nothing.

    Raises:
        InvalidInput: no pepper, or a URL that can never be right.
        StoreUnavailable: the server cannot be reached, or refuses user or password.
    """
    address = Address(url)
    store = BlockingValkeyStore(address, _pool_of_url(address, ""), given_keyring(None, "Valkey"), space)
    peppers: list[Reply] = []

    def asking() -> Exchange:
        peppers.append((yield [b"HGETALL", store._core.codec.prefix + PEPPERS]))

    store.first(asking())
    store.close_now()
    return any(peppers)


def _pool_of(client: Any, kind: str) -> Pool:
    """Return how a client makes its connections."""
    pool: Pool | None = getattr(client, "connection_pool", None)
    if pool is None or ("asyncio" in type(pool).__module__.split(".")) != (kind == "asyncio"):
        module = f"valkey.{kind}" if kind else "valkey"
        raise TypeError(
            f"client is a {module}.Valkey or the like, not {type(client).__module__}.{type(client).__name__}"
        )
    return pool


def _pool_of_url(address: Address, submodule: str) -> Pool:
    """Return a pool of the driver that is installed, for an address."""
    for scheme in DRIVERS:
        try:
            driver = import_module(scheme + submodule)
        except ImportError:
            continue
        try:
            pool: Pool = driver.ConnectionPool.from_url(address.driver_url(scheme))
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError) as error:
            raise InvalidInput(
                f"the driver does not take the store's URL or its options ({type(error).__name__})"
            ) from None
        return pool
    raise InvalidInput("a valkey:// or redis:// store needs its driver: pip install 'session-tokens[valkey]'")
