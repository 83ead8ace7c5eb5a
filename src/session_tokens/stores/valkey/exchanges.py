"""What the Valkey stores for asyncio and for threads share: what is asked, and what is made of the replies. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ...contract.coalesce import Batch
from ...contract.optimistic import Commit
from ...contract.queries import Key, Query, Result
from ...crypto.minting import PepperKeyring
from ...errors import UNREADABLE, CorruptRecord, StoreUnavailable, UnknownPepper
from ...records import OwnerEntry, Session, Token
from ..common.retry import Retrying
from ..common.server_clock import ServerClock
from .commit import commit_words
from .connections import pack
from .errors import UNKNOWN_OUTCOME
from .key_chains import KnownChain
from .key_chains import packed as packed_chains
from .keys import prefix_of
from .queries import ask_words
from .rows import Reply, ValkeyCodec
from .schema import Address

_KINDS = {"s": "session", "t": "token", "i": "idempotency"}
WAIT_PARTS = 0.5
"""The part of a call's time that replicas may take."""


SessionNow = tuple[int, Session | None, OwnerEntry | None]
TokenNow = tuple[int, Token | None, Session | None, OwnerEntry | None]
Reading = Generator[tuple[bytes, int], list[Reply], Batch]
Committing = Generator[tuple[bytes, int], list[Reply], list[bool]]


def _or_error(
    found: Callable[[Query, Reply], Result], query: Query, reply: Reply
) -> Result | CorruptRecord | UnknownPepper:
    try:
        return found(query, reply)
    except UNREADABLE as error:
        return error


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
        found = self.codec.found
        paths = self.codec.paths.of(queries) if queries else None
        if paths is not None:
            values, time = yield packed_chains(list(zip(queries, paths, strict=True))), 2
            replies = self.codec.paths.replies(queries, paths, values)
            if replies is not None:
                now = self.now_of(time)
                return Batch(
                    now, [_or_error(found, query, reply) for query, reply in zip(queries, replies, strict=True)]
                )
        ((now, *replies),) = yield pack(ask_words(self.codec.last_stamp_key, queries)), 1
        self.clock.heard(now)
        answers = []
        for query, reply in zip(queries, replies, strict=True):
            answer = _or_error(found, query, reply)
            answers.append(answer)
            if isinstance(answer, Result):
                self.codec.learn(query, reply)
        return Batch(now, answers)

    def known_sessions(
        self, asked: Sequence[KnownChain], values: list[bytes | None], time: Reply
    ) -> list[SessionNow | None]:
        """Return now and the sessions at the ends of remembered ways; ``None`` for what is to be asked anew."""
        return self._known(asked, values, time, self.codec.session_on)

    def known_tokens(
        self, asked: Sequence[KnownChain], values: list[bytes | None], time: Reply
    ) -> list[TokenNow | None]:
        """As ``usual_sessions``, for tokens."""
        return self._known(asked, values, time, self.codec.token_on)

    def _known(
        self,
        asked: Sequence[KnownChain],
        values: list[bytes | None],
        time: Reply,
        look: Callable[[KnownChain, Reply], Any],
    ) -> list[Any]:
        now = (self.now_of(time),)
        answers, at = [], 0
        for known_chain in asked:
            path = known_chain[1]
            there = values[at : at + path.size]
            at += path.size
            seen = path.seen
            found = seen[1] if seen is not None and seen[0] == there else look(known_chain, there)
            answers.append(None if found is None else now + found)
        return answers

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

    def due_packed(self, now: int, limit: int) -> bytes:
        """Return the packed call for what is due."""
        listings = (b"ls", b"ld", b"lt", b"lv", b"lu")
        key = self.codec.last_stamp_key
        words = [b"FCALL", b"session_tokens_due_v1", b"1", key, b"du", b"%d" % now, b"%d" % limit, *listings]
        return pack(words)

    @staticmethod
    def keys(reply: Reply) -> list[Key]:
        """Return what is due."""
        members = [member.decode("ascii") for member in reply]
        return [Key(_KINDS[member[0]], member[1:]) for member in members]
