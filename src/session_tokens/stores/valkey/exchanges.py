"""What the Valkey stores for asyncio and for threads share: what is asked, and what is made of the replies. No I/O."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence

from ...contract.batch import Batch
from ...contract.optimistic import Commit
from ...contract.queries import (
    Answered,
    DueRecord,
    Query,
    Result,
    Scan,
    Snapshot,
    is_lost,
    leads_somewhere,
    singly,
    together,
)
from ...contract.store import unknown_while_missing
from ...crypto.minting import PepperKeyring
from ...errors import StoreUnavailable
from ..common.retry import Retrying
from ..common.server_clock import ServerClock
from .commit import commit_words
from .errors import UNKNOWN_OUTCOME
from .key_chains import KeyChain
from .key_chains import packed as packed_chains
from .keys import prefix_of
from .packing import pack
from .queries import ask_words
from .rows import Reply, ValkeyCodec
from .schema import Address

_KINDS = {"s": "session", "t": "token", "i": "idempotency"}
DUE = b"session_tokens_due_v1"
LISTINGS = (b"ls", b"ld", b"lt", b"lv", b"lu", b"lw")
"""In which what is due stands too."""
TURN_MS = b"2000"
"""How long the turn of who sweeps lasts after each time that something was due: two runs of a sweeper."""
WAIT_PARTS = 0.5
"""The part of a call's time that replicas may take."""


IN_USE = Scan("peppers")
Values = list[bytes | None]
"""What stands under keys, one after another."""
Seen = tuple[int, Result]
"""An instant in milliseconds, and what stood on a chain then."""
ReadExchange = Generator[tuple[bytes, bool], list[Reply], Batch]
Committing = Generator[tuple[bytes, int], list[Reply], list[bool]]


class ValkeyCore:
    """What both shells share: the codec, the clock, the outage policy."""

    def __init__(self, address: Address, keyring: PepperKeyring, space: str) -> None:
        self.keyring = keyring
        self.clock = ServerClock()
        self.retrying = Retrying(address.policy)
        self.replicas = address.replicas
        self.codec = ValkeyCodec(keyring, self.clock, prefix_of(address.namespace, space))
        self._sweeper = os.urandom(8).hex().encode("ascii")

    def reading(self, queries: Sequence[Query]) -> ReadExchange:
        """Yield a packed command and whether the time is asked for, take reply and time, answer the records.

        An error stands in place of what is not as it was written.
        """
        paths = self.codec.paths.of(queries) if queries else None
        if paths is not None:
            values, now = yield packed_chains(paths), True
            self.clock.heard(now)
            found = list(map(self._on_chain, paths, _shared(paths, values)))
            known = [answer for answer in found if answer is not None]
            if len(known) == len(found) and not is_lost(queries, known):
                return Batch(now, known)
        single = singly(queries)
        (now, *replies), _ = yield pack(ask_words(self.codec.last_stamp_key, single)), False
        self.clock.heard(now)
        codec, knows = self.codec, self.codec.paths.knows
        answers = [
            codec.answer(query, reply) if knows(query) else codec.learnt(query, reply)
            for query, reply in zip(single, replies, strict=True)
        ]
        return Batch(now, together(queries, answers))

    def asked_first(self, each: Sequence[Query]) -> bytes:
        """Return the packed call that follows secrets of which no chain is known, and asks which peppers are in use."""
        return pack(ask_words(self.codec.last_stamp_key, [*singly(each), IN_USE]))

    def seen_first(
        self, asked: Sequence[Query], each: Sequence[Query], reply: Reply
    ) -> list[Seen | StoreUnavailable | None]:
        """Return for each caller what its secret leads to; ``None`` for who has to ask anew, and gets the error.

        Args:
            asked: what the callers ask.
            each: the same, each once.
            reply: to ``asked_first``.
        """
        now, *replies, in_use = reply
        self.clock.heard(now)
        answers = together(each, list(map(self.codec.learnt, singly(each), replies)))
        missing = self._missing(self.codec.found(IN_USE, in_use))
        seen: list[Seen | StoreUnavailable | None] = []
        for answer in answers if len(each) == len(asked) else map(dict(zip(each, answers, strict=True)).get, asked):
            if not isinstance(answer, Result):
                seen.append(None)
            elif missing and not leads_somewhere(answer.value):
                seen.append(unknown_while_missing(missing))
            else:
                seen.append((now, answer))
        return seen

    def insist(self, in_use: Result) -> None:
        """As ``Store.insist_on_peppers``, with the answer to ``IN_USE``."""
        if missing := self._missing(in_use):
            raise unknown_while_missing(missing)

    def _missing(self, in_use: Result) -> list[str]:
        return [key_id for key_id in in_use.value if not self.keyring.holds(key_id)]

    def seen_on(
        self, asked: Sequence[KeyChain], each: Sequence[KeyChain], values: Values, now: int
    ) -> list[Seen | None]:
        """Return for each caller what stands on the chain that it asked for; ``None`` for who has to ask anew.

        What is as it was when it was last read is not decoded again.

        Args:
            asked: the chains of the callers.
            each: the same, each once, in the order in which they were read.
            values: what was read.
            now: when.
        """
        self.clock.heard(now)
        seen: list[Seen | None] = []
        at = 0
        for path in each:
            there = values[at : at + path.size]
            at += path.size
            known = path.seen  # as ``_seen_on``, which would be a call for each of many
            seen.append((now, known[1]) if known and known[0] == there else self._seen_on(path, there, now))
        if len(each) == len(asked):
            return seen
        on_path = dict(zip(each, seen, strict=True))
        return [on_path[path] for path in asked]

    def seen_alone(self, path: KeyChain, there: Values, now: int) -> Seen | None:
        """As ``seen_on``, for one chain."""
        self.clock.heard(now)
        known = path.seen
        return (now, known[1]) if known is not None and known[0] == there else self._seen_on(path, there, now)

    def _seen_on(self, path: KeyChain, there: Values, now: int) -> Seen | None:
        """Return what values on a known chain say; ``None`` where one has to ask anew, and gets the error if any."""
        known = path.seen
        if known is None or known[0] != there:
            self._on_chain(path, there)
            known = path.seen
        return (now, known[1]) if known and known[0] == there else None

    def _on_chain(self, path: KeyChain, there: Values) -> Answered | None:
        """Return what values on a remembered chain say; ``None`` where it is another by now.

        It is remembered, unless the chain ends in nothing: then what was there is over, nothing will come in its place,
        and the chain is forgotten too.
        """
        reply = path.reply(there)
        answer = None if reply is None else self.codec.answer(path.query, reply)
        if isinstance(answer, Result) and (leads_somewhere(answer.value) or path.query.what == "entry"):
            path.seen = (there, answer)
        elif answer is None or isinstance(answer, Result):
            self.codec.paths.forget(path.query)
        return answer

    def committing(self, commits: Sequence[Commit], *, though_full: bool = False) -> Committing:
        """Yield packed commands and how many replies they get, take the replies, answer which commits were written.

        Args:
            though_full: see ``commit_words``.

        Raises:
            StoreUnavailable: some were, and too few replicas have them.
        """
        words, taking_in = commit_words(self.codec, commits, though_full=though_full)
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
        for stamp, take_in in zip(stamps, taking_in, strict=True):
            if stamp:
                take_in(b"%d" % stamp)
        return [stamp != 0 for stamp in stamps]

    def due_words(self, now: int, limit: int, *, in_turn: bool = False) -> list[bytes]:
        """Return the call for what is due."""
        return [b"FCALL", DUE, b"1", self.codec.last_stamp_key, *self.due_arguments(now, limit, in_turn)]

    def due_arguments(self, now: int, limit: int, in_turn: bool) -> list[bytes]:
        """Return what the function is called with.

        Args:
            now: the instant, in milliseconds.
            limit: how many at the most.
            in_turn: whether to leave what is due to whoever else is sweeping, and to take the turn otherwise.
        """
        return [b"%d" % now, b"%d" % limit, self._sweeper if in_turn else b"", TURN_MS, *LISTINGS]

    @staticmethod
    def keys(reply: Reply) -> list[DueRecord]:
        """Return what is due."""
        members = [member.decode("ascii") for member in reply]
        return [DueRecord(_KINDS[member[0]], member[1:]) for member in members]


def snapshots_on(sizes: Iterable[int], seen: Sequence[Seen | None]) -> list[Snapshot | None]:
    """Return what was seen on so many chains each, in one instant; ``None`` where one of them has to be asked anew."""
    snapshots: list[Snapshot | None] = []
    at = 0
    for size in sizes:
        found = [each[1] for each in seen[at : at + size] if each is not None]
        first, at = seen[at], at + size
        snapshots.append(None if first is None or len(found) < size else Snapshot(first[0], found))
    return snapshots


def _shared(paths: Sequence[KeyChain], values: list[bytes | None]) -> list[list[bytes | None]]:
    """Return the values of each chain."""
    shared, at = [], 0
    for path in paths:
        shared.append(values[at : at + path.size])
        at += path.size
    return shared
