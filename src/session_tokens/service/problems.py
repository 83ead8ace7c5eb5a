"""What goes wrong over HTTP, as problem+json: the status of each error of the library, and the errors of HTTP itself.

``code`` is the stable word for programs; for errors of the library it is the error's own. The detail is for people and
names the remedy. No problem repeats what was sent: it might be a secret.
"""

from __future__ import annotations

import msgspec

from ..errors import (
    AlreadyExists,
    Conflict,
    CorruptRecord,
    IdempotencyMismatch,
    InvalidInput,
    LimitReached,
    NotDetachable,
    NotOwner,
    NotTransferable,
    OwnerDisabled,
    ReauthenticationRequired,
    SessionEnded,
    SessionTokensError,
    StoreError,
    UnknownKey,
    UnknownPepper,
    UnknownSession,
    UnknownToken,
    UnknownWebhook,
)

Headers = list[tuple[bytes, bytes]]

STATUS: dict[type[SessionTokensError], int] = {
    UnknownSession: 404,
    UnknownToken: 404,
    UnknownKey: 404,
    UnknownWebhook: 404,
    SessionEnded: 404,
    NotOwner: 403,
    OwnerDisabled: 403,
    ReauthenticationRequired: 403,
    NotTransferable: 422,
    NotDetachable: 422,
    AlreadyExists: 409,
    Conflict: 409,
    LimitReached: 409,
    IdempotencyMismatch: 422,
    InvalidInput: 422,
}

TITLES = {
    400: "Bad request",
    401: "A service key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Not a method of this address",
    408: "The request took too long",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Not a content type of this address",
    421: "Not a host of this service",
    422: "Cannot be right",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Unavailable for the moment",
}

STORE_DETAIL = "the store could not be asked; this says nothing about what was asked for: try again"
PEPPER_DETAIL = (
    "the record was written under a pepper that this process was not given; the service's log names it: give it after "
    "the current one and start the process again"
)
CORRUPT_DETAIL = (
    "the store holds a record that is not as it was written, and trying again does not help; the service's log names "
    "it: restore it, or set it aside with session-tokens check --fix"
)


class ProblemBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an error looks like: RFC 9457, with a stable code.

    On ``/introspect`` and ``/revoke`` the members of OAuth, ``error`` and ``error_description``, come along.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    reason: str | None = None
    error: str | None = None
    error_description: str | None = None


class Problem(Exception):
    """A refusal of the service itself, or an error of the library on its way out.

    Attributes:
        status: of HTTP.
        code: the stable word for programs.
        detail: for people; names the remedy and never a secret.
        headers: that go out with it.
        reason: why a session ended, where it did.
        oauth_error: the word of OAuth on its endpoints, where it differs from ``invalid_request``.
        title: what it is in a few words, where that of its status does not fit.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Headers | None = None,
        reason: str | None = None,
        oauth_error: str = "invalid_request",
        title: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or []
        self.reason = reason
        self.oauth_error = oauth_error
        self.title = title or TITLES.get(status, "Error")

    def body(self, *, oauth: bool) -> bytes:
        """Return the problem as JSON."""
        return msgspec.json.encode(
            ProblemBody(
                type=f"urn:session-tokens:problem:{self.code}",
                title=self.title,
                status=self.status,
                code=self.code,
                detail=self.detail,
                reason=self.reason,
                error=self.oauth_error if oauth else None,
                error_description=_ascii(self.detail) if oauth else None,
            )
        )


def _ascii(detail: str) -> str:
    """Return a text of the characters that RFC 6749 allows in a description."""
    return detail.replace('"', "'").replace("\\", "/").encode("ascii", "replace").decode("ascii")


def bad_request(detail: str, *, code: str = InvalidInput.code) -> Problem:
    """Return the problem of a request that cannot be read."""
    return Problem(400, code, detail)


def not_found() -> Problem:
    """Return the problem of an address that is not there."""
    return Problem(404, "not_found", "there is nothing at this address; /docs lists the addresses")


def problem_of(error: SessionTokensError, *, conditional: bool = False) -> Problem:
    """Return the problem of an error of the library.

    Args:
        error: as it was raised.
        conditional: whether the request had an ``If-Match``: a conflict is then a failed precondition.
    """
    if isinstance(error, UnknownPepper):
        return Problem(503, error.code, PEPPER_DETAIL, oauth_error="temporarily_unavailable")
    if isinstance(error, CorruptRecord):
        return Problem(503, error.code, CORRUPT_DETAIL, oauth_error="temporarily_unavailable")
    if isinstance(error, StoreError):
        return Problem(
            503, error.code, STORE_DETAIL, headers=[(b"retry-after", b"1")], oauth_error="temporarily_unavailable"
        )
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 409)
    if conditional and type(error) is Conflict:
        status = 412
    reason = error.details.get("reason")
    return Problem(status, error.code, str(error), reason=reason if isinstance(reason, str) else None)
