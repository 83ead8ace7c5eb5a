"""The addresses by which tokens are accepted, lent, used up, put back and handed over."""

from __future__ import annotations

from dataclasses import replace

from ..crypto.secret_form import TOKEN_ID, TOKEN_SECRET, is_id, is_secret
from ..errors import UnknownToken
from ..records import Issued, Token
from . import passing_shapes as bodies
from . import shapes
from .calls import Call, Operation, Snapshot
from .shapes import given, token_shape


def token_id(call: Call) -> str:
    """Return the id, or the secret in the body, of the token that a call is about.

    Raises:
        UnknownToken: it is neither.
    """
    if not is_id(TOKEN_ID, call.subject) and not is_secret(TOKEN_SECRET, call.subject):
        raise UnknownToken("no living token has that id")
    return call.subject


def issued_token(issued: Issued) -> Snapshot:
    """Return a token with its secret as it goes out."""
    token = issued.token
    return Snapshot(shapes.IssuedToken(token_shape(token), issued.secret), token.version)


def one_token(token: Token) -> Snapshot:
    """Return a token as it goes out."""
    return Snapshot(shapes.OneToken(token_shape(token)), token.version)


async def accept_offer(call: Call) -> Snapshot:
    """Take an offered token for what was seen of the offer; the answer has its new secret, the giver's is dead."""
    return issued_token(
        await call.tokens.accept_offer(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def lend_token(call: Call) -> Snapshot:
    """Let a borrower use a token under a secret of their own, with which they can do nothing else."""
    return issued_token(
        await call.tokens.lend_token(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def recall_token(call: Call) -> Snapshot:
    """End the loans of a token at once; without any, nothing changes."""
    return one_token(
        await call.tokens.recall_token(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def consume_token(call: Call) -> Snapshot:
    """Use a counted token up by so much; at none left it ends."""
    return one_token(
        await call.tokens.consume_token(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def release_token(call: Call) -> Snapshot:
    """Put a token back among the unassigned ones, behind those that wait; its secret, offers and loans end."""
    return one_token(
        await call.tokens.release_token(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    )


async def claim_next_token(call: Call) -> Snapshot:
    """Take the token that has been unassigned for longest into a session; null where none waits."""
    issued = await call.tokens.claim_next_token(
        session_key=call.body.session, tag=call.body.tag, idempotency_key=call.idempotency_key
    )
    if issued is None:
        return Snapshot(bodies.Claimed(None, None))
    return Snapshot(bodies.Claimed(token_shape(issued.token), issued.secret), issued.token.version)


async def hand_over(call: Call) -> Snapshot:
    """Hand all transferable tokens of a leaving owner to another; nobody learns their secrets."""
    handed = await call.tokens.hand_over(call.subject, **given(call.body), idempotency_key=call.idempotency_key)
    return Snapshot(bodies.Handed(handed))


async def hand_over_named(call: Call) -> Snapshot:
    """Hand all transferable tokens of a leaving owner, who stands in the query, to another."""
    return await hand_over(replace(call, subject=call.query.owner))


T, OWNER = "/v1/tokens", "/v1/owners/{owner:path}"
ONE_T = T + "/{id}"

PASSING_OPERATIONS = (
    Operation("POST", T + "/claim-next", "claim_next", claim_next_token, bodies.Claimed, body=bodies.ClaimNextToken),
    Operation("POST", ONE_T + "/accept", "accept_offer", accept_offer, shapes.IssuedToken, body=bodies.AcceptOffer),
    Operation("POST", ONE_T + "/lend", "lend_token", lend_token, shapes.IssuedToken, body=bodies.LendToken),
    Operation("POST", ONE_T + "/recall", "lend_token", recall_token, shapes.OneToken, body=bodies.RecallToken),
    Operation("POST", ONE_T + "/consume", "consume_token", consume_token, shapes.OneToken, body=bodies.ConsumeToken),
    Operation("POST", ONE_T + "/release", "release_token", release_token, shapes.OneToken, body=bodies.ReleaseToken),
    Operation("POST", OWNER + "/hand-over", "hand_over", hand_over, bodies.Handed, body=bodies.HandOver),
    Operation(
        "POST",
        "/v1/owners/hand-over",
        "hand_over",
        hand_over_named,
        bodies.Handed,
        body=bodies.HandOver,
        query=shapes.OwnerNamed,
    ),
)
