"""The audit log: each committed state change is one entry of an HMAC chain, written in the same commit.

An entry is JSON text under the shared setting ``audit:`` + its number; ``audit_head`` holds the last number and link.
Each link is HMAC-SHA256(key, link before + entry), so that an entry that was edited, left out or moved breaks the
chain for whoever holds the key. A chain cut short at its end is whole in itself: only an anchor that was kept
elsewhere shows it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from ..errors import CorruptRecord
from ..events import events_of
from ..transaction import Rule, Transaction, reads, wants_of
from ..wants import SettingOf, Want

T = TypeVar("T")

HEAD_SETTING = "audit_head"
ENTRY_PREFIX = "audit:"
FIRST_LINK = "0" * 64


class AuditKey(NamedTuple):
    """The key of the chain, and its id, which every entry names."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        return f"AuditKey(id={self.id!r}, key=<hidden>)"


class Act(NamedTuple):
    """On whose behalf something is done: the id of the service key and of the request, where there are such."""

    actor: str | None = None
    request: str | None = None


class Head(NamedTuple):
    """Where a chain ends: the number of its last entry, and that entry's link in hex."""

    number: int
    link: str


class Audited(NamedTuple):
    """What a rule answered, and where the chain ends after it."""

    outcome: Any
    head: Head


def entry_name(number: int) -> str:
    """Answer the name of the setting that holds an entry; names sort as their numbers do."""
    return f"{ENTRY_PREFIX}{number:016d}"


def link_of(key: bytes, before: str, text: str) -> str:
    """Answer the link of an entry after another's."""
    return hmac.digest(key, before.encode("ascii") + b"\n" + text.encode(), "sha256").hex()


def head_of(text: str | None) -> Head:
    """Answer the head that a store holds; that of an empty chain where there is none.

    Raises:
        CorruptRecord: it is none.
    """
    if text is None:
        return Head(0, FIRST_LINK)
    number, _, link = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(link) == 64):
        raise CorruptRecord("the head of the audit log is not as it was written; run: session-tokens audit verify")
    return Head(int(number), link)


def _wants(key: AuditKey, act: Act, rule: Rule[Any], args: tuple[object, ...]) -> Sequence[Want]:
    return [*wants_of(rule, args), SettingOf(HEAD_SETTING)]


@reads(_wants)
def audited(tx: Transaction, key: AuditKey, act: Act, rule: Rule[Any], args: tuple[object, ...]) -> Audited:
    """Run a rule and append an entry for each state change that it notes down, all in one commit."""
    outcome = rule(tx, *args)
    head = head_of(tx.setting(HEAD_SETTING))
    if not tx.changes.notes:
        return Audited(outcome, head)
    number, link = head
    for event in events_of(tx.changes.notes, tx.now):
        number += 1
        text = json.dumps(
            {"n": number, "key": key.id, "actor": act.actor, "request": act.request, **event._asdict()},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        link = link_of(key.key, link, text)
        tx.put_setting(entry_name(number), f"{link}:{text}")
    tx.put_setting(HEAD_SETTING, f"{number}:{link}")
    return Audited(outcome, Head(number, link))


def broken_link(key: AuditKey | None, before: Head, stored: str | None) -> tuple[Head, str | None]:
    """Judge the entry after ``before``: answer the head after it, and what is wrong with it, if anything.

    Args:
        key: the key that the entry names, ``None`` if it is not held.
        before: the head of the chain so far.
        stored: what the store holds under the entry's name.
    """
    number = before.number + 1
    if stored is None:
        return Head(number, before.link), f"entry {number} is missing"
    link, _, text = stored.partition(":")
    after = Head(number, link)
    if key is None and text:
        return after, f"entry {number} names a key that is not held"
    if key is None or not hmac.compare_digest(
        link_of(key.key, before.link, text).encode(), link.encode("utf-8", "replace")
    ):
        return after, f"entry {number} was edited, or is not the one that stood there"
    return after, None


def key_id_of(stored: str | None) -> str | None:
    """Answer the id of the key that an entry names; ``None`` where there is no such entry or it is unreadable."""
    try:
        return str(json.loads((stored or "").partition(":")[2])["key"])
    except (ValueError, KeyError, TypeError):
        return None
