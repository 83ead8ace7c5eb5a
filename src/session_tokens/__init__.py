"""Sessions, and the tokens that live under them: the public names."""

from .async_api import AsyncSessionTokens
from .async_token_tables import AsyncTokenTables
from .errors import (
    AdapterError,
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
    Refused,
    SessionEnded,
    SessionTokensError,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    UnknownSession,
    UnknownToken,
)
from .events import Event
from .records import Issued, Page, Session, Token, TokenKind
from .settings import FROM_DB, Settings
from .sync_api import SessionTokens
from .token_tables import TokenTables

__version__ = "0.1.0"

__all__ = [
    "FROM_DB",
    "AdapterError",
    "AlreadyExists",
    "AsyncSessionTokens",
    "AsyncTokenTables",
    "Conflict",
    "CorruptRecord",
    "Event",
    "IdempotencyMismatch",
    "InvalidInput",
    "Issued",
    "LimitReached",
    "NotDetachable",
    "NotOwner",
    "NotTransferable",
    "OwnerDisabled",
    "Page",
    "ReauthenticationRequired",
    "Refused",
    "Session",
    "SessionEnded",
    "SessionTokens",
    "SessionTokensError",
    "Settings",
    "StoreBusy",
    "StoreError",
    "StoreUnavailable",
    "Token",
    "TokenKind",
    "TokenTables",
    "UnknownSession",
    "UnknownToken",
]
