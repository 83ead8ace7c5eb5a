"""The contract of a store: what keeps records and commits change sets.

A store keeps records and commits change sets; it knows stamps, not rules. To write one, subclass ``Store`` (or
``BlockingStore`` when nothing in it ever waits on an event loop) and run the suite of ``session_tokens.testing``:

- ``read(queries)``: return all results as of one instant, in ONE round trip, each with the stamps of what
  it was made of.
- ``run(rule, *args)``: run the rule atomically. Either under the store's own lock, or read ahead, run, commit if no
  stamp moved, and else run again: ``optimistic.OptimisticStore`` does the latter and leaves ``commit`` to you. Either
  way the last step before a change set is written is to compare the store's own clock with ``Changes.not_after``, under
  the locks: at or after it nothing is written and the rule is run again, so that nothing dead is written alive.
- ``due(now, limit)``: what the sweeper should look at.
- ``read_events``, ``trim_events`` and ``rewrite_events``, if it can keep events (``keeps_events``,
  ``contract.event_log``): then each commit writes its ``Changes.events`` too.
- ``dump(kind, after, limit)``: all records of a kind, batch by batch: renaming and forgetting an owner ask for it.
- ``close()``: idempotent.

A record that cannot be read stops nothing but itself: who asks for it by its id or look-up key gets the error, lists
and sets leave it out and name it in ``Result.unreadable``, and report it to ``unreadables``.

``read`` sees everything whose ``run`` has returned, on every process: each command is atomic and linearizable.
A store that cannot do what is asked raises ``StoreUnavailable``; it never answers less.
"""

from __future__ import annotations

import time
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from ..clock import Clock
from ..compiler_hints import mypyc_attr
from ..crypto.minting import Keyring
from ..crypto.sealing import named_key
from ..errors import UNREADABLE, InvalidInput, StoreUnavailable, UnknownPepper
from ..events import Event, Listeners, Place
from ..records import OwnerEntry, Session, Token
from .brief import awaited_within, done_within
from .event_log import EVENT_POLL_S, LogRead
from .near_cache import NearCache
from .partitioning import ONE_PLACE, Partitioning
from .queries import DueRecord, Get, Query, Scan, Snapshot, TokenResult, is_lost
from .transaction import Rule
from .unreadable import Unreadables

T = TypeVar("T")


@mypyc_attr(allow_interpreted_subclasses=True)
class Store(metaclass=ABCMeta):
    """What keeps the records.

    Attributes:
        blocking: whether the store never waits on an event loop (it is a ``BlockingStore``).
        side_by_side: whether commands on different records are carried out side by side; else one after another.
        durable: whether records outlive the process.
        keeps_events: whether the store can write events in the commit of the changes that they describe.
        clock: the store's clock, or this host's best estimate of it; records compute their time left by it.
        keyring: how this store looks secrets up.
        listeners: the callbacks of this process, called after each commit made through this object, and whether the
            store keeps events.
        unreadables: gets each record that is left out of a list or set because it cannot be read.
        near_cache: what verifications found lately, once it was begun.
        partitioning: names the partitions in which ids and secrets are minted.
    """

    blocking: ClassVar[bool] = False
    side_by_side: ClassVar[bool] = False
    durable: ClassVar[bool] = True
    keeps_events: ClassVar[bool] = False
    clock: Clock
    keyring: Keyring
    listeners: Listeners
    unreadables: Unreadables
    near_cache: NearCache | None = None
    partitioning: Partitioning = ONE_PLACE

    def partition_of(self, rule: Rule[Any], args: tuple[object, ...]) -> int | None:
        """Return the partition in which a rule with these arguments mostly commits; ``None`` where there are none."""
        return None

    def begin_near_cache(self, bound_s: float) -> None:
        """Keep what verifications find in this process, so that an answer is at most ``bound_s`` seconds old.

        A store in this process, or in a file, is near already and does nothing.

        Raises:
            InvalidInput: nobody can follow what changes in this store.
        """
        del bound_s

    @abstractmethod
    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant, in one round trip.

        Raises:
            StoreUnavailable: the store cannot be asked.
            CorruptRecord: a record that was asked for is not as it was written.
            UnknownPepper: it was written under a pepper that was not given.
        """

    @abstractmethod
    async def run(self, rule: Rule[T], *args: object) -> T:
        """Run a rule atomically and return what it answers; what it raises leaves everything as it was.

        Raises:
            StoreUnavailable: the store cannot be asked; the outcome may be unknown.
            StoreBusy: others changed the same records first, each time.
        """

    async def run_within(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """As ``run``, but wait for it ``patience_s`` seconds at the most; it goes on by itself then.

        Raises:
            StoreBusy: it is not done by then.
        """
        return await awaited_within(patience_s, self.run(rule, *args))

    @abstractmethod
    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return at most ``limit`` keys of what should be swept at ``now`` (milliseconds), longest due first."""

    async def due_in_turn(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due``, for a sweeper in the background: a store may leave out what another process is sweeping."""
        return await self.due(now, limit)

    async def ready(self) -> None:
        """Return if commands could be carried out now; asks the store something small.

        Raises:
            StoreUnavailable: they could not, or what they do could be lost.
            UnknownPepper: records are under a pepper that this process was not given.
        """
        await self.read([Get("setting", "ready")])
        missing = await self.missing_peppers()
        if missing:
            raise UnknownPepper(
                f"the store holds records under the {named_key(missing[0])}, which this process was not given; give it "
                "after the current one and start this process again",
                key_id=missing[0],
            )

    async def misgiving(self) -> str | None:
        """Return why whoever runs the server should act though it answers: how it was set up since the store opened."""
        return None

    async def insist_on_peppers(self) -> None:
        """Return if what was not found is not there; ``look`` asks this where a look-up key leads nowhere.

        Raises:
            StoreUnavailable: it may be there, under a pepper that was not given.
        """
        if missing := await self.missing_peppers():
            raise unknown_while_missing(missing)

    async def missing_peppers(self) -> Sequence[str]:
        """Return the ids of the peppers that records may be under and that were not given.

        While there is one, nobody knows whether a secret that was not found is valid.
        """
        if not self.durable:
            return ()
        _, found = await self.read([Scan("peppers")])
        return [key_id for key_id in found[0].value if not self.keyring.holds(key_id)]

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return at most ``limit`` events that stand after a place.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        raise _no_events()

    async def await_events(self) -> None:
        """Wait a moment, in which events may come."""
        from asyncio import sleep  # a program without an event loop never pays for it

        await sleep(EVENT_POLL_S)

    async def trim_events(self, keep: int) -> int:
        """Take away the oldest of the events beyond ``keep``, ``TRIMMED_AT_ONCE`` at most; return how many were."""
        raise _no_events()

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put what ``change`` returns in the place of each event that it changes; return how many those were.

        Those that are written meanwhile may be left as they are. Ids, places and instants stay.

        Raises:
            CorruptRecord, UnknownPepper: one cannot be read; the others were rewritten.
        """
        raise _no_events()

    async def dump(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        """Return about ``limit`` records of a kind after a place (``""``: from the first one), and where they go on.

        What was there from the first batch to the last is in one of them, ended ones too; one may come twice.

        Args:
            kind: ``session``, ``token``, ``owner`` or ``idempotency``.
            after: the place that the batch before named; ``None`` is after the last.
            limit: about how many.

        Raises:
            InvalidInput: the store cannot tell all its records.
            CorruptRecord, UnknownPepper: one of them cannot be read; ``session-tokens check`` names it.
        """
        raise _no_dump()

    async def owner_entries(self, after: str, limit: int) -> tuple[Sequence[OwnerEntry], str | None]:
        """Return about ``limit`` owners' entries after a place, as ``dump`` does."""
        return await self.dump("owner", after, limit)

    @abstractmethod
    async def close(self) -> None:
        """Let go of files, connections and threads; calling it again does nothing."""

    async def look(self, queries: Sequence[Query]) -> Snapshot:
        """As ``read``, for who changes nothing: a store may answer it with less work than what a command rests on.

        Raises:
            StoreUnavailable: also where a look-up key leads nowhere, but might under a pepper that was not given.
        """
        snapshot = await self.read(queries)
        if is_lost(queries, snapshot.found):
            await self.insist_on_peppers()
        return snapshot

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry: the hot path, one round trip.

        A record that cannot be read is no session, and goes to ``unreadables``.
        """
        try:
            now, found = await self.look([Get("session_lookup", lookups[0], tuple(lookups[1:]))])
        except UNREADABLE as error:
            self.unreadables.met(error)
            await self.insist_on_peppers()
            return (await self.read([])).now, None, None
        session, entry = found[0].value
        return now, session, entry

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret in the session where it is now, that one and its owner's entry.

        The hot path. Where the session that the record names was replaced, the token is answered as it will be written
        down: ``TokenResult.followed``. A record that cannot be read is no token, and goes to ``unreadables``.
        """
        try:
            now, found = await self.look([Get("token_lookup", lookups[0], tuple(lookups[1:]))])
        except UNREADABLE as error:
            self.unreadables.met(error)
            await self.insist_on_peppers()
            return (await self.read([])).now, None, None, None
        answer: TokenResult = found[0].value
        return (now, *answer.followed())


def _no_events() -> InvalidInput:
    return InvalidInput("this store cannot keep events; use one of session-tokens' own")


def _no_dump() -> InvalidInput:
    return InvalidInput("this store cannot tell all its records; use one of session-tokens' own")


def unknown_while_missing(missing: Sequence[str]) -> StoreUnavailable:
    """Return the error for what was not found while it may be there under a pepper that was not given."""
    return StoreUnavailable(
        f"it was not found, but the store holds records under the {named_key(missing[0])}, which this process was not "
        "given: it may be one of them. Give that key after the current one and start this process again",
        key_id=missing[0],
    )


@mypyc_attr(allow_interpreted_subclasses=True)
class BlockingStore(Store):
    """A store whose work never waits on an event loop: plain methods do it, the coroutines only call them.

    A store with slow writes (SQLite) overrides ``run`` so that a coroutine waits for it without holding the loop.
    """

    blocking = True

    @abstractmethod
    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        """As ``read``, at once."""

    @abstractmethod
    def run_now(self, rule: Rule[T], *args: object) -> T:
        """As ``run``, on the caller's thread."""

    def run_within_now(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """As ``run_within``, in a thread of its own; a store that never waits for long overrides it."""
        return done_within(patience_s, partial(self.run_now, rule, *args))

    @abstractmethod
    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due``, at once."""

    def due_in_turn_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        """As ``due_in_turn``, at once."""
        return self.due_now(now, limit)

    def misgiving_now(self) -> str | None:
        """As ``misgiving``, at once."""
        return None

    def read_events_now(self, after: Place, limit: int) -> LogRead:
        """As ``read_events``, at once."""
        raise _no_events()

    def await_events_now(self) -> None:
        """As ``await_events``, on this thread."""
        time.sleep(EVENT_POLL_S)

    def trim_events_now(self, keep: int) -> int:
        """As ``trim_events``, at once."""
        raise _no_events()

    def rewrite_events_now(self, change: Callable[[Event], Event]) -> int:
        """As ``rewrite_events``, at once."""
        raise _no_events()

    def dump_now(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        """As ``dump``, at once."""
        raise _no_dump()

    def owner_entries_now(self, after: str, limit: int) -> tuple[Sequence[OwnerEntry], str | None]:
        """As ``owner_entries``, at once."""
        return self.dump_now("owner", after, limit)

    @abstractmethod
    def close_now(self) -> None:
        """As ``close``, at once."""

    def look_now(self, queries: Sequence[Query]) -> Snapshot:
        """As ``look``, at once."""
        snapshot = self.read_now(queries)
        if is_lost(queries, snapshot.found):
            self.insist_on_peppers_now()
        return snapshot

    def state_now(self) -> tuple[int, object]:
        """Return now, and what stands for all that the store holds; ``None`` in its place where it cannot tell.

        While it is the same object, nobody has committed anything: what was read since it was first answered is still
        there. It costs less than a read.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        return 0, None

    def find_session_now(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """As ``find_session``, at once."""
        try:
            now, found = self.look_now([Get("session_lookup", lookups[0], tuple(lookups[1:]))])
        except UNREADABLE as error:
            self.unreadables.met(error)
            self.insist_on_peppers_now()
            return self.read_now([]).now, None, None
        session, entry = found[0].value
        return now, session, entry

    def find_token_now(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """As ``find_token``, at once."""
        try:
            now, found = self.look_now([Get("token_lookup", lookups[0], tuple(lookups[1:]))])
        except UNREADABLE as error:
            self.unreadables.met(error)
            self.insist_on_peppers_now()
            return self.read_now([]).now, None, None, None
        answer: TokenResult = found[0].value
        return (now, *answer.followed())

    def insist_on_peppers_now(self) -> None:
        """As ``insist_on_peppers``, at once."""
        if missing := self.missing_peppers_now():
            raise unknown_while_missing(missing)

    def missing_peppers_now(self) -> Sequence[str]:
        """As ``missing_peppers``, at once."""
        if not self.durable:
            return ()
        found = self.read_now([Scan("peppers")]).found[0]
        return [key_id for key_id in found.value if not self.keyring.holds(key_id)]

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return the results of all queries as of one instant."""
        return self.read_now(queries)

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Run a rule atomically."""
        return self.run_now(rule, *args)

    async def run_within(self, patience_s: float, rule: Rule[T], *args: object) -> T:
        """Run a rule atomically, and wait for it so long at the most."""
        return self.run_within_now(patience_s, rule, *args)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what should be swept."""
        return self.due_now(now, limit)

    async def due_in_turn(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what should be swept, but for what another process is sweeping."""
        return self.due_in_turn_now(now, limit)

    async def misgiving(self) -> str | None:
        """Return why whoever runs the server should act though it answers."""
        return self.misgiving_now()

    async def read_events(self, after: Place, limit: int) -> LogRead:
        """Return events that stand after a place."""
        return self.read_events_now(after, limit)

    async def owner_entries(self, after: str, limit: int) -> tuple[Sequence[OwnerEntry], str | None]:
        """Return owners' entries after a place."""
        return self.owner_entries_now(after, limit)

    async def dump(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        """Return records of a kind after a place."""
        return self.dump_now(kind, after, limit)

    async def rewrite_events(self, change: Callable[[Event], Event]) -> int:
        """Put changed events in the place of others."""
        return self.rewrite_events_now(change)

    async def trim_events(self, keep: int) -> int:
        """Take the oldest events away."""
        return self.trim_events_now(keep)

    async def close(self) -> None:
        """Let go of everything."""
        self.close_now()

    async def find_session(self, lookups: Sequence[str]) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now and the session of a secret with its owner's entry."""
        return self.find_session_now(lookups)

    async def find_token(self, lookups: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now and the token of a secret with its session and that owner's entry."""
        return self.find_token_now(lookups)
