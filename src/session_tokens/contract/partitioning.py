"""Which partition of a store an owner's records lie in, and how ids and secrets say so. Pure functions.

Theory of operation. A store on several servers keeps its records in partitions, each of which commits by itself. An
owner's records lie in one that follows from the owner's name. Ids and secrets are minted with the name of their
partition in them (two characters of base62), so whoever is given one knows where to look without asking. What was
minted elsewhere, or chosen by an application, names none (``00``): it lies where its own digest says.

A store in one place mints ``00``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from zlib import crc32

from ..crypto.secret_form import ID_LENGTH, PARTITION, PARTITION_MARK, PARTITION_NAMES, PARTITIONS

NUMBERS: Final = {name: number for number, name in enumerate(PARTITION_NAMES)}
"""The number of each partition, by the name that ids and secrets have."""


def hashed(text: bytes) -> int:
    """Return the partition of what names none."""
    return crc32(text) % PARTITIONS


def partition_of_owner(owner: str) -> int:
    """Return the partition in which an owner's records lie."""
    return sha256(owner.encode("utf-8", "surrogatepass")).digest()[0] % PARTITIONS


def partition_named_in(key: str | Sequence[str]) -> str:
    """Return the name of the partition that an id names, or a secret's look-up keys do; ``00`` for none."""
    if isinstance(key, str):
        name = key[4:6] if len(key) == ID_LENGTH and key[3] == "_" else ""
    else:
        name = named_by_lookup(key[0])
    return name if name in NUMBERS else PARTITION


def named_by_lookup(lookup: str | None) -> str:
    """Return the name of the partition with which a look-up key ends; ``00`` for none."""
    if lookup is not None and lookup[-3:-2] == PARTITION_MARK and lookup[-2:] in NUMBERS:
        return lookup[-2:]
    return PARTITION


def spread(name: str, number: int) -> str:
    """Return the name of a setting that lies in the partition of a number; one without lies in the first."""
    return f"{name}{PARTITION_MARK}{PARTITION_NAMES[number % PARTITIONS]}"


def unspread(name: str) -> str:
    """Return the name that a setting had before it was spread."""
    return name.partition(PARTITION_MARK)[0]


def numbers_in(partition: int, numbers: int) -> range:
    """Return which of the numbers from 0 lie in a partition."""
    return range(partition, numbers, PARTITIONS)


class Partitioning:
    """Names the partitions in which a store's ids and secrets are minted; this one has one place for all."""

    def of_owner(self, owner: str | None) -> str:
        """Return the name of an owner's partition; for none, of any."""
        return PARTITION

    def of_key(self, key: str | Sequence[str] | None) -> str:
        """Return the name of the partition of what has that id or those look-up keys; for nothing, of any."""
        return PARTITION


class Partitioned(Partitioning):
    """That of a store in ``PARTITIONS``."""

    def of_owner(self, owner: str | None) -> str:
        """Return the name of an owner's partition; for none, of any."""
        return PARTITION_NAMES[os.urandom(1)[0] % PARTITIONS if owner is None else partition_of_owner(owner)]

    def of_key(self, key: str | Sequence[str] | None) -> str:
        """Return the name of the partition of what has that id or those look-up keys; for nothing, of any."""
        return self.of_owner(None) if key is None else partition_named_in(key)


ONE_PLACE: Final = Partitioning()
