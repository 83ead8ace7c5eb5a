"""Where keys lie that are spread over a cluster: in one of 64 slots, which the name of a record tells. Pure functions.

Theory of operation. The 16,384 slots of a cluster are cut into as many equal stretches as there are partitions, and
each partition lies in the middle slot of its stretch: nodes that share the slots evenly share the partitions evenly,
and go on doing so when there are more or fewer of them. A key's slot follows from its hash tag, so the tag of a
partition is the name space and three characters that lead there. They are found at once: CRC16 of a text is that of its
beginning, carried on over zeros, XOR that of its end alone.

A record lies where its name says: with its owner (entries, sets of an owner), in the partition that its id or look-up
key names, or, where it names none, where its digest says. The sets of a session lie with it; listings, and what is due,
with the records that stand in them, so each partition has its own. A setting is where its name says, as a look-up key
is (chains of an audit log are spread so), all others and peppers in the first partition.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache

from ...contract.partitioning import NUMBERS, hashed
from ...crypto.secret_form import ALPHABET, ID_LENGTH, PARTITIONS
from .keys import prefix_of
from .primaries import SLOTS, slot_of

FIRST = 0
"""The partition that has what is one for the whole name space."""
UNSPREAD = PARTITIONS
"""In the place of a partition: where all keys lie of a name space that is in one slot, which is only looked for."""
_OF_OWNERS = frozenset({b"e", b"bo", b"bp"})
_WITHOUT_ID = _OF_OWNERS | {b"c", b"q"}
_LOOKUPS = frozenset({b"S", b"T", b"K"})
_NUMBERS = {name.encode("ascii"): number for name, number in NUMBERS.items()}


def middle_slot(partition: int) -> int:
    """Return the slot in which a partition lies."""
    return (2 * partition + 1) * SLOTS // (2 * PARTITIONS)


@lru_cache(64)
def prefixes(name: str) -> tuple[bytes, ...]:
    """Return what the keys of each partition begin with, in a name space whose keys begin with ``name``."""
    ends = {crc_hqx(text, 0): text for text in ((a + b).encode("ascii") for a in ALPHABET for b in ALPHABET)}
    begun = crc_hqx(f"{name}:".encode("ascii"), 0)
    carried = [(char, crc_hqx(char.encode("ascii") + b"\0\0", begun)) for char in ALPHABET]
    tags = []
    for partition in range(PARTITIONS):
        wanted = [middle_slot(partition) + SLOTS * quarter for quarter in range(2**16 // SLOTS)]
        tags.append(
            next(
                char.encode("ascii") + ends[crc ^ before]
                for char, before in carried
                for crc in wanted
                if crc ^ before in ends
            )
        )
    return tuple(b"{%b:%b}:" % (name.encode("ascii"), tag) for tag in tags)


def name_space(namespace: str, space: str) -> str:
    """Return what the hash tags of a name space begin with."""
    return f"{namespace}.{space}" if space else namespace


@lru_cache(65_536)
def partition_of(name: bytes) -> int:
    """Return the partition in which a record or one of the sets around it lies, by its name without a prefix."""
    kind, _, part = name.partition(b":")
    if kind in _LOOKUPS:
        named = part[-2:] if part[-3:-2] == b"-" else b""
    elif len(part) == ID_LENGTH and part[3:4] == b"_" and kind not in _WITHOUT_ID:
        named = part[4:6]
    elif kind in _OF_OWNERS:
        return int(part[:2], 16) % PARTITIONS
    elif kind == b"c":
        return _NUMBERS.get(part[-2:], FIRST) if part[-3:-2] == b"-" else FIRST
    elif kind == b"q":
        return partition_of(part)
    else:
        named = b""
    number = _NUMBERS.get(named)
    return hashed(part) if number is None else number


class Placement:
    """The partitions of one name space.

    Attributes:
        prefixes: what the keys of each begin with; also of ``UNSPREAD``.
        slots: in which they lie.
    """

    def __init__(self, namespace: str, space: str = "") -> None:
        whole = prefix_of(namespace, space)
        self.prefixes = (*prefixes(name_space(namespace, space)), whole)
        self.slots = (*map(middle_slot, range(PARTITIONS)), slot_of(whole))

    def prefix(self, partition: int) -> bytes:
        """Return what the keys of a partition begin with."""
        return self.prefixes[partition]

    @staticmethod
    def of_name(name: bytes) -> int:
        """Return the partition in which a record or one of the sets around it lies."""
        return partition_of(name)

    def key(self, name: bytes) -> bytes:
        """Return the whole key of a name."""
        return self.prefixes[partition_of(name)] + name
