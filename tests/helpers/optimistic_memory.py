"""A small optimistic store over memory: it commits if no stamp moved, and can be told not to look.

Theory of operation. Records live in a `MemoryStore`. Beside them stands one number for each part that can be read: each
record, each secret, each index bucket; a commit raises the numbers of the parts that it changes. A stamp is such a
number, so equal stamps mean equal answers, of what is absent too. Reading answers and stamps, and comparing stamps and
writing, are each done under one lock, as a server does them.

With `checking=False` a commit is written whatever moved meanwhile: every proof about races must then fail.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from session_tokens.clock import Clock
from session_tokens.contract.changes import Changes, owner_of_living, parked_owner
from session_tokens.contract.optimistic import BlockingOptimisticStore, Commit, OptimisticStore
from session_tokens.contract.queries import (
    Count,
    DueRecord,
    Get,
    Members,
    Query,
    Result,
    Scan,
    SessionResult,
    Snapshot,
    TokenResult,
)
from session_tokens.contract.transaction import Transaction
from session_tokens.errors import StoreUnavailable
from session_tokens.events import Listeners
from session_tokens.records import OwnerEntry, Session, Token
from session_tokens.stores.memory.store import MemoryStore

Part = tuple[str, str]


def parts_of_record(record: Session | Token | None) -> Iterator[Part]:
    """Name all parts in which a record can be read."""
    if record is None:
        return
    kind = "session" if isinstance(record, Session) else "token"
    yield kind, record.id
    if record.lookup is not None:
        yield f"{kind} by lookup", record.lookup
    if isinstance(record, Session):
        owner = owner_of_living(record)
        if owner is not None:
            yield "sessions of", owner
        if record.details.successor is not None:
            yield "predecessors of", record.details.successor
    elif record.session_id is not None:
        yield "held by", record.session_id
    elif (parked := parked_owner(record)) is not None:
        yield "parked", parked


def parts_changed(changes: Changes) -> Iterator[Part]:
    """Name all parts that a change set touches."""
    for pair in (*changes.sessions, *changes.tokens):
        for record in pair:
            yield from parts_of_record(record)
    for old_entry, new_entry in changes.entries:
        entry = new_entry or old_entry
        assert entry is not None, "a change from nothing to nothing"
        yield "entry", entry.owner
    for outcome in changes.idempotency:
        yield "outcome", outcome.key
    for key in changes.forgotten:
        yield "outcome", key
    for name, _ in changes.settings:
        yield "setting", name
    for keys in changes.keys:
        yield from (("key", key.id) for key in keys if key is not None)
        yield "key", "*"


_SETS = {
    "sessions_of": "sessions of",
    "predecessors_of": "predecessors of",
    "tokens_of": "held by",
    "transferables_of": "held by",
    "parked_tokens": "parked",
}


def parts_read(query: Query, value: Any) -> Iterator[Part]:
    """Name all parts of which an answer was made."""
    match query:
        case Get("idempotency", key):
            yield "outcome", key
        case Get("key_lookup") | Scan("keys"):
            yield "key", "*"
        case Get(what, key):
            yield what.replace("_", " by "), key
        case Members(what, whose) | Count(what, whose):
            yield _SETS[what], whose
    yield from parts_brought_along(value)


def parts_brought_along(value: Any) -> Iterator[Part]:
    """Name the records in an answer: each may change without its index bucket changing."""
    match value:
        case SessionResult() | TokenResult() | list():
            for record in value:
                yield from parts_brought_along(record)
        case Session():
            yield "session", value.id
            yield "entry", value.owner
        case Token():
            yield "token", value.id
            if value.session_id is not None:
                yield "session", value.session_id
        case OwnerEntry():
            yield "entry", value.owner


def write_all(tx: Transaction, changes: Changes) -> None:
    """Write a change set as it is; a rule for the memory store beneath."""
    for old_session, new_session in changes.sessions:
        tx.put_session(old_session, new_session)
    for old_token, new_token in changes.tokens:
        tx.put_token(old_token, new_token)
    for old_entry, new_entry in changes.entries:
        tx.put_entry(old_entry, new_entry)
    for outcome in changes.idempotency:
        tx.put_idempotency(outcome)
    for key in changes.forgotten:
        tx.forget_idempotency(key)
    for name, text in changes.settings:
        tx.put_setting(name, text)
    for old_key, new_key in changes.keys:
        tx.put_service_key(old_key, new_key)


def write_over(tx: Transaction, changes: Changes) -> None:
    """Write a change set over whatever is there by now, as a store does that does not look."""
    blind = Changes()
    blind.rare = changes.rare
    for old_session, new_session in changes.sessions:
        present_session = tx.session(id_of(new_session or old_session))
        if present_session is not None or new_session is not None:
            blind.sessions.append((present_session, new_session))
    for old_token, new_token in changes.tokens:
        present_token = tx.token(id_of(new_token or old_token))
        if present_token is not None or new_token is not None:
            blind.tokens.append((present_token, new_token))
    write_all(tx, blind)


def id_of(record: Session | Token | None) -> str:
    assert record is not None
    return record.id


class Server:
    """What several handles share: the records, the stamps and the one lock.

    Args:
        clock: tells the time.
        checking: whether a commit is refused when a stamp has moved; switched off only to see proofs fail.
    """

    def __init__(self, clock: Clock | None = None, *, checking: bool = True) -> None:
        self.memory = MemoryStore(clock=clock)
        self.checking = checking
        self.numbers: Counter[Part] = Counter()
        self.lock = threading.Lock()
        self.reads = 0
        self._came = threading.Condition(self.lock)

    def read(self, queries: Sequence[Query]) -> Snapshot:
        with self.lock:
            self.reads += 1
            self._came.notify_all()
            now, found = self.memory.read_now(queries)
            return Snapshot(
                now, [self._stamped(query, answer.value) for query, answer in zip(queries, found, strict=True)]
            )

    def _stamped(self, query: Query, value: Any) -> Result:
        value = list(value) if isinstance(value, list | tuple) and not hasattr(value, "_fields") else value
        parts = dict.fromkeys(parts_read(query, value))
        return Result(value, [(part, self.numbers[part]) for part in parts])

    def wait_for_another(self, reads: int, patience_s: float) -> None:
        """Return as soon as others have read after so many reads, or nobody came for so long."""
        with self.lock:
            self._came.wait_for(lambda: self.reads > reads, patience_s)

    def commit(self, commit: Commit) -> bool:
        with self.lock:
            if self.checking and any(self.numbers[part] != stamp for part, stamp in commit.stamps.items()):
                return False
            if self.memory.clock.now() >= commit.not_after:
                return False
            self._count(parts_changed(commit.changes))
            self.memory.run_now(write_all if self.checking else write_over, commit.changes)
            return True

    def _count(self, parts: Iterable[Part]) -> None:
        for part in dict.fromkeys(parts):
            self.numbers[part] += 1


class _Handle:
    """What the two shells share."""

    durable: ClassVar[bool] = False

    def __init__(self, server: Server) -> None:
        self.server = server
        self.clock, self.keyring, self.listeners = server.memory.clock, server.memory.keyring, Listeners()
        self.unreadables = server.memory.unreadables
        self.closed = False

    def open_server(self) -> Server:
        if self.closed:
            raise StoreUnavailable("the store is closed; open it again")
        return self.server


class OptimisticMemoryStore(_Handle, OptimisticStore):
    """For asyncio: every call lets the other tasks run."""

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        answer = self.open_server().read(queries)
        await asyncio.sleep(0)
        return answer

    async def commit(self, commit: Commit) -> bool:
        await asyncio.sleep(0)
        return self.open_server().commit(commit)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        return self.open_server().memory.due_now(now, limit)

    async def dump(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        return self.open_server().memory.dump_now(kind, after, limit)

    async def close(self) -> None:
        self.closed = True


class BlockingOptimisticMemoryStore(_Handle, BlockingOptimisticStore):
    """For threads.

    Args:
        server: where the records are.
        patience_s: how long a commit waits for somebody else to read first, until one was refused: then it is sure
            that those who come at once do not come one after another, however busy the machine is.
    """

    def __init__(self, server: Server, patience_s: float = 0.0) -> None:
        super().__init__(server)
        self._patience_s = patience_s
        self._own = threading.local()

    def read_now(self, queries: Sequence[Query]) -> Snapshot:
        answer = self.open_server().read(queries)
        self._own.reads = self.server.reads
        return answer

    def commit_now(self, commit: Commit) -> bool:
        if self._patience_s and not self.conflicts:
            self.server.wait_for_another(self._own.reads, self._patience_s)
        return self.open_server().commit(commit)

    def due_now(self, now: int, limit: int) -> Sequence[DueRecord]:
        return self.open_server().memory.due_now(now, limit)

    def dump_now(self, kind: str, after: str, limit: int) -> tuple[Sequence[Any], str | None]:
        return self.open_server().memory.dump_now(kind, after, limit)

    def close_now(self) -> None:
        self.closed = True
