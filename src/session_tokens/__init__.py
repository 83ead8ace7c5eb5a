"""Sessions, and the tokens that live under them: the public names.

Each is loaded when it is first used, so that a program pays only for what it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._async.api import AsyncSessionTokens
    from ._async.token_tables import AsyncTokenTables
    from ._sync.api import SessionTokens
    from ._sync.token_tables import TokenTables
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
        UnknownKey,
        UnknownPepper,
        UnknownSession,
        UnknownToken,
        UnknownWebhook,
    )
    from .events import Event
    from .records import Forgotten, Issued, OwnerSummary, Page, Session, Token, TokenKind
    from .records.explanation import Explanation
    from .settings import FROM_DB, Settings
    from .stored_settings import GeneralSetting

__version__ = "0.1.0"

_HOMES = {
    "AdapterError": "errors",
    "AlreadyExists": "errors",
    "AsyncSessionTokens": "_async.api",
    "AsyncTokenTables": "_async.token_tables",
    "Conflict": "errors",
    "CorruptRecord": "errors",
    "Event": "events",
    "Explanation": "records.explanation",
    "FROM_DB": "settings",
    "GeneralSetting": "stored_settings",
    "IdempotencyMismatch": "errors",
    "InvalidInput": "errors",
    "Issued": "records",
    "LimitReached": "errors",
    "NotDetachable": "errors",
    "NotOwner": "errors",
    "NotTransferable": "errors",
    "OwnerDisabled": "errors",
    "Forgotten": "records",
    "OwnerSummary": "records",
    "Page": "records",
    "ReauthenticationRequired": "errors",
    "Refused": "errors",
    "Session": "records",
    "SessionEnded": "errors",
    "SessionTokens": "_sync.api",
    "SessionTokensError": "errors",
    "Settings": "settings",
    "StoreBusy": "errors",
    "StoreError": "errors",
    "StoreUnavailable": "errors",
    "Token": "records",
    "TokenKind": "records",
    "TokenTables": "_sync.token_tables",
    "UnknownKey": "errors",
    "UnknownPepper": "errors",
    "UnknownSession": "errors",
    "UnknownToken": "errors",
    "UnknownWebhook": "errors",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "FROM_DB",
    "AdapterError",
    "AlreadyExists",
    "AsyncSessionTokens",
    "AsyncTokenTables",
    "Conflict",
    "CorruptRecord",
    "Event",
    "Explanation",
    "Forgotten",
    "GeneralSetting",
    "IdempotencyMismatch",
    "InvalidInput",
    "Issued",
    "LimitReached",
    "NotDetachable",
    "NotOwner",
    "NotTransferable",
    "OwnerDisabled",
    "OwnerSummary",
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
    "UnknownKey",
    "UnknownPepper",
    "UnknownSession",
    "UnknownToken",
    "UnknownWebhook",
]
