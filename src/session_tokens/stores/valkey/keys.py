"""The names of keys on a Valkey or Redis server, and what a record's name and time-to-live follow from.

Theory of operation. Every key begins with the hash tag of its partition, ``{st:00}:``, so that all keys of a
partition lie in one slot of a cluster from the first day. Whatever a user can choose (owners) stands in a key only as
a digest; ids are of our own making. A record is one string: a stamp, the name of the record that reading it brings
along (a token its session, a session its owner's entry, a replaced one its successor while tokens are still to be
moved there), the MAC, and the row as JSON. A look-up key is a record
without a body that brings its session or token along, so a secret is followed to everything in one round trip.

    s:id  t:id  e:owner  i:key  k:id  c:name     sessions, tokens, owners' entries, outcomes, service keys, settings
    S:…   T:…   K:…                              look-up keys of sessions, tokens, service keys
    bo:owner  bh:session  bp:owner  lx:session   living sessions; tokens held; parked; of those held, transferable
    bs:session                                   its predecessors
    ls ld  lt lv lu  le lk                       sessions, detached; tokens, sellable, unassigned; entries; keys
    lg:tag                                       tokens with that tag
    lw  lw:tag                                   unassigned tokens by when they became so; those with that tag
    dus dut dui  n  m                            who is due when; the last stamp; what is recorded of peppers
    sw                                           who is sweeping now
    ev  et                                       the log of events, a stream; up to where it was taken away
    ew  er                                       the log as it is being rewritten; by whom
    es  z:moved                                  events on their way to the log; up to where they were moved there
    h:…  x:…  d:…  hq  dq                        commits over several partitions; see library_v1_joint.lua
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any

from ...clock import NEVER
from ...contract.places import (
    BOUND_OF,
    DETACHED,
    LISTED,
    OUTCOME_DUE,
    OWNERS,
    PARKED,
    PREDECESSORS_OF,
    SERVICE_KEYS,
    SESSION_DUE,
    SESSIONS,
    SESSIONS_OF,
    TAGGED,
    TOKEN_DUE,
    TOKENS,
    TRANSFERABLES_OF,
    UNASSIGNED,
    WAITING,
    WAITING_TAGGED,
    Place,
)
from ...contract.record_cache import PartNames
from ...crypto.secret_form import PARTITION
from ...errors import InvalidInput
from ...records import Session, Token

PEPPERS = b"m"
"""The name of what is recorded of peppers: key id → check value, since when given, since when current (0: never)."""
STAMP_LENGTH = 16
"""Digits of a stamp, with which each value begins."""
PARTS_MAX = 16_384
"""Ids and owners whose parts of a key are remembered."""
PART_LENGTH_MAX = 200
GRACE_MS = 7 * 86_400_000
"""How long after its deadline the server throws a record away by itself, if nobody swept it."""

_IN_PARTS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:-"
TABLES_END = ".tt"
"""How the name spaces end in which ``TokenTables`` lie."""
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def prefix_of(namespace: str, space: str) -> bytes:
    """Return what every key of one name space begins with.

    Raises:
        InvalidInput: for anything but 1 to 32 letters, digits, ``_``, ``.`` and ``-`` (a brace would move the slot), or
            for where the ``TokenTables`` of another lie.
    """
    if not _PREFIX.fullmatch(namespace):
        raise InvalidInput("the option namespace of the store's URL is 1 to 32 ASCII letters, digits, '_', '.' or '-'")
    if namespace.endswith(TABLES_END):
        raise InvalidInput(f"namespace does not end with {TABLES_END}: so ends where the TokenTables of another lie")
    name = f"{namespace}.{space}" if space else namespace
    return f"{{{name}:{PARTITION}}}:".encode("ascii")


def keys_of(key: bytes) -> str:
    """Return the pattern that a key of a name space matches, and all others of it, as an ACL has it."""
    return key.partition(b":")[0].decode("ascii") + "*"


def lookup_part(text: str) -> bytes:
    """As ``part_of``, for what is mostly asked for once."""
    part = text.encode("utf-8", "surrogatepass")
    if not part.translate(None, _IN_PARTS) and 0 < len(part) <= PART_LENGTH_MAX:
        return part
    return b"~" + sha256(part).hexdigest().encode("ascii")


@lru_cache(PARTS_MAX)
def part_of(text: str) -> bytes:
    """Return an id as part of a key; what cannot be an id becomes the name of nothing."""
    return lookup_part(text)


@lru_cache(PARTS_MAX)
def owner_part(owner: str) -> bytes:
    """Return an owner as part of a key: a digest, so that no owner chooses a slot or the form of a key."""
    return sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:40].encode("ascii")


def session_link(session: Session) -> bytes:
    """Return the name of what reading a session brings along."""
    successor = session.details.successor
    return b"e:" + owner_part(session.owner) if successor is None else b"s:" + part_of(successor)


def token_link(token: Token) -> bytes:
    """Return the name of what reading a token brings along."""
    return b"" if token.session_id is None else b"s:" + part_of(token.session_id)


LETTERS = {
    "session": b"s", "token": b"t", "owner": b"e", "idempotency": b"i", "setting": b"c", "service key": b"k",
}  # fmt: skip
"""Kind of record → how the names of its records begin, before a colon; as a capital, those of its look-up keys."""


def key_part(kind: str, key: str) -> bytes:
    """Return the key of a record of a kind as part of its name."""
    return owner_part(key) if kind == "owner" else part_of(key)


LINKS: dict[str, Callable[[Any], bytes]] = {"session": session_link, "token": token_link}
"""Kind of record → what reading one brings along."""


_PARTS: dict[str, tuple[bytes, Callable[[str], bytes]]] = {
    SESSIONS_OF: (b"bo:", owner_part), PREDECESSORS_OF: (b"bs:", part_of), PARKED: (b"bp:", owner_part),
    BOUND_OF: (b"bh:", part_of), TRANSFERABLES_OF: (b"bh:", part_of), TAGGED: (b"lg:", owner_part),
    WAITING_TAGGED: (b"lw:", owner_part),
}  # fmt: skip
WHOLE = {SESSIONS: b"ls", DETACHED: b"ld", TOKENS: b"lt", LISTED: b"lv", UNASSIGNED: b"lu", WAITING: b"lw",
         OWNERS: b"le", SERVICE_KEYS: b"lk", SESSION_DUE: b"dus", TOKEN_DUE: b"dut", OUTCOME_DUE: b"dui"}  # fmt: skip
"""Index that has no parts → its sorted set."""


def entry_at(place: Place, id: bytes) -> tuple[bytes, bytes, int]:
    """Return the sorted set of a place, and the member and score there of a record whose id has this part of a key."""
    index, whose, at = place
    return WHOLE.get(index) or set_in(index, whose), id, at


def set_in(index: str, whose: str) -> bytes:
    """Return the sorted set of somebody's part of an index."""
    beginning, part = _PARTS[index]
    return beginning + part(whose)


def record_at(bucket: bytes, member: bytes) -> bytes:
    """Return the name of the record that stands in a sorted set."""
    if bucket[:2] == b"du":
        return bucket[2:] + b":" + member
    return _KINDS_IN.get(bucket[:2], b"t:") + member


_KINDS_IN = {b"bo": b"s:", b"bs": b"s:", b"ls": b"s:", b"ld": b"s:", b"le": b"e:", b"lk": b"k:"}
"""How the name of a set begins → those of its records, where these are not tokens."""


def expires_at(deadline: int) -> bytes:
    """Return when the server may throw a record away, in milliseconds; ``0`` for never."""
    return b"0" if deadline in (0, NEVER) else b"%d" % (deadline + GRACE_MS)


NAMES = PartNames(
    session=lambda id: b"s:" + part_of(id),
    token=lambda id: b"t:" + part_of(id),
    entry=lambda owner: b"e:" + owner_part(owner),
    setting=lambda name: b"c:" + part_of(name),
    service_key=lambda id: b"k:" + part_of(id),
    idempotency=lambda key: b"i:" + part_of(key),
    session_lookup=lambda lookup: b"S:" + lookup_part(lookup),
    token_lookup=lambda lookup: b"T:" + lookup_part(lookup),
    sessions_of=lambda owner: b"bo:" + owner_part(owner),
    absent=b"",
)
"""The names of what is remembered."""
