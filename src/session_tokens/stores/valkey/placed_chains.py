"""Remembers which keys a secret or id led to, in one partition or in several; see ``key_chains``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .key_chains import FollowedRead, KeyChain, KeyChains
from .placement import Placement, partition_of
from .queries import name_of


class Stretch(NamedTuple):
    """The keys of a chain that lie in one partition.

    Attributes:
        partition: which.
        words: the keys as words of a packed command.
        places: where their values stand among those of the chain.
    """

    partition: int
    words: bytes
    places: tuple[int, ...]


class PlacedChain(KeyChain):
    """A chain of a store in partitions.

    Attributes:
        stretches: its keys by partition.
        partition: that of all of them; ``None`` where they lie in several.
    """

    __slots__ = ("partition", "stretches")

    partition: int | None
    stretches: tuple[Stretch, ...]


class PlacedChains(KeyChains):
    """The chains of a store in partitions."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(b"")
        self._placement = placement

    def _chain_of(self, reading: FollowedRead) -> KeyChain | None:
        on_one = super()._chain_of(reading)
        if on_one is None:
            return None
        names = [name_of(on_one.query), *(link[:-1] for link in on_one.links if len(link) > 1)]
        places: dict[int, list[int]] = {}
        for at, name in enumerate(names):
            places.setdefault(partition_of(name), []).append(at)
        stretches = []
        for partition, ats in places.items():
            keys = [self._placement.prefixes[partition] + names[at] for at in ats]
            words = b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])
            stretches.append(Stretch(partition, words, tuple(ats)))
        first = stretches[0]
        alone = b"*%d\r\n$4\r\nMGET\r\n%b" % (1 + len(first.places), first.words)
        chain = PlacedChain(on_one.query, first.words, alone, on_one.links, len(names))
        chain.stretches = tuple(stretches)
        chain.partition = first.partition if len(stretches) == 1 else None
        return chain


Together = dict[int, tuple[list[bytes], list[tuple[list[Any], tuple[int, ...]]]]]
"""Partition → words of keys, and for each stretch where its values go and to which places of that."""


def read_together(chains: Sequence[Any]) -> tuple[list[tuple[int, bytes]], list[list[Any]], list[Any]]:
    """Return a packed command for each partition of some chains, and where the values go.

    Return the commands with their partitions, a list for the values of each chain, and for each command the lists and
    places that its values go to, in order.
    """
    values: list[list[Any]] = []
    words: dict[int, list[bytes]] = {}
    goes: dict[int, list[tuple[list[Any], tuple[int, ...]]]] = {}
    for chain in chains:
        into: list[Any] = [None] * chain.size
        values.append(into)
        for partition, packed, places in chain.stretches:
            words.setdefault(partition, []).append(packed)
            goes.setdefault(partition, []).append((into, places))
    commands = []
    for partition, some in words.items():
        count = 1 + sum([len(places) for _, places in goes[partition]])
        commands.append((partition, b"*%d\r\n$4\r\nMGET\r\n%b" % (count, b"".join(some))))
    return commands, values, [goes[partition] for partition in words]


def taken_in(found: Sequence[bytes | None], goes: Sequence[tuple[list[Any], tuple[int, ...]]]) -> None:
    """Put the values of one command where they go."""
    at = 0
    for into, places in goes:
        for place in places:
            into[place] = found[at]
            at += 1
