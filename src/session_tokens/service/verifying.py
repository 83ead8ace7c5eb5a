"""Verifies a secret with what was read together with the caller's service key: on a server, one round trip for both.

Where a use has to be written down, or a record cannot be read, the secret is verified by itself, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get, Query, SessionResult, Snapshot, TokenResult
from ..crypto.minting import Keyring
from ..crypto.secret_form import TOKEN_SECRET, is_secret, is_session_secret
from ..records import Session, Token
from ..rules.expiry import shown_until, touch_is_due


def verification(keyring: Keyring, secret: str) -> Sequence[Query]:
    """Return what verifying a secret asks the store; nothing for a string that cannot be one."""
    if secret.startswith(TOKEN_SECRET):
        what: Literal["token_lookup", "session_lookup"] = "token_lookup"
        is_one = is_secret(TOKEN_SECRET, secret)
    else:
        what, is_one = "session_lookup", is_session_secret(secret)
    if not is_one:
        return ()
    first, *others = keyring.lookups(secret)
    return (Get(what, first, tuple(others)),)


async def verified_token(
    tokens: AsyncSessionTokens, secret: str, snapshot: Snapshot | None
) -> tuple[Token, int | None] | None:
    """As ``verify_token_until``, on the answer to ``verification`` where there is one."""
    if snapshot is None or not snapshot.found or is_loan(snapshot):
        return await tokens.verify_token_until(secret)
    return token_in(snapshot)


def is_loan(snapshot: Snapshot) -> bool:
    """Whether the token in the answer to ``verification`` leads to another token, which has to be read too."""
    token = snapshot.found[0].value.token
    return token is not None and token.is_loan


def token_in(snapshot: Snapshot) -> tuple[Token, int | None] | None:
    """Return the token in the answer to ``verification`` if its secret opens something, and until when."""
    result: TokenResult = snapshot.found[0].value
    token, session, entry = result.followed()
    if token is None or not token.authenticates(snapshot.now, session, entry):
        return None
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
    an older pepper; and where it is a previous secret.
    """
    if snapshot is None or not queries or is_former_secret(snapshot):
        return await tokens.verify_session(secret, touch=touch)
    if touch and use_is_due(queries, snapshot):
        return await tokens.verify_session(secret)
    return session_in(snapshot)


def is_former_secret(snapshot: Snapshot) -> bool:
    """Whether the answer to ``verification`` is what a previous secret leads to: its session has to be read too."""
    session = snapshot.found[0].value.session
    return session is not None and session.former_of is not None


def use_is_due(queries: Sequence[Query], snapshot: Snapshot) -> bool:
    """Whether a use has to be written down: of a session whose idle clock starts anew, or under an older pepper."""
    query, session = queries[0], snapshot.found[0].value.session
    assert isinstance(query, Get)
    return session is not None and (touch_is_due(session, snapshot.now) or session.lookup != query.key)


def session_in(snapshot: Snapshot) -> Session | None:
    """Return the session in the answer to ``verification`` if its secret opens it."""
    result: SessionResult = snapshot.found[0].value
    session = result.session
    return session if session is not None and session.authenticates(snapshot.now, result.entry) else None
