"""Reading an audit log: the last entries, and whether the chain is whole and reaches its anchors."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from .audit import audit_keys
from .errors import CorruptRecord
from .minting import Keyring
from .rules.audit import FIRST_LINK, HEAD_SETTING, Head, broken_link, entry_name, head_of, key_id_of
from .store import BlockingStore, Store
from .wants import Answer, SettingOf, Want

T = TypeVar("T")

BATCH = 500
"""How many entries are read in one round trip."""
FINDINGS_MAX = 100
"""After how many findings a verification stops: a broken chain need not be listed to its end."""

NOT_BELIEVED = ":"
"""Stands for an entry that is there and whose row is not as it was written."""

Reading = Generator[Sequence[Want], Answer, T]


class Verdict(NamedTuple):
    """What a verification found.

    Attributes:
        entries: how many entries the chain should have.
        anchors: how many anchors were held against it.
        findings: what is wrong, a line each; empty: the chain is whole and reaches every anchor.
    """

    entries: int
    anchors: int
    findings: list[str]


def verifying(keyring: Keyring, anchors: Sequence[Head], progress: Callable[[int], None]) -> Reading[Verdict]:
    """Walk the chain from its first entry; yields what to read, answers the verdict.

    Found are entries that were edited, left out, swapped or added, and a chain cut before an anchor. Not found is a
    chain cut after the last anchor, and anything done by a holder of the key who also rewrites every later anchor.
    """
    keys = audit_keys(keyring)
    try:
        answer = yield [SettingOf(HEAD_SETTING)]
        end = head_of(answer.found[0].value)
    except CorruptRecord:
        return Verdict(0, len(anchors), ["the head was edited"])
    at = Head(0, FIRST_LINK)
    links = {0: at.link}
    findings: list[str] = []
    awaited = {anchor.number for anchor in anchors}
    while at.number < end.number and len(findings) < FINDINGS_MAX:
        numbers = range(at.number + 1, min(at.number + BATCH, end.number) + 1)
        for stored in (yield from _entries(numbers)):
            at, wrong = broken_link(keys.get(key_id_of(stored) or ""), at, stored)
            if at.number in awaited:
                links[at.number] = at.link
            if wrong is not None:
                findings.append(wrong)
        progress(at.number)
    # Asked for at one instant: meanwhile the chain may have grown as it should.
    answer = yield [SettingOf(HEAD_SETTING), SettingOf(entry_name(end.number + 1))]
    if answer.found[1].value is not None and answer.found[0].value in (None, f"{end.number}:{end.link}"):
        findings.append(f"entry {end.number + 1} stands after the head: the head was taken away or put back")
    if not findings and at.link != end.link:
        findings.append("the head is not the last entry's: entries were taken away or the head was edited")
    for anchor in anchors:
        if anchor.number > end.number:
            findings.append(f"the chain ends at entry {end.number}, but entry {anchor.number} was anchored: it was cut")
        elif anchor.number in links and links[anchor.number] != anchor.link:
            findings.append(f"entry {anchor.number} is not the one that was anchored")
    return Verdict(end.number, len(anchors), findings)


def _entries(numbers: Sequence[int]) -> Reading[list[str | None]]:
    """Read entries; one that the store itself does not believe is answered as a text that breaks the chain."""
    try:
        answer = yield [SettingOf(entry_name(number)) for number in numbers]
        return [found.value for found in answer.found]
    except CorruptRecord:
        pass
    entries: list[str | None] = []
    for number in numbers:
        try:
            answer = yield [SettingOf(entry_name(number))]
            entries.append(answer.found[0].value)
        except CorruptRecord:
            entries.append(NOT_BELIEVED)
    return entries


def is_kept() -> Reading[bool]:
    """Read whether the store has an audit log, which whatever changes the store should then go on with."""
    answer = yield [SettingOf(HEAD_SETTING)]
    return answer.found[0].value is not None


def latest(limit: int, before: int | None = None) -> Reading[list[dict[str, Any]]]:
    """Read the last entries before a number, the newest first; yields what to read, answers them as JSON objects."""
    answer = yield [SettingOf(HEAD_SETTING)]
    last = head_of(answer.found[0].value).number if before is None else before - 1
    numbers = range(last, max(0, last - limit), -1)
    if not numbers:
        return []
    answer = yield [SettingOf(entry_name(number)) for number in numbers]
    entries = []
    for number, found in zip(numbers, answer.found, strict=True):
        try:
            entry = json.loads((found.value or "").partition(":")[2])
        except ValueError:
            entry = {"n": number, "kind": "unreadable"}
        entries.append(entry)
    return entries


async def read(store: Store, reading: Reading[T]) -> T:
    """Carry out a reading on a store."""
    try:
        wants = next(reading)
        while True:
            try:
                answer = await store.read(wants)
            except CorruptRecord as error:
                wants = reading.throw(error)
            else:
                wants = reading.send(answer)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome


def read_now(store: BlockingStore, reading: Reading[T]) -> T:
    """Carry out a reading on a blocking store."""
    try:
        wants = next(reading)
        while True:
            try:
                answer = store.read_now(wants)
            except CorruptRecord as error:
                wants = reading.throw(error)
            else:
                wants = reading.send(answer)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
