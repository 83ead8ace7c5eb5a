"""Remembers which keys a secret or id led to (token, session, owner), so that the next read is one ``MGET``.

Theory of operation. The function library follows a secret to its token, that to its session and that to its owner's
entry, whichever they are. Next time they mostly are the same: then all keys of the chain are read with one ``MGET``,
which is one instant too, and the time after it. Each record names the next one, so the answer itself shows whether the
chain is still right; where it is not, the function library is asked as if nothing had been remembered.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...contract.generational_cache import GenerationalCache
from ...contract.queries import Get, Query, Result
from .keys import STAMP_LENGTH
from .queries import FOLLOWED, name_of

KEY_CHAINS_MAX = 8_192
"""Chains that are remembered in each of two generations."""

CHAIN_KINDS = {
    "session_lookup": "S:", "token_lookup": "T:", "key_lookup": "K:", "session": "s:", "token": "t:", "entry": "e:",
}  # fmt: skip
"""What is got that is followed, and its names in memory."""


class KeyChain:
    """The keys from one look-up key to its records.

    Attributes:
        query: what was asked, by one look-up key.
        words: the keys as words of a packed command.
        alone: the packed command that reads this chain and no other.
        links: for each but the last key, what its value says after its stamp; an empty link ends the chain.
        size: how many keys.
        seen: the values of a record that were last found there and checked, and what they said.
    """

    __slots__ = ("alone", "links", "query", "seen", "size", "words")

    def __init__(self, query: Get, words: bytes, alone: bytes, links: tuple[bytes, ...], size: int) -> None:
        self.query = query
        self.words = words
        self.alone = alone
        self.links = links
        self.size = size
        self.seen: tuple[list[bytes | None], Result] | None = None

    def reply(self, values: list[bytes | None]) -> list[bytes | None] | None:
        """Return values as the function library would have, ``None`` if the chain is another by now."""
        for place, link in enumerate(self.links):
            value = values[place]
            if value is None:
                return values[: place + 1]
            if not value.startswith(link, STAMP_LENGTH):
                return None
        return values


FollowedRead = tuple[Get, Sequence[bytes | None]]
"""A query, and the values that answered it."""


class KeyChains:
    """The chains of one store; safe for threads, as each step is one operation on a dictionary.

    Args:
        prefix: what every key begins with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._known: GenerationalCache[str, KeyChain | FollowedRead] = GenerationalCache(KEY_CHAINS_MAX)

    def learn(self, query: Get, reply: Sequence[bytes | None]) -> None:
        """Remember how a query was answered: its chain is worked out when it is asked again, which most never are.

        Args:
            query: with one look-up key.
            reply: the values on its chain.
        """
        self._known.keep(_name_of(query), (query, reply))

    def _chain_of(self, reading: FollowedRead) -> KeyChain | None:
        """Return the chain on which a query was answered; ``None`` where it may go on from where nothing stood."""
        query, reply = reading
        hops = FOLLOWED[query.what][2]
        names, links = [name_of(query)], []
        for value in reply[: int(hops)]:
            if value is None:  # where a record may come to stand, the chain goes on from there
                return None
            link = value[STAMP_LENGTH : value.index(b"\n", STAMP_LENGTH)]
            links.append(link + b"\n")
            if not link:
                break
            if link.startswith(b"e:"):  # an owner's entry, there or not, ends a chain
                names.append(link)
                break
            names.append(link)
        keys = [self._prefix + name for name in names]
        packed_keys = b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])
        alone = b"*%d\r\n$4\r\nMGET\r\n%b" % (1 + len(keys), packed_keys)
        return KeyChain(query, packed_keys, alone, tuple(links), len(keys))

    def of(self, queries: Sequence[Query]) -> list[KeyChain] | None:
        """Return a chain for each query, ``None`` if there is one of which none is known."""
        paths = []
        for query in queries:
            kind = CHAIN_KINDS.get(query.what)
            if kind is None or query.__class__ is not Get:
                return None
            path = self._known.get(kind + query.key)
            if not isinstance(path, KeyChain):
                keys = (query.key, *query.others)
                path = self.of_one(kind, keys)
                if path is None:
                    return None
            paths.append(path)
        return paths

    def of_one(self, kind: str, keys: Sequence[str]) -> KeyChain | None:
        """Return the first chain that is known from an id, an owner, or one of a secret's look-up keys.

        Args:
            kind: of ``CHAIN_KINDS``.
            keys: from where the chain may begin.
        """
        for key in keys:
            known = self._known.get(kind + key)
            if known is None:
                continue
            if isinstance(known, KeyChain):
                return known
            path = self._chain_of(known)
            if path is not None:
                self._known.keep(kind + key, path)
                return path
            self._known.forget(kind + key)
        return None

    def knows(self, query: Query) -> bool:
        """Whether the chain of a query is known, which carries one look-up key if any."""
        return isinstance(query, Get) and query.what in CHAIN_KINDS and self._known.get(_name_of(query)) is not None

    def forget(self, query: Get) -> None:
        """Remember a chain no more."""
        self._known.forget(_name_of(query))


def _name_of(query: Get) -> str:
    return CHAIN_KINDS[query.what] + query.key


def packed(paths: Sequence[KeyChain]) -> bytes:
    """Return the packed command that reads all keys of some chains as of one instant."""
    if len(paths) == 1:
        return paths[0].alone
    size = 1 + sum([path.size for path in paths])
    return b"*%d\r\n$4\r\nMGET\r\n%b" % (size, b"".join([path.words for path in paths]))
