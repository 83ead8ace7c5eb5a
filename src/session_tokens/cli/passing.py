"""The commands by which tokens are accepted, lent, used up, put back and handed over."""

from __future__ import annotations

from argparse import Namespace

from . import exits
from .commands import issued, opened, told
from .exits import UsageError
from .inputs import secret_from
from .output import print_json, progress

HANDED_STEP = 100


def accept(options: Namespace) -> int:
    """Take an offered token and print it with its new secret."""
    with opened(options) as tokens:
        return issued(
            options,
            tokens.accept_offer(
                options.token,
                receiver=options.receiver,
                price=options.price,
                currency=options.currency,
                settlement=options.settlement,
                idempotency_key=options.idempotency_key,
            ),
        )


def lend(options: Namespace) -> int:
    """Lend a token and print it with the borrower's secret."""
    with opened(options) as tokens:
        lent = tokens.lend_token(
            options.token, borrower=options.borrower, until=options.until, idempotency_key=options.idempotency_key
        )
        return issued(options, lent)


def recall(options: Namespace) -> int:
    """End the loans of a token."""
    with opened(options) as tokens:
        recalled = tokens.recall_token(
            options.token, borrower=options.borrower, idempotency_key=options.idempotency_key
        )
        return told(options, recalled.to_dict())


def consume(options: Namespace) -> int:
    """Use a counted token up."""
    if options.token is not None and options.secret_file is not None:
        raise UsageError("name the token by its id or by its secret, not by both")
    key = options.token if options.token is not None else secret_from(options.secret_file)
    with opened(options) as tokens:
        used = tokens.consume_token(key, amount=options.amount, idempotency_key=options.idempotency_key)
        return told(options, used.to_dict())


def release(options: Namespace) -> int:
    """Put a token back among the unassigned ones."""
    with opened(options) as tokens:
        released = tokens.release_token(options.token, owner=options.owner, idempotency_key=options.idempotency_key)
        return told(options, released.to_dict())


def hand_over(options: Namespace) -> int:
    """Hand all transferable tokens of a leaving owner to another: a batch at a time, at once under a key."""
    handed, key = 0, options.idempotency_key
    with opened(options) as tokens, progress("handed over", quiet=options.json) as show:
        while options.limit is None or handed < options.limit:
            step = HANDED_STEP if options.limit is None else min(HANDED_STEP, options.limit - handed)
            most = step if key is None else options.limit
            done = tokens.hand_over(options.owner, receiver=options.receiver, limit=most, idempotency_key=key)
            handed += done
            show(handed)
            if key is not None or done < step:
                break
    if options.json:
        print_json({"handed": handed})
    else:
        print(f"handed over: {handed}")
    return exits.OK
