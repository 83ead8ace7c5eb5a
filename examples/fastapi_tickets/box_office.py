"""Sells tickets, lets their holders resell them, and admits whoever brings one; the tickets are transferable tokens.

A ticket belongs to the holder ``tickets:alice`` and not to the log-in of alice: a log-in ends, and what it holds ends
or is set free with it. Nobody ever logs in as ``tickets:alice``, so the ticket waits, valid, until the doors close.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation

from session_tokens import AsyncSessionTokens, Conflict, InvalidInput, NotOwner, Token, UnknownToken

BOX_OFFICE = "box office"
CURRENCY = "EUR"
DEAREST = Decimal(10_000)
CONCERTS = {"Jazz until midnight": Decimal("24.00"), "Baroque by candlelight": Decimal("38.50")}
SEATS = ("A1", "A2", "B1")


class Sorry(Exception):
    """Says to a user why something cannot be done."""


def holder_of(user: str) -> str:
    """Return the owner of a user's tickets."""
    return f"tickets:{user}"


class BoxOffice:
    """Everything that happens to tickets."""

    def __init__(self, tokens: AsyncSessionTokens) -> None:
        self._tokens = tokens

    async def open(self) -> None:
        """Print the tickets and offer them, if that is not done yet; workers that start at once print them once."""
        if (await self._tokens.list_sessions(BOX_OFFICE)).items:
            return
        desk = await self._tokens.open_session(
            BOX_OFFICE, max_age=None, idle_timeout=None, idempotency_key="open the box office"
        )
        for concert, price in CONCERTS.items():
            for seat in SEATS:
                printed = await self._tokens.issue_token(
                    desk.id,
                    {"concert": concert, "seat": seat},
                    transferable=True,
                    timeout=timedelta(days=30),
                    idempotency_key=f"print {concert}, {seat}",
                )
                await self._tokens.offer_token(printed.id, price=price, currency=CURRENCY)

    async def offers(self) -> list[Token]:
        """Return the tickets that can be bought."""
        return (await self._tokens.list_tokens(sellable=True)).items

    async def tickets_of(self, user: str) -> list[Token]:
        """Return the tickets that a user holds."""
        return (await self._tokens.list_tokens(owner=holder_of(user))).items

    async def buy(self, id: str, price: str, buyer: str) -> Token:
        """Hand a ticket over for the price that the buyer was shown; the seller's code is dead from then on.

        Of all who pay at once one gets it; the others, and who was shown another price, pay nothing.

        Args:
            id: of the ticket.
            price: as it was shown. Money moves elsewhere.
            buyer: the user who pays.

        Returns:
            The ticket as it was offered.

        Raises:
            Sorry: it is sold, or is offered for another price by now.
        """
        shown = await self._tokens.get_token(id)
        if shown is not None and shown.owner == holder_of(buyer):
            raise Sorry("That ticket is yours already.")
        try:
            await self._tokens.accept_offer(id, receiver=holder_of(buyer), price=Decimal(price), currency=CURRENCY)
        except (Conflict, InvalidInput, InvalidOperation, UnknownToken):
            raise Sorry("Somebody was quicker, or the price has changed. Have another look.") from None
        assert shown is not None, "it was sold"
        return shown

    async def offer(self, id: str, price: str, seller: str) -> Token:
        """Offer a ticket of a user for a price."""
        try:
            amount = Decimal(price).quantize(Decimal("0.01"))
            is_possible = 0 <= amount <= DEAREST
        except InvalidOperation:
            is_possible = False
        if not is_possible:
            raise Sorry(f"A price is a number such as 24.50, at most {DEAREST} {CURRENCY}.")
        ticket = await self._ticket(id, seller)
        return await self._tokens.offer_token(ticket.id, price=amount, currency=CURRENCY)

    async def withdraw(self, id: str, seller: str) -> None:
        """Take an offer back."""
        await self._tokens.withdraw_token((await self._ticket(id, seller)).id)

    async def code_of(self, id: str, user: str) -> str:
        """Return a new code for the ticket of a user, its secret; codes that were shown before are dead."""
        try:
            return (await self._tokens.reissue_token(id, owner=holder_of(user))).secret or ""
        except (NotOwner, UnknownToken):
            raise Sorry("That ticket is not yours.") from None

    async def admit(self, code: str) -> Token:
        """Let in whoever brings the code of a ticket; each ticket lets one in."""
        ticket = await self._tokens.verify_token(code)
        if ticket is None or not await self._tokens.destroy_token(code):
            raise Sorry("This code opens no door: it is used, sold on, or never was one.")
        return ticket

    async def _ticket(self, id: str, user: str) -> Token:
        ticket = await self._tokens.get_token(id)
        if ticket is None or ticket.owner != holder_of(user):
            raise Sorry("That ticket is not yours.")
        return ticket
