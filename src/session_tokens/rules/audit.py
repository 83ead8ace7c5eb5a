"""The audit log: each committed state change is one entry of an HMAC chain, written in the same commit.

A log has many chains, so that commands that go on side by side need not follow one another: each command is given one
chain for itself (``audit.Audit``). An entry is JSON text under the shared setting ``audit:`` + its chain and number; a
setting ``audit_head`` for each chain holds its last number and link. In a store of partitions the chains are spread
over them, and a command is given one that lies where it commits. Each link is HMAC-SHA256(key, link before +
entry), so that an entry that was edited, left out or moved breaks its chain for whoever holds the key. A chain cut
short at its end is whole in itself: only an anchor that was kept elsewhere shows it, and it names the heads of all
chains.

An entry names owners by pseudonyms, HMACs of their names; which name each of them stands for is kept beside it, on a
line of its own that no link covers. So an owner's name can be taken out of the log, and every chain stays whole. A name
that was put beside a pseudonym of another is found, and so is one that is missing though nobody was forgotten.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple, TypeVar

from ..contract.partitioning import numbers_in, spread, unspread
from ..contract.queries import Get, Query, Snapshot
from ..contract.transaction import Rule, Transaction, queries_of, reads
from ..errors import CorruptRecord
from ..events import OWNER_FORGOTTEN, Event, events_of, owners_replaced
from ..settings import FORGOTTEN_OWNERS
from .lookup import only_ends

T = TypeVar("T")

HEAD_SETTING = "audit_head"
ENTRY_PREFIX = "audit:"
STARTED = "service_started"
"""The kind of the entry with which a service that keeps a log begins; no event is of it."""
CHAINS = 512
"""Chains of one log: so many commands may go on side by side, in all processes together, before one has to wait."""


PSEUDONYMS_MAX = 4_096
"""Owners of whom the pseudonym is remembered: each command of one of them names them."""


class AuditKey(NamedTuple):
    """The key of the chains, and its id, which every entry names.

    Attributes:
        id: of the key.
        keyed: HMAC-SHA256 under it, in hex.
    """

    id: str
    keyed: Callable[[bytes], str]

    def __repr__(self) -> str:
        return f"AuditKey(id={self.id!r}, keyed=<hidden>)"


class Act(NamedTuple):
    """On whose behalf something is done: the id of the service key and of the request, where there are such."""

    actor: str | None = None
    request: str | None = None


class Head(NamedTuple):
    """Where a chain ends: the number of its last entry, and that entry's link in hex."""

    number: int
    link: str


class Audited(NamedTuple):
    """What a rule answered, how many entries that made, and where the chain ends after them if it made any."""

    outcome: Any
    entries: int
    head: Head | None


def chains_in(partition: int | None) -> range:
    """Return the chains that lie in a partition of a store; all of them for ``None``."""
    return range(CHAINS) if partition is None else numbers_in(partition, CHAINS)


_HEAD_NAMES = (
    HEAD_SETTING,
    *(spread(f"{HEAD_SETTING}:{chain:04d}", chain) for chain in range(1, CHAINS)),
)


def head_name(chain: int) -> str:
    """Return the name of the setting that holds the head of a chain."""
    return _HEAD_NAMES[chain]


def entry_name(number: int, chain: int = 0) -> str:
    """Return the name of the setting that holds an entry of a chain; names sort as their numbers do."""
    if not chain:
        return f"{ENTRY_PREFIX}{number:016d}"
    return spread(f"{ENTRY_PREFIX}{chain:04d}:{number:016d}", chain)


def place_of_entry(name: str) -> tuple[int, int] | None:
    """Return the chain and number of the entry that a setting holds, ``None`` for other settings."""
    if not name.startswith(ENTRY_PREFIX):
        return None
    chain, _, number = unspread(name).removeprefix(ENTRY_PREFIX).rpartition(":")
    return (int(chain or 0), int(number)) if number.isdigit() and (not chain or chain.isdigit()) else None


def first_head(chain: int) -> Head:
    """Return the head of an empty chain; no two begin alike, so that one does not pass for another."""
    return Head(0, f"{chain:064d}")


def link_of(key: AuditKey, before: str, text: str) -> str:
    """Return the link of an entry after another's."""
    return key.keyed(f"{before}\n{text}".encode())


def head_of(text: str | None, chain: int = 0) -> Head:
    """Return the head that a store holds; that of an empty chain where there is none.

    Raises:
        CorruptRecord: it is none.
    """
    if text is None:
        return first_head(chain)
    number, _, link = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(link) == 64):
        raise CorruptRecord("the head of the audit log is not as it was written; run: session-tokens audit verify")
    return Head(int(number), link)


def head_queries(chains: Iterable[int] = range(CHAINS)) -> list[Query]:
    """Return what brings the heads of chains, the first ones or all; of one partition they are as of one instant."""
    return [Get("setting", head_name(chain)) for chain in chains]


def heads_in(answer: Snapshot) -> dict[int, Head]:
    """Return the heads of the chains that have entries, from the answer to ``head_queries``.

    Raises:
        CorruptRecord: one is none.
    """
    return {chain: head_of(found.value, chain) for chain, found in enumerate(answer.found) if found.value is not None}


@lru_cache(PSEUDONYMS_MAX)
def pseudonym_of(key: AuditKey, owner: str) -> str:
    """Return what stands in an owner's place where they are not to be named; a pseudonym stands for itself."""
    if owner.startswith(FORGOTTEN_OWNERS):
        return owner
    return FORGOTTEN_OWNERS + key.keyed(b"owner\n" + owner.encode("utf-8", "surrogatepass"))[:32]


def anchor_mac(key: AuditKey, text: str) -> str:
    """Return the signature of an anchor, in hex."""
    return key.keyed(b"anchor\n" + text.encode())


_AUDITED: dict[Callable[..., Any], Rule[Audited]] = {}


def audited(rule: Rule[Any]) -> Rule[Audited]:
    """Return a rule that runs another and appends an entry to a chain for each state change that it notes down.

    It is one for each rule, ``(tx, key, act, chain, args)``: what a store has learnt of how a rule reads holds for it.
    """
    made = _AUDITED.get(rule)
    if made is None:

        def sure_reads(key: AuditKey, act: Act, chain: int, args: tuple[object, ...]) -> Sequence[Query]:
            return [*queries_of(rule, args), Get("setting", head_name(chain))]

        def run(tx: Transaction, key: AuditKey, act: Act, chain: int, args: tuple[object, ...]) -> Audited:
            return _appended(tx, key, act, chain, rule(tx, *args))

        made = _AUDITED.setdefault(rule, reads(sure_reads)(run))
    return made


@reads(lambda key, act, chain: [Get("setting", head_name(chain))])
def begin_audit(tx: Transaction, key: AuditKey, act: Act, chain: int) -> Audited:
    """Append an entry that says that a service keeps the log from now on; it is no event, for nothing changed."""
    return _with_entries(tx, key, act, chain, None, [Event(STARTED, tx.now, "", None)])


def _appended(tx: Transaction, key: AuditKey, act: Act, chain: int, outcome: object) -> Audited:
    """Append an entry for each state change that was noted down; the chain is read only if there are any."""
    notes = tx.changes.notes
    if not notes:
        return Audited(outcome, 0, None)
    return _with_entries(tx, key, act, chain, outcome, events_of(notes, tx.now))


def _with_entries(
    tx: Transaction, key: AuditKey, act: Act, chain: int, outcome: object, events: Sequence[Event]
) -> Audited:
    number, link = head_of(tx.setting(head_name(chain)), chain)
    for event in events:
        number += 1
        names: dict[str, str] = {}
        text = _entry_text(number, chain, key.id, act, _unnamed(key, event, names))
        link = link_of(key, link, text)
        tx.put_setting(entry_name(number, chain), _stored(link, text, names))
    tx.put_setting(head_name(chain), f"{number}:{link}")
    return Audited(outcome, len(events), Head(number, link))


def _unnamed(key: AuditKey, event: Event, names: dict[str, str]) -> Event:
    """Return an event with pseudonyms for owners, and add for whom they stand to ``names``."""

    def hidden(owner: Any) -> Any:
        if owner is None:
            return None
        pseudonym = pseudonym_of(key, owner)
        if pseudonym != owner:
            names[pseudonym] = owner
        return pseudonym

    return owners_replaced(event, hidden)


def _stored(link: str, text: str, names: Mapping[str, str]) -> str:
    """Return an entry as it is kept; names as JSON by hand, as the entry itself."""
    if not names:
        return f"{link}:{text}"
    said = ",".join([f"{encode_basestring(one)}:{encode_basestring(name)}" for one, name in names.items()])
    return f"{link}:{text}\n{{{said}}}"


def names_in(stored: str) -> dict[str, str]:
    """Return which names stand beside an entry, by their pseudonyms; none where that cannot be read."""
    try:
        names = json.loads(stored.partition("\n")[2] or "{}")
        return {str(pseudonym): str(name) for pseudonym, name in names.items()}
    except (ValueError, AttributeError):
        return {}


def entry_in(stored: str) -> dict[str, Any]:
    """Return an entry with the names that stand beside it in the place of pseudonyms.

    Raises:
        ValueError: it is none.
    """
    entry: dict[str, Any] = json.loads(stored.partition("\n")[0].partition(":")[2])
    names = names_in(stored)
    if not names:
        return entry
    terms = entry.get("terms")
    if isinstance(terms, dict):
        entry["terms"] = {name: _named(names, value) for name, value in terms.items()}
    return {field: _named(names, value) for field, value in entry.items()}


def _named(names: Mapping[str, str], value: Any) -> Any:
    return names.get(value, value) if isinstance(value, str) else value


def pseudonyms_in(stored: str) -> tuple[set[str], set[str]]:
    """Return the pseudonyms of an entry for which no name stands beside it, and those that it says are forgotten."""
    try:
        entry = json.loads(stored.partition("\n")[0].partition(":")[2])
        terms = entry.get("terms") or {}
        told = {entry.get(field) for field in ("subject_id", "owner", "previous_owner")} | {terms.get("borrower")}
        others = terms.get("also", []) if entry.get("kind") == OWNER_FORGOTTEN else []
    except (ValueError, AttributeError):
        return set(), set()
    unnamed = {each for each in told if isinstance(each, str) and each.startswith(FORGOTTEN_OWNERS)}
    unnamed -= names_in(stored).keys()
    return (set(), {*unnamed, *others}) if entry.get("kind") == OWNER_FORGOTTEN else (unnamed, set())


@reads(lambda owner, places: [Get("setting", name) for name in places])
def forget_in_entries(tx: Transaction, owner: str, places: Sequence[str]) -> int:
    """Take an owner's name away from beside entries, of which the names of the settings are given; return how many."""
    count = 0
    for name in places:
        stored = tx.setting(name)
        names = {} if stored is None else names_in(stored)
        left = {pseudonym: each for pseudonym, each in names.items() if each != owner}
        if stored is None or len(left) == len(names):
            continue
        link, _, text = stored.partition("\n")[0].partition(":")
        tx.put_setting(name, _stored(link, text, left))
        count += 1
    only_ends(tx)
    return count


def _entry_text(number: int, chain: int, key_id: str, act: Act, event: Event) -> str:
    """Return an entry as JSON, by hand: this is written within every command."""
    kind, at, subject_id, owner, reason, previous_owner, _, terms = event
    return (
        f'{{"n":{number},"chain":{chain},{_act_text(key_id, act)},"kind":"{kind}","at":{at},'
        f'"subject_id":{encode_basestring(subject_id)},'
        f'"owner":{"null" if owner is None else encode_basestring(owner)},'
        f'"reason":{"null" if reason is None else encode_basestring(reason)},'
        f'"previous_owner":{"null" if previous_owner is None else encode_basestring(previous_owner)}'
        f"{'' if terms is None else _terms_text(terms)}}}"
    )


def _terms_text(terms: Mapping[str, object]) -> str:
    return f',"terms":{json.dumps(terms, ensure_ascii=False, separators=(",", ":"))}'


@lru_cache(1_000)
def _act_text(key_id: str, act: Act) -> str:
    """Return the part of an entry that all entries of one request share."""
    actor = "null" if act.actor is None else encode_basestring(act.actor)
    request = "null" if act.request is None else encode_basestring(act.request)
    return f'"key":{encode_basestring(key_id)},"actor":{actor},"request":{request}'


def broken_link(key: AuditKey | None, chain: int, before: Head, stored: str | None) -> tuple[Head, str | None]:
    """Judge the entry after ``before``: answer the head after it, and what is wrong with it, if anything.

    Args:
        key: the key that the entry names, ``None`` if it is not held.
        chain: that it stands in.
        before: the head of the chain so far.
        stored: what the store holds under the entry's name.
    """
    number = before.number + 1
    named = named_entry(number, chain)
    if stored is None:
        return Head(number, before.link), f"{named} is missing"
    link, _, text = stored.partition("\n")[0].partition(":")
    after = Head(number, link)
    if key is None and text:
        return after, f"{named} names a key that is not held"
    if key is None or not hmac.compare_digest(
        link_of(key, before.link, text).encode(), link.encode("utf-8", "replace")
    ):
        return after, f"{named} was edited, or is not the one that stood there"
    for pseudonym, name in names_in(stored).items():
        if pseudonym_of(key, name) != pseudonym:
            return after, f"{named} names an owner who is not the one"
    return after, None


def named_entry(number: int, chain: int) -> str:
    """Return how an entry is named to people."""
    return f"entry {number} of chain {chain}" if chain else f"entry {number}"


def key_id_of(stored: str | None) -> str | None:
    """Return the id of the key that an entry names; ``None`` where there is no such entry or it is unreadable."""
    try:
        return str(json.loads((stored or "").partition("\n")[0].partition(":")[2])["key"])
    except (ValueError, KeyError, TypeError):
        return None
