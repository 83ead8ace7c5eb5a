"""Remembers over which keys a secret or id was followed, so that the next reading takes plain commands.

Theory of operation. The function library follows a secret to its token, that to its session and that to its owner's
entry, wherever they lead. Next time they mostly lead the same way: then all keys of the way are read with one
``MGET``, which is one instant too, and ``TIME`` after it. Each record names the next one, so the answer itself says
whether the way is still right; where it is not, the function library is asked as if nothing had been remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..wants import EntryOf, SessionById, SessionByLookup, TokenById, TokenByLookup, Want

STAMP_LENGTH = 16
PATHS_MAX = 16_384
"""Ways that are remembered in each of two generations: the older one goes when the younger one is full."""

PATH_KINDS = frozenset({EntryOf, SessionById, SessionByLookup, TokenById, TokenByLookup})
TIME = b"*1\r\n$4\r\nTIME\r\n"


class Path(NamedTuple):
    """The keys on one way.

    Attributes:
        words: the keys as words of a packed command.
        alone: the packed commands that read this way and no other.
        links: for each but the last key, what its value says after its stamp; an empty link ends the way.
        size: how many keys.
    """

    words: bytes
    alone: bytes
    links: tuple[bytes, ...]
    size: int


class Paths:
    """The ways of one store; safe for threads, as each step is one operation on a dictionary.

    Args:
        prefix: what every key begins with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._young: dict[Want, Path] = {}
        self._old: dict[Want, Path] = {}

    def learn(self, want: Want, first: bytes, reply: Sequence[bytes | None]) -> None:
        """Remember the way on which a want was answered."""
        names, links = [first], []
        for value in reply:
            if value is None:
                break
            link = value[STAMP_LENGTH : value.index(b"\n", STAMP_LENGTH)]
            if not link:
                links.append(b"\n")
                break
            if len(names) == len(reply):
                break
            names.append(link)
            links.append(link + b"\n")
        keys = [self._prefix + name for name in names]
        words = b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])
        alone = b"*%d\r\n$4\r\nMGET\r\n%b%b" % (1 + len(keys), words, TIME)
        self._keep(want, Path(words, alone, tuple(links), len(keys)))

    def _keep(self, want: Want, path: Path) -> None:
        if len(self._young) >= PATHS_MAX:
            self._old, self._young = self._young, {}
        self._young[want] = path

    def of(self, wants: Sequence[Want]) -> list[Path] | None:
        """Answer the ways of all wants, ``None`` if one of them is not known."""
        paths = []
        for want in wants:
            path = self.one(want)
            if path is None:
                return None
            paths.append(path)
        return paths

    def one(self, want: Want) -> Path | None:
        """Answer the way of one want, ``None`` if it is not known."""
        path = self._young.get(want)
        if path is None:
            path = self._old.pop(want, None)
            if path is not None:
                self._keep(want, path)
        return path

    def replies(self, wants: Sequence[Want], paths: Sequence[Path], values: Sequence[Any]) -> list[Any] | None:
        """Answer the values as the function library would have, ``None`` if a way leads elsewhere by now."""
        replies, at = [], 0
        for want, path in zip(wants, paths, strict=True):
            reply = values[at : at + path.size]
            at += path.size
            for place, link in enumerate(path.links):
                value = reply[place]
                if value is None:
                    del reply[place + 1 :]
                    break
                if not value.startswith(link, STAMP_LENGTH):
                    self._young.pop(want, None)
                    return None
            replies.append(reply)
        return replies


def packed(paths: Sequence[Path]) -> bytes:
    """Answer the commands that read all keys of some ways as of one instant, and then the time."""
    if len(paths) == 1:
        return paths[0].alone
    size = 1 + sum([path.size for path in paths])
    return b"*%d\r\n$4\r\nMGET\r\n%b%b" % (size, b"".join([path.words for path in paths]), TIME)
