"""What a token is offered, lent or used up for is checked and normalised here, once, as ``validation`` does."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation

from .errors import InvalidInput
from .settings import SETTLEMENT_BYTES_MAX, UNSET, USES_MAX, Duration, Unset, duration_ms
from .validation import optional_text

PRICE_MAX = Decimal(10) ** 18
PRICE_PLACES_MAX = 9
CURRENCY_LENGTH_MAX = 16
EXACT = Context(prec=28, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""Prices are computed in it: that of the caller's thread may round, or be trapped by what is refused here in words."""


def price_of(given: object) -> Decimal | None:
    """Return a price: an ``int``, a ``Decimal`` or a ``str`` such as ``"1.50"``; positive, negative or zero.

    Raises:
        TypeError: for a ``float`` or anything else; floats do not hold money.
        InvalidInput: NaN, infinity, 10^18 or more, more than nine decimal places, or a text that is no number.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | str | Decimal):
        raise TypeError(f"a price is an int, a Decimal or a str, not {type(given).__name__}")
    try:
        if isinstance(given, str) and not (given.isascii() and given == given.strip() and "_" not in given):
            raise InvalidOperation
        price = Decimal(given)
    except InvalidOperation:
        raise InvalidInput("a price as text is written like 12.50 or -3") from None
    if not price.is_finite() or price.copy_abs() >= PRICE_MAX:
        raise InvalidInput("a price is finite and below 10^18; for none give None")
    exponent = price.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PRICE_PLACES_MAX:
        raise InvalidInput(f"a price has at most {PRICE_PLACES_MAX} decimal places")
    return EXACT.add(price, 0) if isinstance(exponent, int) and exponent <= 0 else EXACT.quantize(price, Decimal(1))


def currency_of(given: object, price: Decimal | None) -> str | None:
    """Return the currency or unit of a price: a short printable text, or ``None``.

    Raises:
        InvalidInput: it is too long, or there is no price that it could be of.
    """
    currency = optional_text("currency", given, bytes_max=CURRENCY_LENGTH_MAX) or None
    if currency is not None and price is None:
        raise InvalidInput("a currency is that of a price; give price= as well")
    return currency


def settlement_of(given: object) -> str | None:
    """Return a reference to how something was paid: up to 255 bytes of text, or ``None``."""
    return optional_text("settlement", given, bytes_max=SETTLEMENT_BYTES_MAX) or None


def uses_of(name: str, given: object) -> int | None:
    """Return a number of uses: 1 to 10^9, or ``None`` where they are not counted.

    Raises:
        TypeError: it is neither an ``int`` nor ``None``.
        InvalidInput: it is less than one, or too many.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name} is an int, not {type(given).__name__}")
    if not 1 <= given <= USES_MAX:
        raise InvalidInput(f"{name} is 1 to {USES_MAX}; where uses are not counted leave uses away")
    return int(given)


def span_of(given: Duration | None) -> int | Unset:
    """Return for how long something is offered, in milliseconds; ``UNSET`` for the general span.

    Raises:
        TypeError, InvalidInput: as ``duration_ms``.
    """
    span_ms = duration_ms("until", given)
    return UNSET if span_ms is None else span_ms
