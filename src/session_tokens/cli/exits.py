"""Exit codes: what a shell script may rely on, from the library's errors."""

from __future__ import annotations

from ..errors import (
    Conflict,
    InvalidInput,
    NotOwner,
    OwnerDisabled,
    ReauthenticationRequired,
    Refused,
    SessionEnded,
    SessionTokensError,
    StoreError,
    UnknownKey,
    UnknownSession,
    UnknownToken,
    UnknownWebhook,
)

OK, INACTIVE, BAD_INPUT, UNAVAILABLE, CONFLICT, DENIED = range(6)
INTERRUPTED = 130

_BY_ERROR: tuple[tuple[type[SessionTokensError], int], ...] = (
    (InvalidInput, BAD_INPUT),
    (StoreError, UNAVAILABLE),
    (UnknownSession, INACTIVE),
    (UnknownToken, INACTIVE),
    (UnknownKey, INACTIVE),
    (UnknownWebhook, INACTIVE),
    (SessionEnded, INACTIVE),
    (NotOwner, DENIED),
    (OwnerDisabled, DENIED),
    (ReauthenticationRequired, DENIED),
    (Conflict, CONFLICT),
    (Refused, CONFLICT),
)


class UsageError(InvalidInput):
    """The command line can never be right."""

    code = "usage"


def code_of(error: SessionTokensError) -> int:
    """Return the exit code of an error of the library; ``forbidden`` is a service's word for what a key may not do."""
    if error.code == "forbidden":
        return DENIED
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), UNAVAILABLE)
