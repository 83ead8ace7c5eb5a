"""Commands that may be sent twice: the first outcome under an idempotency key is the only one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..contract.queries import Get, Query
from ..contract.transaction import Rule, Transaction, queries_of, reads
from ..errors import IdempotencyMismatch
from ..records import IdempotencyRecord
from ..settings import IDEMPOTENCY_RETENTION_MS

T = TypeVar("T", int, Sequence[int])


class Ticket(NamedTuple):
    """What a command with an idempotency key brings along.

    Attributes:
        key: digest of caller, command and key.
        request: digest of the request as it was made, of the same under any pepper, and of the key, without which
            nobody can guess at it.
        nonce: 128 random bits in hex, from which this attempt's secret was derived.
        key_id: the pepper that it was derived with.
    """

    key: str
    request: str
    nonce: str
    key_id: str


def canonical(text: str) -> str:
    """Return a JSON text that is the same for the same value, whatever the order of its fields."""
    return json.dumps(json.loads(text), sort_keys=True)


def canonical_changes(changes: Mapping[str, str | None]) -> list[tuple[str, str | None]]:
    """Return changes of a session's data, field → JSON text, as a request is known by them: in one order."""
    return sorted((field, None if text is None else canonical(text)) for field, text in changes.items())


def _queries(ticket: Ticket, rule: Rule[Any], args: tuple[object, ...]) -> Sequence[Query]:
    return [Get("idempotency", ticket.key), *queries_of(rule, args)]


def known_outcome(tx: Transaction, outcome: T) -> T:
    """Return what a command of several steps has come to, to be kept as the outcome of all of them."""
    return outcome


@reads(lambda ticket: [Get("idempotency", ticket.key)])
def earlier_outcome(tx: Transaction, ticket: Ticket) -> Any:
    """Return the first outcome under a key; ``None`` where there is none, or none any more.

    Raises:
        IdempotencyMismatch: the key was used with another request.
    """
    record = tx.idempotency(ticket.key)
    return None if record is None or tx.now >= record.expires_at else _outcome_for(ticket, record).outcome


def _outcome_for(ticket: Ticket, record: IdempotencyRecord) -> IdempotencyRecord:
    if record.request != ticket.request:
        raise IdempotencyMismatch("that idempotency key was used with another request; use a new key")
    return record


@reads(_queries)
def once(tx: Transaction, ticket: Ticket, rule: Rule[Any], args: tuple[object, ...]) -> IdempotencyRecord:
    """Run ``rule`` unless the key was used, and return the record of the first outcome. A refusal keeps nothing.

    Raises:
        IdempotencyMismatch: the key was used with another request.
    """
    record = tx.idempotency(ticket.key)
    if record is not None and tx.now < record.expires_at:
        return _outcome_for(ticket, record)
    outcome = rule(tx, *args)
    record = IdempotencyRecord(
        ticket.key, ticket.request, ticket.nonce, ticket.key_id, outcome, tx.now + IDEMPOTENCY_RETENTION_MS
    )
    tx.put_idempotency(record)
    return record


@reads(_queries)
def further(tx: Transaction, ticket: Ticket, rule: Rule[int], args: tuple[object, ...]) -> int:
    """Run one step of a command of several, whose counts add up; return what they have come to.

    That is kept in the commit of the step, as a sequence of one number while there may be more: who asks again while it
    goes on, or after it broke off, goes on counting there.

    Raises:
        IdempotencyMismatch: the key was used with another request.
    """
    so_far, is_over = _counted(tx, ticket)
    count = rule(tx, *args)
    if count:
        _keep_count(tx, ticket, so_far + count, is_over=is_over)
    return so_far + count


@reads(lambda ticket: [Get("idempotency", ticket.key)])
def counted_whole(tx: Transaction, ticket: Ticket) -> int:
    """Keep what the steps of a command have come to as its outcome, and return it.

    Raises:
        IdempotencyMismatch: the key was used with another request.
    """
    so_far, is_over = _counted(tx, ticket)
    if not is_over:
        _keep_count(tx, ticket, so_far, is_over=True)
    return so_far


def _counted(tx: Transaction, ticket: Ticket) -> tuple[int, bool]:
    """Return what the steps under a key have come to, and whether the last of them was said to be done."""
    outcome = earlier_outcome(tx, ticket)
    return (outcome, True) if isinstance(outcome, int) else (0 if outcome is None else outcome[0], False)


def _keep_count(tx: Transaction, ticket: Ticket, count: int, *, is_over: bool) -> None:
    expires_at = tx.now + IDEMPOTENCY_RETENTION_MS
    outcome = count if is_over else (count,)
    tx.put_idempotency(IdempotencyRecord(*ticket, outcome, expires_at))
