"""What an introspection says of a session or token (RFC 7662): one answer for everything that is not alive."""

from __future__ import annotations

import msgspec

from ..clock import NEVER
from ..records import Session, Token
from ..rules.expiry import LEAST_GOOD_MS, good_until
from ..rules.reserved import applications, is_anonymous
from .shapes import Actor, Introspection

INACTIVE = b'{"active":false}'
_encode = msgspec.json.Encoder().encode


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
