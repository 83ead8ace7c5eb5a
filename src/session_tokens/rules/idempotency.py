"""Commands that may be sent twice: the first outcome under an idempotency key is the only one."""

from __future__ import annotations

from collections.abc import Sequence
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
        request: digest of the request.
        nonce: 128 random bits in hex, from which this attempt's secret was derived.
        key_id: the pepper that it was derived with.
    """

    key: str
    request: str
    nonce: str
    key_id: str


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
