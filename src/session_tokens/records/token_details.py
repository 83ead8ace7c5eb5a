"""The parts of a token that few tokens have, kept apart so that plain ones take no memory for them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple


class Offer(NamedTuple):
    """How a transferable token is advertised; it locks nothing and moves no money.

    Attributes:
        listed: whether it is sellable now.
        price: positive: the receiver pays, negative: the giver pays; zero is a price, ``None`` is none.
        currency: a currency or unit, ``None`` when the application has only one.
        gift: whether it is marked as a gift; a flag of its own.
    """

    listed: bool
    price: Decimal | None
    currency: str | None
    gift: bool


class TokenDetails(NamedTuple):
    """The parts of a token that few tokens have.

    Attributes:
        offer: how it is advertised.
        scope: what it is for, words with blanks between (RFC 6749, section 3.3).
        audience_text: for whom it is, as JSON text of an array (RFC 7662, ``aud``).
        tag: what it is for, as the application sorts its tokens.
        uses_left: how often it can still be used up; ``None`` where uses are not counted.
        reserved_for: the owner who alone may claim it or take it over.
        reserved_until: until when, in milliseconds.
        borrower: to whom it is lent: of a loan, and of a token as its borrower sees it.
        lent: of a loan, the id of the token that it is a loan of; its epoch is that token's at lending.
        loans: of a token, the ids of its loans, those that are over too until it is lent again, with blanks between.
        for_client: the client for whom it was issued, as the application calls it (RFC 7662, ``client_id``).
    """

    offer: Offer | None = None
    scope: str | None = None
    audience_text: str | None = None
    tag: str | None = None
    uses_left: int | None = None
    reserved_for: str | None = None
    reserved_until: int | None = None
    borrower: str | None = None
    lent: str | None = None
    loans: str | None = None
    for_client: str | None = None

    def in_new_hands(self) -> TokenDetails:
        """Return what stays with a token that changes hands: neither its offer nor whom it was promised or lent to."""
        return shared(self._replace(offer=None, reserved_for=None, reserved_until=None, borrower=None, loans=None))

    def not_offered(self) -> TokenDetails:
        """Return them without an offer, and free for everybody."""
        return shared(self._replace(offer=None, reserved_for=None, reserved_until=None))


NO_TOKEN_DETAILS: Final = TokenDetails()


def shared(details: TokenDetails) -> TokenDetails:
    """Return the one object that all tokens without details share, where they have none."""
    return NO_TOKEN_DETAILS if details == NO_TOKEN_DETAILS else details
