"""Remembers over which keys a secret or id was followed, so that the next reading takes plain commands.

Theory of operation. The function library follows a secret to its token, that to its session and that to its owner's
entry, wherever they lead. Next time they mostly lead the same way: then all keys of the way are read with one
``MGET``, which is one instant too, and ``TIME`` after it. Each record names the next one, so the answer itself says
whether the way is still right; where it is not, the function library is asked as if nothing had been remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.queries import EntryOf, Query, SessionById, SessionByLookup, TokenById, TokenByLookup
from ..common.generational_cache import GenerationalCache
from .keys import STAMP_LENGTH

PATHS_MAX = 8_192
"""Ways that are remembered in each of two generations."""

CHAIN_KINDS: dict[type, str] = {
    SessionByLookup: "S:",
    TokenByLookup: "T:",
    SessionById: "s:",
    TokenById: "t:",
    EntryOf: "e:",
}
"""Kinds of query that are followed, and what tells them apart in memory."""
TIME = b"*1\r\n$4\r\nTIME\r\n"


class Path:
    """The keys on one way.

    Attributes:
        words: the keys as words of a packed command.
        alone: the packed commands that read this way and no other.
        links: for each but the last key, what its value says after its stamp; an empty link ends the way.
        size: how many keys.
        seen: the values that were last found there and looked at closely, and what they said; ``None`` at first.
    """

    __slots__ = ("alone", "links", "seen", "size", "words")

    def __init__(self, words: bytes, alone: bytes, links: tuple[bytes, ...], size: int) -> None:
        self.words = words
        self.alone = alone
        self.links = links
        self.size = size
        self.seen: tuple[list[bytes | None], Any] | None = None


KnownChain = tuple[str, Path]
"""A look-up key, and the way over which it was followed before."""


class KeyChains:
    """The ways of one store; safe for threads, as each step is one operation on a dictionary.

    Args:
        prefix: what every key begins with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._known: GenerationalCache[str, Path] = GenerationalCache(PATHS_MAX)

    def learn(self, query: Query, first: bytes, hops: int, reply: Sequence[bytes | None]) -> None:
        """Remember the way on which a query was answered: from the record ``first`` over at most so many hops."""
        names, links = [first], []
        for value in reply[:hops]:
            if value is None:  # where a record may come to stand, the way goes on from there
                return
            link = value[STAMP_LENGTH : value.index(b"\n", STAMP_LENGTH)]
            links.append(link + b"\n")
            if not link:
                break
            if link.startswith(b"e:"):  # an owner's entry, there or not, ends a way
                names.append(link)
                break
            names.append(link)
        keys = [self._prefix + name for name in names]
        words = b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])
        alone = b"*%d\r\n$4\r\nMGET\r\n%b%b" % (1 + len(keys), words, TIME)
        self._known.keep(_name_of(query), Path(words, alone, tuple(links), len(keys)))

    def of(self, queries: Sequence[Query]) -> list[Path] | None:
        """Return the ways of all queries, ``None`` if one of them is not known."""
        paths = []
        for query in queries:
            path = self.of_query(query)
            if path is None:
                return None
            paths.append(path)
        return paths

    def of_query(self, query: Query) -> Path | None:
        """Return the way of one query, ``None`` if it is not known."""
        kind = CHAIN_KINDS.get(query.__class__)
        return None if kind is None else self.of_name(kind + query[0])  # type: ignore[operator, misc]  # those kinds have one string

    def forget(self, query: Query) -> None:
        """Remember a way no more."""
        self._known.forget(_name_of(query))

    def known_chain(self, kind: str, lookups: Sequence[str]) -> KnownChain | None:
        """Return the first of a secret's look-up keys (one for each live pepper) whose way is known."""
        for lookup in lookups:
            path = self._known.get(kind + lookup)
            if path is not None:
                return lookup, path
        return None

    def of_name(self, name: str) -> Path | None:
        """Return the way of a kind and what it is asked by, such as ``S:`` and a look-up key."""
        return self._known.get(name)

    def replies(self, queries: Sequence[Query], paths: Sequence[Path], values: list[Any]) -> list[Any] | None:
        """Return the values as the function library would have, ``None`` if a way leads elsewhere by now."""
        replies, at = [], 0
        for query, path in zip(queries, paths, strict=True):
            reply = values[at : at + path.size]
            at += path.size
            for place, link in enumerate(path.links):
                value = reply[place]
                if value is None:
                    del reply[place + 1 :]
                    break
                if not value.startswith(link, STAMP_LENGTH):
                    self.forget(query)
                    return None
            replies.append(reply)
        return replies


def _name_of(query: Query) -> str:
    name: str = CHAIN_KINDS[type(query)] + query[0]  # type: ignore[operator, misc]  # those kinds have one string
    return name


def packed(ways: Sequence[tuple[object, Path]]) -> bytes:
    """Return the commands that read all keys of some ways as of one instant, and then the time."""
    if len(ways) == 1:
        return ways[0][1].alone
    size = 1 + sum([way[1].size for way in ways])
    return b"*%d\r\n$4\r\nMGET\r\n%b%b" % (size, b"".join([way[1].words for way in ways]), TIME)
