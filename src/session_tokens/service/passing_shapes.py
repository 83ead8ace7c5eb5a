"""The bodies and answers of the addresses by which tokens are offered, lent, used up, put back and handed over."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from .shapes import Body, Owner, SessionKey, TokenShape, Version


class OfferToken(Body):
    """Advertise a transferable token."""

    price: Annotated[int | str | None, Meta(description="Whole number, or a decimal as text such as 12.50.")] = None
    currency: str | None = None
    gift: bool = False
    to: Annotated[str, Meta(description="The owner for whom alone it is.")] | None = None
    until: Annotated[int | float | None, Meta(description="Seconds for which it is theirs alone.")] = None
    version: Version | UnsetType = UNSET


class WithdrawToken(Body):
    """Take a listing away."""

    version: Version | UnsetType = UNSET


class AcceptOffer(Body):
    """Take an offered token, for what was seen of the offer."""

    receiver: Owner
    price: Annotated[int | str | None, Meta(description="As it was seen; null: none was.")] = None
    currency: str | None = None
    settlement: Annotated[str, Meta(description="Your reference to how it was paid; only kept.")] | None = None


class LendToken(Body):
    """Let a borrower use a token under a secret of their own."""

    borrower: Owner
    until: Annotated[int | float | None, Meta(description="Seconds; needed where the borrower has no session.")] = None


class RecallToken(Body):
    """End the loans of a token."""

    borrower: Annotated[str, Meta(description="Only those to this owner.")] | None = None


class ConsumeToken(Body):
    """Use a counted token up."""

    amount: Annotated[int, Meta(description="How many uses, all of them or none.")] = 1


class ReleaseToken(Body):
    """Put a token back among the unassigned ones."""

    owner: Owner


class ClaimNextToken(Body):
    """Take the token that has been unassigned for longest."""

    session: SessionKey
    tag: Annotated[str, Meta(description="Only those that were issued with it.")] | None = None


class HandOver(Body):
    """Hand on what an owner may hand on."""

    receiver: Owner
    limit: Annotated[int, Meta(description="At most so many; send it again until it answers 0.")] | None = None


class Claimed(Struct):
    """The token that was taken and its secret, both null where none waits."""

    token: TokenShape | None
    secret: Annotated[str | None, Meta(description="The bearer string: shown this once and kept nowhere.")]


class Handed(Struct):
    """How many tokens were handed over."""

    handed: int
