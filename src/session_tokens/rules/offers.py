"""The rules of offers: a token is advertised to everybody or kept for one owner, and accepted in one step."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ..clock import NEVER
from ..contract.queries import Query
from ..contract.transaction import Transaction, reads
from ..errors import Conflict
from ..events import TOKEN_OFFERED, TOKEN_WITHDRAWN
from ..records import JSON, Offer, Token
from ..settings import UNSET, Unset
from .lookup import Key, token_queries
from .receiving import receiving_queries
from .tokens import check_version, hand_to, refuse_others, transferable, write_token


class Terms(NamedTuple):
    """What a token is offered for, and to whom.

    Attributes:
        price: positive: the receiver pays; ``None`` for none.
        currency: of the price.
        gift: whether it is marked as a gift.
        to: the owner for whom alone it is, ``None`` for everybody.
        until_ms: for how long it is theirs alone, in milliseconds; ``UNSET``: as long as it may wait unassigned.
    """

    price: Decimal | None
    currency: str | None
    gift: bool
    to: str | None = None
    until_ms: int | Unset = UNSET


@reads(lambda key, terms, version: token_queries(key))
def offer_token(tx: Transaction, key: Key, terms: Terms, version: int | None) -> Token:
    """Advertise a transferable token, or keep it for one owner; no money moves.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind cannot change hands.
        Conflict: ``version`` is given and is not the token's.
    """
    stored, token = transferable(tx, key)
    check_version(token, version)
    offer = Offer(True, terms.price, terms.currency, terms.gift)
    until = None if terms.to is None else _until(tx.now, token, terms.until_ms)
    return write_token(tx, TOKEN_OFFERED, stored, token.reserved(offer, terms.to, until, tx.now))


def _until(now: int, token: Token, until_ms: int | Unset) -> int:
    span_ms = token.disownment_timeout_ms if until_ms is UNSET else until_ms
    return NEVER if span_ms is None else now + span_ms


@reads(lambda key, listed, price, gift: token_queries(key))
def mark_token(tx: Transaction, key: Key, listed: bool | None, price: Decimal | None, gift: bool | None) -> Token:
    """Set the seed's marks one by one: what is ``None`` stays, an earlier price too.

    Raises:
        UnknownToken, NotTransferable: as ``offer_token``.
    """
    stored, token = transferable(tx, key)
    offer = token.details.offer or Offer(False, None, None, False)
    offer = Offer(
        offer.listed if listed is None else listed,
        offer.price if price is None else price,
        offer.currency,
        offer.gift if gift is None else gift,
    )
    kind = TOKEN_OFFERED if offer.listed or offer.gift else TOKEN_WITHDRAWN
    return write_token(tx, kind, stored, token.offered(offer))


@reads(lambda key, version: token_queries(key))
def withdraw_token(tx: Transaction, key: Key, version: int | None) -> Token:
    """Take a token's listing, price and gift mark away, and for whom it was kept; without any, nothing changes.

    Raises:
        UnknownToken, NotTransferable, Conflict: as ``offer_token``.
    """
    stored, token = transferable(tx, key)
    check_version(token, version)
    if token.details.offer is None:
        return token
    return write_token(tx, TOKEN_WITHDRAWN, stored, token.reserved(None, None, None, tx.now))


class Acceptance(NamedTuple):
    """Who accepts an offer, and what they saw of it.

    Attributes:
        receiver: whose the token shall be.
        price: as they saw it, ``None`` for none.
        currency: of the price.
        settlement: the application's reference to how it was paid; only kept.
    """

    receiver: str
    price: Decimal | None
    currency: str | None
    settlement: str | None


def _accepting(key: Key, acceptance: Acceptance, lookup: str) -> Sequence[Query]:
    return [*token_queries(key), *receiving_queries(acceptance.receiver)]


@reads(_accepting)
def accept_offer(tx: Transaction, key: Key, acceptance: Acceptance, lookup: str) -> Token:
    """Hand an offered token to who accepts the offer, in one step, for what they saw.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind stays where it is.
        Conflict: it is not offered, or to another owner alone, or for something else.
        OwnerDisabled: the receiver is disabled.
    """
    stored, token = transferable(tx, key)
    offer = token.details.offer
    if offer is None or not offer.listed:
        raise Conflict("the token is not offered (any more); list_tokens(sellable=True) shows what is", id=token.id)
    refuse_others(token, acceptance.receiver)
    if (offer.price, offer.currency) != (acceptance.price, acceptance.currency):
        raise Conflict("the token is not offered for that price and currency (now); show the offer again", id=token.id)
    terms: dict[str, JSON] = {
        "price": None if offer.price is None else format(offer.price, "f"),
        "currency": offer.currency,
        "settlement": acceptance.settlement,
    }
    return hand_to(tx, stored, token, acceptance.receiver, lookup, terms)
