"""What a handler works with and answers, and how an address of the service is described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from .._async.api import AsyncSessionTokens
from .._async.token_tables import AsyncTokenTables
from ..records import ServiceKey, Session, Token
from . import shapes


@dataclass(slots=True)
class Call:
    """What a handler works with.

    Attributes:
        tokens: the library.
        key: the service key that asks.
        subject: what the address names: an id, a secret that the body holds, or an owner; empty where it names nothing.
        body: decoded and closed.
        query: decoded and closed.
        idempotency_key: within the scope of this key and address, ``None`` where none was sent.
        version: that the record must still have: of ``If-Match``, else of the body.
        tables: opens the seed's tables on the same store, once.
        sees: whether the key sees a record, ``None`` where it sees all.
    """

    tokens: AsyncSessionTokens
    key: ServiceKey
    subject: str
    body: Any
    query: Any
    idempotency_key: str | None
    version: int | None
    tables: Callable[[], Awaitable[AsyncTokenTables]] | None = None
    sees: Callable[[Session | Token], Awaitable[bool]] | None = None


@dataclass(slots=True)
class Snapshot:
    """What a handler answers.

    Attributes:
        body: as it goes out.
        version: becomes the ETag.
        changed: whether there was something to end, where the body does not say it.
    """

    body: Struct | None
    version: int | None = None
    changed: bool | None = None


Handler = Callable[[Call], Awaitable[Snapshot]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address.

    Attributes:
        path: as Starlette writes it; at most one parameter, ``id`` or ``owner``.
        act: what the caller's role must allow.
        conditional: whether it takes ``If-Match``.
    """

    method: str
    path: str
    act: str
    handler: Handler
    answer: type[Struct] | None
    status: int = 200
    body: type[Struct] | None = None
    query: type[Struct] = shapes.NoQuery
    conditional: bool = False
