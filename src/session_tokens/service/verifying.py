"""Verifies a secret with what was read together with the caller's service key, and says what it stands for (RFC 7662).

On a server that is one round trip for both. Where a use has to be written down, or a record cannot be read, the secret
is verified by itself, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from .._async.api import AsyncSessionTokens
from ..clock import NEVER
from ..contract.queries import Get, Query, SessionResult, Snapshot, TokenResult
from ..crypto.minting import Keyring
from ..crypto.secret_form import TOKEN_SECRET, is_secret, is_session_secret
from ..records import Session, Token
from ..rules.expiry import LEAST_GOOD_MS, good_until, shown_until, touch_is_due
from ..rules.reserved import applications, is_anonymous
from .shapes import Actor, Introspection

INACTIVE = b'{"active":false}'
"""What is told of everything that is not alive."""

_encode = msgspec.json.Encoder().encode


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


def told_of_token(verified: tuple[Token, int | None] | None) -> bytes:
    """Return the body for a token that was verified, and until when (milliseconds); ``None`` for none."""
    return INACTIVE if verified is None else _encode(_of_token(*verified))


def told_of_session(verified: Session | None) -> bytes:
    """Return the body for a session that was verified, ``None`` for none; the console's own are as none."""
    session = applications(verified)
    return INACTIVE if session is None else _encode(_of_session(session))


def _of_session(session: Session) -> Introspection:
    return Introspection(
        active=True,
        sub=session.owner,
        username=session.owner,
        exp=_exp_of(session),
        iat=session.created_at // 1000,
        token_type="Bearer",
        auth_time=msgspec.UNSET if is_anonymous(session.owner) else session.authenticated_at // 1000,
        acr=session.acr or msgspec.UNSET,
        amr=list(session.amr) or msgspec.UNSET,
        scope=session.told_scope,
        st_issuer=session.client_id or msgspec.UNSET,
        st_id=session.id,
        st_kind="session",
        st_expires_at=msgspec.UNSET if session.deadline == NEVER else session.deadline,
    )


def _exp_of(session: Session) -> int | msgspec.UnsetType:
    """Return when to ask again, in whole seconds: rounded so that it is neither too late nor at once."""
    now = session.clock.now()
    until = good_until(session, now)
    if until == NEVER:
        return msgspec.UNSET
    return min(session.deadline // 1000, max(until // 1000, -(-(now + LEAST_GOOD_MS) // 1000)))


def _of_token(token: Token, until: int | None) -> Introspection:
    audience = token.audience
    return Introspection(
        active=True,
        sub=token.owner or msgspec.UNSET,
        username=token.owner or msgspec.UNSET,
        exp=msgspec.UNSET if until is None else until // 1000,
        iat=token.created_at // 1000,
        token_type="Bearer",
        scope=token.told_scope,
        aud=msgspec.UNSET if not audience else audience[0] if len(audience) == 1 else list(audience),
        client_id=token.for_client or msgspec.UNSET,
        st_issuer=token.client_id or msgspec.UNSET,
        st_id=token.id,
        st_kind=token.kind.value,
        st_epoch=token.epoch,
        st_value=token.value,
        act=msgspec.UNSET if token.borrower is None else Actor(token.borrower),
        st_uses_left=msgspec.UNSET if token.uses_left is None else token.uses_left,
        st_expires_at=msgspec.UNSET if until is None else until,
    )
