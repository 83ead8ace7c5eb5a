"""What the Valkey stores for asyncio and for threads share: what is asked, and what is made of the replies. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ...contract.batch import Batch, snapshot_of
from ...contract.optimistic import Commit
from ...contract.queries import Answered, Key, Query, Result, Snapshot, leads_somewhere, singly, together
from ...crypto.minting import PepperKeyring
from ...errors import StoreUnavailable
from ..common.retry import Retrying
from ..common.server_clock import ServerClock
from .commit import commit_words
from .connections import pack
from .errors import UNKNOWN_OUTCOME
from .key_chains import Path
from .key_chains import packed as packed_chains
from .keys import prefix_of
from .queries import ask_words
from .rows import Reply, ValkeyCodec
from .schema import Address

_KINDS = {"s": "session", "t": "token", "i": "idempotency"}
WAIT_PARTS = 0.5
"""The part of a call's time that replicas may take."""


Reading = Generator[tuple[bytes, int], list[Reply], Batch]
Committing = Generator[tuple[bytes, int], list[Reply], list[bool]]


class ValkeyCore:
    """What both shells share: the codec, the clock, the outage policy."""

    def __init__(self, address: Address, keyring: PepperKeyring, space: str) -> None:
        self.keyring = keyring
        self.clock = ServerClock()
        self.retrying = Retrying(address.policy)
        self.replicas = address.replicas
        self.codec = ValkeyCodec(keyring, self.clock, prefix_of(address.namespace, space))

    def reading(self, queries: Sequence[Query]) -> Reading:
        """Yield packed commands and how many replies they get, take the replies, answer the records.

        An error stands in place of what is not as it was written.
        """
        paths = self.codec.paths.of(queries) if queries else None
        if paths is not None:
            values, time = yield packed_chains(paths), 2
            now = self.now_of(time)
            found = self.codec.on_paths(paths, _shared(paths, values), closely=True)
            if found is not None and not stray(queries, found):
                return Batch(now, found)
        single = singly(queries)
        ((now, *replies),) = yield pack(ask_words(self.codec.last_stamp_key, single)), 1
        self.clock.heard(now)
        answers = []
        for query, reply in zip(single, replies, strict=True):
            answer = self.codec.answer(query, reply)
            answers.append(answer)
            if isinstance(answer, Result):
                self.codec.learn(query, reply)
        return Batch(now, together(queries, answers))

    def known(
        self, asked: Sequence[Sequence[Path]], paths: Sequence[Path], values: list[bytes | None], time: Reply
    ) -> list[Snapshot | None]:
        """Return for each caller what stands on the ways that it asked for; ``None`` for who has to ask anew.

        Args:
            asked: the ways of each caller.
            paths: all of them, each once, in the order in which they were read.
            values: what was read.
            time: when.
        """
        now, at = self.now_of(time), 0
        snapshots: list[Snapshot | None] = []
        there: dict[Path, list[bytes | None]] = {}
        for path in paths:
            there[path] = values[at : at + path.size]
            at += path.size
        for ways in asked:
            seen = ways[0].seen
            if len(ways) == 1 and seen is not None and seen[0] == there[ways[0]]:
                snapshots.append(Snapshot(now, seen[1]))  # as below, on the way of every verification
                continue
            found = self.codec.on_paths(ways, [there[path] for path in ways], closely=False)
            snapshot = None if found is None else snapshot_of(now, found)
            snapshots.append(None if isinstance(snapshot, Exception) else snapshot)  # who asks anew gets the error
        return snapshots

    def now_of(self, time: Reply) -> int:
        """Return the instant of a reply to ``TIME``, in milliseconds."""
        seconds, microseconds = time
        now = int(seconds) * 1000 + int(microseconds) // 1000
        self.clock.heard(now)
        return now

    def committing(self, commits: Sequence[Commit], *, though_full: bool = False) -> Committing:
        """Yield packed commands and how many replies they get, take the replies, answer which commits were written.

        Args:
            though_full: see ``commit_words``.

        Raises:
            StoreUnavailable: some were, and too few replicas have them.
        """
        words, all_writes = commit_words(self.codec, commits, though_full=though_full)
        packed, replies = pack(words), 1
        if self.replicas:
            wait_ms = max(1, int(self.retrying.policy.timeout_s * 1000 * WAIT_PARTS))
            packed, replies = packed + pack([b"WAIT", b"%d" % self.replicas, b"%d" % wait_ms]), 2
        (now, *stamps), *confirmed = yield packed, replies
        self.clock.heard(now)
        if self.replicas and any(stamps) and confirmed[0] < self.replicas:
            raise StoreUnavailable(
                f"{confirmed[0]} of {self.replicas} replicas have confirmed in time; {UNKNOWN_OUTCOME}"
            )
        wrote = self.codec.record_cache.wrote
        for stamp, writes in zip(stamps, all_writes, strict=True):
            if stamp:
                wrote(b"%d" % stamp, writes)
        return [stamp != 0 for stamp in stamps]

    def due_words(self, now: int, limit: int) -> list[bytes]:
        """Return the call for what is due."""
        listings = (b"ls", b"ld", b"lt", b"lv", b"lu")
        key = self.codec.last_stamp_key
        return [b"FCALL", b"session_tokens_due_v1", b"1", key, b"du", b"%d" % now, b"%d" % limit, *listings]

    @staticmethod
    def keys(reply: Reply) -> list[Key]:
        """Return what is due."""
        members = [member.decode("ascii") for member in reply]
        return [Key(_KINDS[member[0]], member[1:]) for member in members]


def stray(queries: Sequence[Query], found: Sequence[Answered]) -> bool:
    """Whether a query may lead somewhere by another of the look-up keys that it carries than the one on the way."""
    for query, answer in zip(queries, found, strict=True):
        if getattr(query, "others", ()) and isinstance(answer, Result) and not leads_somewhere(answer.value):
            return True
    return False


def _shared(paths: Sequence[Path], values: list[bytes | None]) -> list[list[bytes | None]]:
    """Return the values of each way."""
    shared, at = [], 0
    for path in paths:
        shared.append(values[at : at + path.size])
        at += path.size
    return shared
