"""Verifies a secret with what was read together with the caller's service key: on a server, one round trip for both.

Where a use has to be written down, or a record cannot be read, the secret is verified by itself, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get, Query, SessionResult, Snapshot, TokenResult
from ..crypto.minting import TOKEN_SECRET, Keyring, is_secret, is_session_secret
from ..records import Session, Token
from ..rules.expiry import shown_until, touch_is_due


def verification(keyring: Keyring, secret: str) -> Sequence[Query]:
    """Return what verifying a secret asks the store; nothing for a string that cannot be one."""
    if is_secret(TOKEN_SECRET, secret):
        first, *others = keyring.lookups(secret)
        return (Get("token_lookup", first, tuple(others)),)
    if is_session_secret(secret):
        first, *others = keyring.lookups(secret)
        return (Get("session_lookup", first, tuple(others)),)
    return ()


async def verified_token(
    tokens: AsyncSessionTokens, secret: str, snapshot: Snapshot | None
) -> tuple[Token, int | None] | None:
    """As ``verify_token_until``, on the answer to ``verification`` where there is one."""
    if snapshot is None or not snapshot.found:
        return await tokens.verify_token_until(secret)
    result: TokenResult = snapshot.found[0].value
    token, session, entry = result.followed()
    if token is None or not token.authenticates(snapshot.now, session, entry):
        return None
    if token.is_loan:  # which leads to another token, that has to be read too
        return await tokens.verify_token_until(secret)
    return shown_until(token.offered_at(snapshot.now), session)


async def verified_session(
    tokens: AsyncSessionTokens,
    secret: str,
    queries: Sequence[Query],
    snapshot: Snapshot | None,
    *,
    touch: bool = True,
) -> Session | None:
    """As ``verify_session``, on the answer to ``verification`` where there is one.

    Where the use has to be written down, it is verified by itself: its idle clock starts anew, or the secret is under
    an older pepper.
    """
    if snapshot is None or not queries:
        return await tokens.verify_session(secret, touch=touch)
    query, result = queries[0], snapshot.found[0].value
    assert isinstance(query, Get)
    assert isinstance(result, SessionResult)
    session = result.session
    if session is None:
        return None
    if touch and (touch_is_due(session, snapshot.now) or session.lookup != query.key):
        return await tokens.verify_session(secret)
    return session if session.authenticates(snapshot.now, result.entry) else None
