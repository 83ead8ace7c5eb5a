"""Reading an audit log: the last entries, and whether its chains are whole and reach their anchors."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple, TypeVar

from ..contract.drive import drive, drive_now
from ..contract.queries import Get, Query, Snapshot
from ..contract.store import BlockingStore, Store
from ..crypto.minting import Keyring
from ..errors import CorruptRecord, InvalidInput
from ..rules.audit import (
    CHAINS,
    AuditKey,
    Head,
    anchor_mac,
    broken_link,
    entry_in,
    entry_name,
    first_head,
    head_name,
    head_of,
    head_queries,
    heads_in,
    key_id_of,
    named_entry,
    pseudonyms_in,
)
from .log import Anchor, audit_keys

T = TypeVar("T")

BATCH = 500
"""How many entries are read in one round trip."""
FINDINGS_MAX = 100
"""After how many findings a verification stops: a broken chain need not be listed to its end."""
FIRST_RUN, RUN = 4, 16
"""How many entries of one chain a listing reads at once: of all chains at first, of one that has more to show."""
LOOKED_AT_MAX = 10_000
"""How many entries one page of a search is made of at the most; then it says that there may be more."""

LATEST_MS = 10**15
"""Where the newest entry of a chain stands that cannot be read; no instant is later."""

UNREADABLE_ENTRY = "unreadable"
"""The kind of an entry of which nothing can be read."""

NOT_BELIEVED = ":"
"""Stands for an entry that is there and whose row is not as it was written."""

AuditRead = Generator[Sequence[Query], Snapshot, T]
Place = tuple[int, int, int]
"""Where an entry stands among those of all chains: when it was made, its chain and number."""


class Verdict(NamedTuple):
    """What a verification found.

    Attributes:
        entries: how many entries the chains should have, all together.
        anchors: how many anchors were held against them.
        findings: what is wrong, a line each; empty: the chains are whole and reach every anchor.
    """

    entries: int
    anchors: int
    findings: list[str]


def verifying(keyring: Keyring, anchors: Sequence[Anchor], progress: Callable[[int], None]) -> AuditRead[Verdict]:
    """Walk each chain from its first entry; yields what to read, answers the verdict.

    Found are entries that were edited, left out, swapped or added, a chain cut before an anchor, and an anchor that
    was edited. Not found is a chain cut after the last anchor, and anything done by a holder of the key who also
    rewrites every later anchor.
    """
    keys = audit_keys(keyring)
    ends, findings = yield from _heads()
    anchored: dict[int, dict[int, set[str]]] = {}
    for number, anchor in enumerate(anchors, 1):
        wrong = _anchor_is_wrong(keys, anchor, number)
        if wrong is not None:
            findings.append(wrong)
        for chain, head in anchor.heads.items():
            anchored.setdefault(chain, {}).setdefault(head.number, set()).add(head.link)
    entries, names = 0, _Names()
    for chain in sorted({*ends, *anchored, *(yield from _begun(ends))}):
        if len(findings) < FINDINGS_MAX:
            told = _told(progress, entries)
            findings += yield from _walk(keys, chain, ends.get(chain), anchored.get(chain, {}), names, told)
        entries += ends[chain].number if chain in ends else 0
    if len(findings) < FINDINGS_MAX:
        findings += yield from _missing_names(names, ends)
    return Verdict(entries, len(anchors), findings[:FINDINGS_MAX])


class _Names:
    """What a verification meets of owners' names.

    Attributes:
        unnamed: pseudonym without a name → the entry in which it was met first.
        forgotten: the pseudonyms of those who were forgotten.
    """

    def __init__(self) -> None:
        self.unnamed: dict[str, str] = {}
        self.forgotten: set[str] = set()

    def meet(self, stored: str | None, entry: str) -> None:
        unnamed, forgotten = pseudonyms_in(stored or "")
        self.forgotten |= forgotten
        for pseudonym in unnamed:
            self.unnamed.setdefault(pseudonym, entry)

    def unexplained(self) -> list[str]:
        return [entry for pseudonym, entry in self.unnamed.items() if pseudonym not in self.forgotten]


def _missing_names(names: _Names, ends: Mapping[int, Head]) -> AuditRead[list[str]]:
    """Return which names are missing though their owners were not forgotten, not even since the walk began."""
    if names.unexplained():
        later, _ = yield from _heads()
        for chain, head in later.items():
            begun = ends[chain].number if chain in ends else 0
            numbers = range(begun + 1, min(head.number, begun + BATCH) + 1)
            for stored in (yield from _entries([(chain, number) for number in numbers])):
                names.meet(stored, "")
    return [f"the name of an owner was taken away from {entry}" for entry in names.unexplained() if entry]


def _told(progress: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda number: progress(before + number)


def _anchor_is_wrong(keys: Mapping[str, AuditKey], anchor: Anchor, number: int) -> str | None:
    """Return what is wrong with an anchor by itself, if anything."""
    key = keys.get(anchor.key_id)
    if key is None:
        return f"anchor {number} names a key that is not held"
    if not hmac.compare_digest(anchor_mac(key, anchor.text).encode(), anchor.mac.encode("utf-8", "replace")):
        return f"anchor {number} was edited, or is not of this log"
    return None


def _heads() -> AuditRead[tuple[dict[int, Head], list[str]]]:
    """Read the heads of all chains; one that is not as it was written is a finding, and its chain has none."""
    try:
        return heads_in((yield head_queries())), []
    except CorruptRecord:
        pass
    heads: dict[int, Head] = {}
    findings: list[str] = []
    for chain, query in enumerate(head_queries()):
        try:
            answer = yield [query]
            if answer.found[0].value is not None:
                heads[chain] = head_of(answer.found[0].value, chain)
        except CorruptRecord:
            findings.append(f"the head of chain {chain} was edited" if chain else "the head was edited")
    return heads, findings


def _begun(ends: Mapping[int, Head]) -> AuditRead[list[int]]:
    """Return the chains without a head that have a first entry: their head was taken away."""
    without = [chain for chain in range(CHAINS) if chain not in ends]
    stored = yield from _entries([(chain, 1) for chain in without])
    return [chain for chain, text in zip(without, stored, strict=True) if text is not None]


def _walk(
    keys: Mapping[str, AuditKey],
    chain: int,
    end: Head | None,
    anchored: Mapping[int, set[str]],
    names: _Names,
    progress: Callable[[int], None],
) -> AuditRead[list[str]]:
    """Walk one chain to its end and beyond; return what is wrong with it."""
    at = first_head(chain)
    end = end or at
    links: dict[int, str] = {}
    findings: list[str] = []
    while at.number < end.number and len(findings) < FINDINGS_MAX:
        numbers = range(at.number + 1, min(at.number + BATCH, end.number) + 1)
        for stored in (yield from _entries([(chain, number) for number in numbers])):
            at, wrong = broken_link(keys.get(key_id_of(stored) or ""), chain, at, stored)
            names.meet(stored, named_entry(at.number, chain))
            if at.number in anchored:
                links[at.number] = at.link
            if wrong is not None:
                findings.append(wrong)
        progress(at.number)
    # Asked for at one instant: meanwhile the chain may have grown as it should.
    try:
        answer = yield [Get("setting", head_name(chain)), Get("setting", entry_name(end.number + 1, chain))]
        if answer.found[1].value is not None and answer.found[0].value in (None, f"{end.number}:{end.link}"):
            findings.append(
                f"{named_entry(end.number + 1, chain)} stands after the head: the head was taken away or put back"
            )
    except CorruptRecord:
        return findings  # the head was found to be edited already, or a late entry was, which the next turn finds
    if not findings and at.link != end.link:
        findings.append(f"the head{_of(chain)} is not the last entry's: entries were taken away or the head was edited")
    for number, known in anchored.items():
        if number > end.number:
            findings.append(
                f"the chain{_of(chain)} ends at entry {end.number}, but entry {number} was anchored: it was cut"
            )
        elif number in links and known != {links[number]}:
            findings.append(f"{named_entry(number, chain)} is not the one that was anchored")
    return findings


def _of(chain: int) -> str:
    return f" {chain}" if chain else ""


def _entries(places: Sequence[tuple[int, int]]) -> AuditRead[list[str | None]]:
    """Read entries by chain and number; one whose MAC is wrong is a text that breaks the chain."""
    queries = [Get("setting", entry_name(number, chain)) for chain, number in places]
    try:
        answer = yield queries
        return [found.value for found in answer.found]
    except CorruptRecord:
        pass
    entries: list[str | None] = []
    for query in queries:
        try:
            answer = yield [query]
            entries.append(answer.found[0].value)
        except CorruptRecord:
            entries.append(NOT_BELIEVED)
    return entries


def is_kept() -> AuditRead[bool]:
    """Read whether the store has an audit log, which whatever changes the store should then go on with."""
    answer = yield head_queries()
    return any(found.value is not None for found in answer.found)


def _cursor_of(place: Place) -> str:
    """Return what ``searched`` takes as ``before`` for the entries before a place."""
    return ".".join(map(str, place))


def _place_of(cursor: object) -> Place:
    if not isinstance(cursor, str):
        raise TypeError(f"after is a page's .after or None, not {type(cursor).__name__}")
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 17 for part in parts):
        raise InvalidInput("that is no place in the audit log; take the one that a page of it gave")
    return int(parts[0]), int(parts[1]), int(parts[2])


class AuditPage(NamedTuple):
    """Entries of a log, the newest first.

    Attributes:
        entries: as JSON objects.
        next: the place after which older ones are looked for; ``None`` where there are none.
        is_kept: whether there is a log at all.
        looked_at: how many entries were read.
    """

    entries: list[dict[str, Any]]
    next: str | None
    is_kept: bool
    looked_at: int


class AuditFilter(NamedTuple):
    """Which entries are asked for; ``None`` is any.

    Attributes:
        kind: of what happened, such as ``session_ended``.
        owner: whose it is, or was before.
        subject: the id that an entry is about.
        actor: on whose behalf: the id of a service key, or ``os:`` and a user.
        since: the instant of the oldest that is asked for, in milliseconds.
        until: that of the newest.
    """

    kind: str | None = None
    owner: str | None = None
    subject: str | None = None
    actor: str | None = None
    since: int | None = None
    until: int | None = None

    def takes(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry is asked for."""
        return (
            (self.kind is None or entry.get("kind") == self.kind)
            and (self.owner is None or self.owner in (entry.get("owner"), entry.get("previous_owner")))
            and (self.subject is None or entry.get("subject_id") == self.subject)
            and (self.actor is None or entry.get("actor") == self.actor)
            and (self.until is None or entry.get("at", 0) <= self.until)
        )


def latest(limit: int) -> AuditRead[list[dict[str, Any]]]:
    """Read the last entries of all chains, the newest first; yields what to read, answers them as JSON objects.

    Args:
        limit: how many at the most.
    """
    page = yield from searched(limit, None, AuditFilter(), limit)
    return page.entries


def searched(
    limit: int, before: str | None, wanted: AuditFilter, looked_at_max: int = LOOKED_AT_MAX
) -> AuditRead[AuditPage]:
    """Read the last entries of all chains that are asked for, the newest first.

    Args:
        limit: how many at the most.
        before: the ``next`` of the page before.
        wanted: which.
        looked_at_max: after how many entries it stops and names a next page, however few of them are asked for.

    Raises:
        InvalidInput: ``before`` is no place in the log.
    """
    heads = heads_in((yield head_queries()))
    ends = {chain: head.number for chain, head in heads.items() if head.number}
    reached: dict[int, int] = {}
    if before is not None:
        at, chain, number = _place_of(before)
        ends, reached[chain] = (yield from _before((at, chain, number), ends)), at
    elif wanted.until is not None:
        ends = yield from _before((wanted.until + 1, 0, 0), ends, unknown_ms=0)
    merging = _Merging(ends, max(FIRST_RUN, -(-min(limit, looked_at_max) // max(1, len(ends)))), reached)
    yield from merging.begin()
    entries: list[dict[str, Any]] = []
    last: Place | None = None
    while merging.heap and len(entries) < limit and merging.looked_at < looked_at_max:
        last, entry = yield from merging.newest()
        if wanted.since is not None and last[0] < wanted.since:
            return AuditPage(entries, None, True, merging.looked_at)
        if wanted.takes(entry):
            entries.append(entry)
    rest = _cursor_of(last) if last is not None and merging.heap else None
    return AuditPage(entries, rest, bool(heads), merging.looked_at)


class _Merging:
    """Merges the chains of a log, the newest entry of all first: a heap of the newest of each.

    An entry that cannot be read stands right behind the one after it in its chain, so that it hides nothing.

    Args:
        ends: the last number of each chain that is to be shown.
        first_run: how many entries of each are read at first.
        reached: the instant at which those stand that were shown last, of chains of which some were.
    """

    def __init__(self, ends: Mapping[int, int], first_run: int, reached: Mapping[int, int]) -> None:
        self._ends = {chain: number for chain, number in ends.items() if number}
        self._runs: dict[int, list[dict[str, Any]]] = {}
        self._run = first_run
        self._reached = dict(reached)
        self.heap: list[tuple[Place, int]] = []
        self.looked_at = 0

    def _next_places(self, chain: int) -> list[tuple[int, int]]:
        return [(chain, number) for number in range(self._ends[chain], max(0, self._ends[chain] - self._run), -1)]

    def begin(self) -> AuditRead[None]:
        """Read the newest entries of all chains."""
        places = [place for chain in self._ends for place in self._next_places(chain)]
        for first in range(0, len(places), BATCH):
            part = places[first : first + BATCH]
            for (chain, number), text in zip(part, (yield from _entries(part)), strict=True):
                self._runs.setdefault(chain, []).append(_entry_in(text, chain, number))
                self._ends[chain] = number - 1
        self._run = RUN if len(self._ends) > 1 else BATCH
        self.heap = [(self._newest_first(chain), chain) for chain in self._runs]
        heapify(self.heap)

    def newest(self) -> AuditRead[tuple[Place, dict[str, Any]]]:
        """Return the newest entry that was not returned yet, and where it stands."""
        (at, _, number), chain = self.heap[0]
        place = -at, chain, -number
        run = self._runs[chain]
        entry = run.pop(0)
        self.looked_at += 1
        if not run and self._ends[chain]:
            part = self._next_places(chain)
            stored = yield from _entries(part)
            run += [_entry_in(text, *place) for place, text in zip(part, stored, strict=True)]
            self._ends[chain] -= len(part)
        if run:
            heapreplace(self.heap, (self._newest_first(chain), chain))
        else:
            heappop(self.heap)
        return place, entry

    def _newest_first(self, chain: int) -> Place:
        """Return where the next entry of a chain stands in the heap."""
        entry = self._runs[chain][0]
        at = self._reached[chain] = entry.get("at", self._reached.get(chain, LATEST_MS))
        return -at, -chain, -entry["n"]


def _entry_in(text: str | None, chain: int, number: int) -> dict[str, Any]:
    try:
        entry = entry_in(text or "")
        return {**entry, "chain": chain, "n": number, "at": int(entry["at"])}
    except (ValueError, KeyError, TypeError):
        return {"n": number, "chain": chain, "kind": UNREADABLE_ENTRY}


def _before(place: Place, ends: Mapping[int, int], unknown_ms: int = LATEST_MS) -> AuditRead[dict[int, int]]:
    """Return how many entries of each chain stand before a place: all chains are searched at once, by halves.

    Args:
        place: that of an entry, or an instant.
        ends: the last number of each chain.
        unknown_ms: when something was that cannot be read, and nothing after it in its chain either.
    """
    low, high = dict.fromkeys(ends, 0), dict(ends)
    _, own, number_there = place
    if number_there and own in ends:
        low[own] = high[own] = min(number_there - 1, ends[own])
    while True:
        asked = {chain: (low[chain] + high[chain] + 1) // 2 for chain in ends if low[chain] < high[chain]}
        if not asked:
            return low
        instants = yield from _instants(asked, ends)
        for chain, number in asked.items():
            if (instants.get(chain, unknown_ms), chain, number) < place:
                low[chain] = number
            else:
                high[chain] = number - 1


def _instants(numbers: Mapping[int, int], ends: Mapping[int, int]) -> AuditRead[dict[int, int]]:
    """Return when an entry of each chain was: the next one after it that can be read says it; none for who has none."""
    instants: dict[int, int] = {}
    left, run = dict(numbers), 1
    while left:
        places = [
            (chain, number)
            for chain, first in left.items()
            for number in range(first, min(first + run, ends[chain] + 1))
        ]
        for (chain, number), text in zip(places, (yield from _entries(places)), strict=True):
            at = _entry_in(text, chain, number).get("at")
            if at is not None:
                instants.setdefault(chain, at)
        left = {chain: first + run for chain, first in left.items() if chain not in instants}
        left = {chain: first for chain, first in left.items() if first <= ends[chain]}
        run = min(4 * run, BATCH)
    return instants


async def read(store: Store, reading: AuditRead[T]) -> T:
    """Carry out a reading on a store."""
    return await drive(reading, store.read)


def read_now(store: BlockingStore, reading: AuditRead[T]) -> T:
    """Carry out a reading on a blocking store."""
    return drive_now(reading, store.read_now)
