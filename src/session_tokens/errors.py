"""Every error of the library, so that a caller can catch by meaning and a program can read a stable code.

The tree::

    SessionTokensError
    ├── Refused                 the request was understood and the rules say no; nothing was changed
    │   ├── UnknownSession      no living session answers to that key
    │   ├── UnknownToken        no living token answers to that key
    │   ├── UnknownKey          no living service key has that id
    │   ├── UnknownWebhook      no webhook has that id
    │   ├── SessionEnded        the session is over, and why is on the error
    │   ├── NotOwner            the named owner does not own it
    │   ├── NotTransferable     the token is free or session-bound
    │   ├── NotDetachable       the session was not opened as detachable
    │   ├── AlreadyExists       another thing has that name
    │   ├── Conflict            it was changed meanwhile, or is not in the state that the command needs
    │   │   └── IdempotencyMismatch   the idempotency key was used with another request
    │   ├── OwnerDisabled       the owner is disabled
    │   ├── ReauthenticationRequired   the log-in is too old for this act
    │   └── LimitReached        a cap would be passed
    ├── InvalidInput            an argument can never be right (also a ValueError)
    └── StoreError              the store could not do it; never the same as "not valid"
        ├── StoreUnavailable    it cannot be reached, or did not answer in time
        ├── StoreBusy           it answers, but others were faster each time
        ├── CorruptRecord       what it holds cannot be what was written
        ├── UnknownPepper       it holds what was written under a pepper that this process was not given
        └── AdapterError        the application's own DB failed or answered nonsense

An argument of the wrong Python type is a plain ``TypeError``. No error holds a secret: keys that were secrets
are named by their kind alone.
"""

from __future__ import annotations

from typing import ClassVar, Final


class SessionTokensError(Exception):
    """The root of the tree.

    Attributes:
        code: a stable word for programs: in problem+json, exit codes and metrics.
        details: what the error is about (ids, owners, reasons), never a secret.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", **details: object) -> None:
        super().__init__(message or type(self).__doc__ or self.code)
        self.details = details


class Refused(SessionTokensError):
    """The rules refuse it; nothing was changed."""

    code = "refused"


class UnknownSession(Refused):
    """No living session answers to that key."""

    code = "unknown_session"


class UnknownToken(Refused):
    """No living token answers to that key."""

    code = "unknown_token"


class UnknownKey(Refused):
    """No living service key has that id; list the keys to see those there are."""

    code = "unknown_key"


class UnknownWebhook(Refused):
    """No webhook has that id; list the webhooks to see those there are."""

    code = "unknown_webhook"


class SessionEnded(Refused):
    """The session is over; ``details["reason"]`` says why."""

    code = "session_ended"


class NotOwner(Refused):
    """The named owner does not own it."""

    code = "not_owner"


class NotTransferable(Refused):
    """The token is free or session-bound; only a transferable token changes hands."""

    code = "not_transferable"


class NotDetachable(Refused):
    """The session was not opened as detachable."""

    code = "not_detachable"


class AlreadyExists(Refused):
    """Another thing has that name; nothing was overwritten."""

    code = "already_exists"


class Conflict(Refused):
    """It was changed meanwhile, or is not in the state that the command needs."""

    code = "conflict"


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before with another request; use a new key for a new request."""

    code = "idempotency_mismatch"


class OwnerDisabled(Refused):
    """The owner is disabled; enable_owner() lifts it."""

    code = "owner_disabled"


class LimitReached(Refused):
    """A cap would be passed."""

    code = "limit_reached"


class InvalidInput(SessionTokensError, ValueError):
    """An argument can never be right."""

    code = "invalid_input"


class StoreError(SessionTokensError):
    """The store could not do it; this says nothing about what was asked for."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store cannot be reached or did not answer in time; try again later.

    Attributes:
        told: whether the log says already that the store is away.
        did_nothing: whether the store answered that it has no room and did nothing.
    """

    code = "store_unavailable"
    told: bool = False
    did_nothing: bool = False


class StoreBusy(StoreError):
    """Others changed the same records first, each time; try again later."""

    code = "store_busy"


class CorruptRecord(StoreError):
    """What the store holds cannot be what was written."""

    code = "corrupt_record"


class UnknownPepper(StoreError):
    """A record was written under a pepper that this process was not given; ``details["key_id"]`` names it."""

    code = "unknown_pepper"


UNREADABLE: Final = (CorruptRecord, UnknownPepper)
"""What is raised for a record that cannot be read; it stops nothing but what is asked of that record."""


class AdapterError(StoreError):
    """The application's own DB failed, did not answer in time or answered nonsense."""

    code = "adapter_error"


class ReauthenticationRequired(Refused):
    """The owner proved who they are too long ago for this; let them log in again (step-up)."""

    code = "reauthentication_required"
