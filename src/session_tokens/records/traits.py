"""What many sessions, or many tokens, have alike: kept once, and each of them takes one reference for all of it.

Theory of operation. Traits are equal for nearly all records that the same application makes: its timeouts, who made
them, what kind they are. The same traits are the same object as long as they are among those that were met lately; two
objects of the same content are equal all the same, so nothing but memory hangs on it.
"""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import Any, ClassVar, Final

from ..compiled_core import COMPILED
from ..compiler_hints import mypyc_attr
from .record import Record, frozen_kind


class TokenKind(StrEnum):
    """The three kinds of token; a token keeps its kind for life."""

    FREE = "free"
    BOUND = "session-bound"
    TRANSFERABLE = "transferable"


FREE: Final = TokenKind.FREE
BOUND: Final = TokenKind.BOUND
TRANSFERABLE: Final = TokenKind.TRANSFERABLE
"""The kinds as plain names: an attribute of an enumeration costs four times as much to read."""

KNOWN_MAX: Final = 256
"""How many different traits are known to have been met."""

_OF_SESSIONS = ("idle_timeout_ms", "max_age_ms", "detached_timeout_ms", "detachable", "client_id")
_OF_TOKENS = ("kind", "is_json", "timeout_ms", "disownment_timeout_ms", "client_id")


@mypyc_attr(acyclic=True)
class SessionTraits(Record):
    """What many sessions have alike; durations in milliseconds, ``None`` for never."""

    __slots__ = _OF_SESSIONS
    _compared = _OF_SESSIONS
    _values = attrgetter(*_OF_SESSIONS)
    _places: ClassVar[dict[str, int]] = {name: place for place, name in enumerate(_OF_SESSIONS)}

    def __init__(
        self,
        idle_timeout_ms: int | None,
        max_age_ms: int | None,
        detached_timeout_ms: int | None,
        detachable: bool,
        client_id: str | None,
    ) -> None:
        self.idle_timeout_ms: Final = idle_timeout_ms
        self.max_age_ms: Final = max_age_ms
        self.detached_timeout_ms: Final = detached_timeout_ms
        self.detachable: Final = detachable
        self.client_id: Final = client_id
        if not COMPILED:
            self.__class__ = FrozenSessionTraits

    @classmethod
    def _made(cls, *values: Any) -> SessionTraits:
        return session_traits(*values)

    def __reduce__(self) -> tuple[Any, ...]:
        return session_traits, self._values(self)


@mypyc_attr(acyclic=True)
class TokenTraits(Record):
    """What many tokens have alike; durations in milliseconds, ``None`` for never."""

    __slots__ = _OF_TOKENS
    _compared = _OF_TOKENS
    _values = attrgetter(*_OF_TOKENS)
    _places: ClassVar[dict[str, int]] = {name: place for place, name in enumerate(_OF_TOKENS)}

    def __init__(
        self,
        kind: TokenKind,
        is_json: bool,
        timeout_ms: int | None,
        disownment_timeout_ms: int | None,
        client_id: str | None,
    ) -> None:
        self.kind: Final = kind
        self.is_json: Final = is_json
        self.timeout_ms: Final = timeout_ms
        self.disownment_timeout_ms: Final = disownment_timeout_ms
        self.client_id: Final = client_id
        if not COMPILED:
            self.__class__ = FrozenTokenTraits

    @classmethod
    def _made(cls, *values: Any) -> TokenTraits:
        return token_traits(*values)

    def __reduce__(self) -> tuple[Any, ...]:
        return token_traits, self._values(self)


FrozenSessionTraits = SessionTraits if COMPILED else frozen_kind(SessionTraits)
FrozenTokenTraits = TokenTraits if COMPILED else frozen_kind(TokenTraits)

_met_in_sessions: dict[tuple[int | None, int | None, int | None, bool, str | None], SessionTraits] = {}
_met_in_tokens: dict[tuple[str, bool, int | None, int | None, str | None], TokenTraits] = {}


def session_traits(
    idle_timeout_ms: int | None,
    max_age_ms: int | None,
    detached_timeout_ms: int | None,
    detachable: bool,
    client_id: str | None,
) -> SessionTraits:
    """Return the traits of a session; mostly an object that others have too."""
    asked = (idle_timeout_ms, max_age_ms, detached_timeout_ms, detachable, client_id)
    known = _met_in_sessions.get(asked)
    if known is None:
        if len(_met_in_sessions) >= KNOWN_MAX:
            _met_in_sessions.clear()
        known = _met_in_sessions[asked] = SessionTraits(
            idle_timeout_ms, max_age_ms, detached_timeout_ms, detachable, client_id
        )
    return known


def token_traits(
    kind: TokenKind,
    is_json: bool,
    timeout_ms: int | None,
    disownment_timeout_ms: int | None,
    client_id: str | None,
) -> TokenTraits:
    """Return the traits of a token; mostly an object that others have too."""
    asked = (kind._value_, is_json, timeout_ms, disownment_timeout_ms, client_id)  # to hash the kind takes a call
    known = _met_in_tokens.get(asked)
    if known is None:
        if len(_met_in_tokens) >= KNOWN_MAX:
            _met_in_tokens.clear()
        known = _met_in_tokens[asked] = TokenTraits(kind, is_json, timeout_ms, disownment_timeout_ms, client_id)
    return known
