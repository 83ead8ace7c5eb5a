"""The general defaults and every limit, checked once where they are given.

Durations are given in seconds (``int``, ``float``) or as ``timedelta``; ``None`` means never. Zero, negative,
NaN and infinite durations are refused, not clamped. Fractions of a millisecond are rounded down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal

from .errors import InvalidInput

Duration = int | float | timedelta

Events = Literal["durable", "off"]

SessionPolicy = Literal["replace_oldest", "replace_all", "refuse"]


class _FromDB(Enum):
    """The one value of the kind 'ask the shared store'."""

    FROM_DB = "FROM_DB"

    def __repr__(self) -> str:
        return "FROM_DB"


FROM_DB: Final = _FromDB.FROM_DB
"""As general timeout of sessions: read it from the shared store, where every process sees a change within 30 s."""

FromDB = Literal[_FromDB.FROM_DB]


class _Unset(Enum):
    """The one value of 'not given', where ``None`` already means never."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "…"


UNSET: Final = _Unset.UNSET

Unset = Literal[_Unset.UNSET]

DURATION_MS_MAX = 100 * 366 * 86_400_000
"""The longest duration but never: a hundred years."""

OWNER_BYTES_MAX: Final = 255
VALUE_BYTES_MAX = 16_384
"""Of a token's value, and by default of a session's data."""
DATA_BYTES_MAX = 1_048_576
"""What the setting ``max_data_bytes`` may be at most."""
LABEL_BYTES_MAX = 255
TAG_BYTES_MAX = 64
USES_MAX = 10**9
"""How often a counted token can be used at the most."""
USED_UP_RETENTION_MS = 3_600_000
"""How long a token without any use left is still known as that."""
LOANS_MAX = 16
"""Living loans of one token."""
SETTLEMENT_BYTES_MAX = 255
HANDED_AT_ONCE = 100
"""How many tokens of a leaving owner are handed over in one transaction."""
WAITING_LOOKED_AT = 1_000
"""At how many of those that wait one search for the next token looks at the most, where nearly all are others'."""
WAITING_READ = 16
"""How many of those that wait longest are tried to claim the next, and how many more where others were faster."""
SCOPE_BYTES_MAX = 1_024
AUDIENCES_MAX = 16
METHODS_MAX = 16
"""How many methods of a log-in are kept."""
USER_AGENT_BYTES_MAX = 1_024
NAME_BYTES_MAX: Final = 1_024
"""Of the strings by which ``TokenTables`` knows sessions and tokens."""
IDEMPOTENCY_KEY_BYTES_MAX = 255
IDEMPOTENCY_RETENTION_MS = 86_400_000
JSON_DEPTH_MAX = 32
PAGE_LIMIT_MAX = 500
RECORDS_LIMIT_MAX = 1_000_000
"""How many records one call may be told to sweep or to hand over."""
ENDED_RETENTION_MS = 3_600_000
GRACE_MS_MAX = 3_600_000
"""How long the id of an ended session is still answered with ``SessionEnded``."""
CLEANING_BATCH = 500
"""How many tokens of one ended session are cleaned in one transaction, or join a session that was opened."""
MOVED_AT_ONCE = 16
"""How many tokens a replaced session hands on within the opening that replaces it; of more, none at once."""
ENDED_AT_ONCE = 100
"""How many sessions of one owner are ended, each by a write of its own, in one transaction."""
COUNTED_MAX = 1_000
"""Of how many sessions it is looked up one by one, before all are ended, whether they live."""
SESSIONS_OF_OWNER_MAX = 10_000
"""Living sessions of one owner, whatever the settings say."""
RENAMED_AT_ONCE = 1_000
"""Sessions and tokens of an owner that is given another name, which is done in one commit."""
NEWEST_READ: Final = 16
"""How many of an owner's newest sessions are read to find the newest that lives."""
SETTING_REFRESH_MS = 30_000
"""How old what was read of the settings that a store keeps may be."""
ATTEMPTS_MAX = 64
"""How often an optimistic store runs a rule again before it answers ``StoreBusy``."""
EVENTS_KEPT = 100_000
"""Events that a store keeps for those who follow them, unless the settings say otherwise."""
EVENTS_SETTING = "events"
"""The shared setting that says whether a store keeps events: ``durable``, ``off`` or nothing."""
SESSION_TIMEOUT_SETTING = "general_session_timeout"
RESERVED_OWNERS: Final = frozenset({"orphan", "system", "unassigned"})
CONSOLE_OWNERS = "console:"
"""How the owners begin for whom the console opens its sessions."""
ANONYMOUS_OWNERS = "anonymous:"
"""How the owners begin for whom frameworks open sessions before a log-in."""
FORGOTTEN_OWNERS = "forgotten:"
"""How the pseudonyms begin that stand in place of owners who were forgotten."""
RESERVED_BEGINNINGS = (CONSOLE_OWNERS, ANONYMOUS_OWNERS, FORGOTTEN_OWNERS)
"""Nobody else opens sessions for such owners, hands them tokens or disables them."""


def duration_ms(name: str, duration: Duration | None) -> int | None:
    """Return a duration in whole milliseconds.

    Args:
        name: what the duration is called, for the error.
        duration: seconds, a ``timedelta``, or ``None`` for never.

    Raises:
        TypeError: for anything else, ``bool`` too.
        InvalidInput: for zero, negative, NaN, infinite, below a millisecond or beyond a hundred years.
    """
    if duration is None:
        return None
    if isinstance(duration, timedelta):
        milliseconds = duration // timedelta(milliseconds=1)
    elif isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"{name} is seconds (int or float), a timedelta or None for never, not {_kind(duration)}")
    elif isinstance(duration, int):
        milliseconds = duration * 1000
    elif math.isfinite(duration * 1000):
        milliseconds = int(duration * 1000 + 1e-6)  # 0.29 * 1000 is 289.99…; a whole millisecond stays one
    else:
        raise InvalidInput(f"{name} must be a number of seconds up to a hundred years; {NO_LIMIT}")
    return checked_ms(name, milliseconds)


NO_LIMIT: Final = "no limit is None (over HTTP null, at the command line never)"


def checked_ms(name: str, milliseconds: int) -> int:
    """Return ``milliseconds`` if it is a duration: 1 ms to a hundred years; else raise ``InvalidInput``."""
    if milliseconds < 1:
        raise InvalidInput(f"{name} must be at least a millisecond; {NO_LIMIT}")
    if milliseconds > DURATION_MS_MAX:
        raise InvalidInput(f"{name} is more than a hundred years; {NO_LIMIT}")
    return milliseconds


def whole_ms(name: str, milliseconds: object) -> int | None:
    """Return a duration that is given in integer milliseconds, as ``TokenTables`` takes them; ``None`` is never."""
    if milliseconds is None:
        return None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        raise TypeError(f"{name} is whole milliseconds (int) or None for never, not {_kind(milliseconds)}")
    return checked_ms(name, int(milliseconds))


def _kind(given: object) -> str:
    return type(given).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The general defaults of one application.

    What is not given here is as the environment says (``SESSION_TOKENS_MAX_AGE`` and so on), else as it is kept with
    the store (``set_setting``), which every process sees within 30 seconds, else the default below.

    Attributes:
        max_age: seconds from its opening after which a session ends: 3600. ``FROM_DB`` is what the store says, whatever
            the environment does.
        idle_timeout: seconds without use after which a session ends: never.
        detached_timeout: seconds after which a detached session ends: as ``max_age``.
        max_sessions: living sessions of one owner; ``None`` for no cap but the hard one of 10,000, which is the
            default.
        session_policy: what happens at the cap: ``replace_oldest`` (the default), ``replace_all`` or ``refuse``.
        token_timeout: seconds after which a token ends: never.
        disownment_timeout: seconds that a token may wait unassigned: 3600.
        max_tokens_per_session: living tokens that a session may hold for one more to be issued under it, borrowed ones
            not counted; ``None`` for no cap, which is the default. Tokens that change hands are not refused.
        max_data_bytes: what one session's data may be as JSON text, up to 1 MiB: 16,384.
        anonymous_max_age: seconds after which the session of a visitor who has not logged in ends: 3600.
        remember_max_age: seconds after which a session that is to be remembered ends: 30 days.
        sweep_interval: seconds between two runs of the background sweeper: 1. Of this process alone.
        refresh_interval: seconds after which what the store keeps of these is read again, at most 30, which is the
            default. Of this process alone.
        events: ``durable`` has every state change written down as an event, in the commit of the change; ``off`` no
            more. It is recorded with the store and holds for every process on it; not given, what is recorded stands.
        events_kept: how many events are kept for those who follow them, 100,000; the oldest go first.

    Raises:
        InvalidInput: a duration or cap that can never be right.
        TypeError: a value of the wrong type.
    """

    max_age: Duration | None | FromDB | Unset = UNSET
    idle_timeout: Duration | None | Unset = UNSET
    detached_timeout: Duration | None | Unset = UNSET
    max_sessions: int | None | Unset = UNSET
    session_policy: SessionPolicy | Unset = UNSET
    token_timeout: Duration | None | Unset = UNSET
    disownment_timeout: Duration | None | Unset = UNSET
    max_tokens_per_session: int | None | Unset = UNSET
    max_data_bytes: int | Unset = UNSET
    anonymous_max_age: Duration | None | Unset = UNSET
    remember_max_age: Duration | None | Unset = UNSET
    sweep_interval: Duration | Unset = UNSET
    refresh_interval: Duration | Unset = UNSET
    events: Events | Unset = UNSET
    events_kept: int | Unset = UNSET

    def __reduce__(self) -> tuple[Any, ...]:
        # Of a compiled class neither copy nor pickle could find the fields by themselves.
        return _settings_of, ({one.name: getattr(self, one.name) for one in fields(self)},)

    def __post_init__(self) -> None:
        for name in DURATIONS:
            duration = getattr(self, name)
            if duration is not UNSET and not (duration is FROM_DB and name == "max_age"):
                duration_ms(name, duration)
        self._check_intervals()
        self._check_numbers()
        if self.events is not UNSET and self.events not in EVENTS_CHOICES:
            raise InvalidInput("events is durable or off")
        if self.session_policy is not UNSET and self.session_policy not in POLICIES:
            raise InvalidInput(f"session_policy is one of {', '.join(POLICIES)}")

    def _check_intervals(self) -> None:
        for name in INTERVALS:
            interval = getattr(self, name)
            if interval is not UNSET and duration_ms(name, interval) is None:
                raise TypeError(f"{name} is a duration in seconds")
        refresh = self.refresh_interval
        if refresh is not UNSET and (duration_ms("refresh_interval", refresh) or 0) > SETTING_REFRESH_MS:
            raise InvalidInput("refresh_interval is at most 30 seconds; within that a change is seen everywhere")

    def _check_numbers(self) -> None:
        for name in CAPS:
            cap = getattr(self, name)
            if cap is not None and cap is not UNSET and (isinstance(cap, bool) or not isinstance(cap, int)):
                raise TypeError(f"{name} is a whole number or None for no cap, not {_kind(cap)}")
            if cap is not None and cap is not UNSET and cap < 1:
                raise InvalidInput(f"{name} must be at least 1; for no cap give None")
        for name in SIZES:
            size = getattr(self, name)
            if size is not UNSET and (isinstance(size, bool) or not isinstance(size, int)):
                raise TypeError(f"{name} is a whole number, not {_kind(size)}")
        if self.max_data_bytes is not UNSET and not 2 <= self.max_data_bytes <= DATA_BYTES_MAX:
            raise InvalidInput(f"max_data_bytes is 2 to {DATA_BYTES_MAX} (1 MiB); keep larger data elsewhere")
        if self.events_kept is not UNSET and self.events_kept < 1:
            raise InvalidInput("events_kept must be at least 1; to keep none give events='off'")

    def over(self, other: Settings) -> Settings:
        """Return these, with what is not given here as it is in ``other``."""
        given = {name: value for name in SETTING_NAMES if (value := getattr(self, name)) is not UNSET}
        rest = {name: getattr(other, name) for name in SETTING_NAMES if name not in given}
        return Settings(**given, **rest)


DURATIONS = (
    "max_age", "idle_timeout", "detached_timeout", "token_timeout", "disownment_timeout", "anonymous_max_age",
    "remember_max_age",
)  # fmt: skip
"""Settings that are seconds or never."""
INTERVALS = ("sweep_interval", "refresh_interval")
"""Those that are seconds, and of one process."""
CAPS = ("max_sessions", "max_tokens_per_session")
"""Those that are a whole number or no cap."""
SIZES = ("max_data_bytes", "events_kept")
"""Those that are a whole number."""
EVENTS_CHOICES = ("durable", "off")
POLICIES = ("replace_oldest", "replace_all", "refuse")
SETTING_NAMES = (*DURATIONS, *INTERVALS, *CAPS, *SIZES, "events", "session_policy")
DEFAULTS = Settings(
    max_age=3600,
    idle_timeout=None,
    max_sessions=None,
    session_policy="replace_oldest",
    token_timeout=None,
    disownment_timeout=3600,
    max_tokens_per_session=None,
    max_data_bytes=VALUE_BYTES_MAX,
    anonymous_max_age=3600,
    remember_max_age=30 * 86_400,
    sweep_interval=1,
    refresh_interval=SETTING_REFRESH_MS // 1000,
    events_kept=EVENTS_KEPT,
)
"""What holds where nobody says anything; a detached session then ends when the general timeout says."""


def _settings_of(given: dict[str, Any]) -> Settings:
    return Settings(**given)


class Policy:
    """The settings as the rules read them: whole milliseconds, the defaults where nothing is given.

    Attributes:
        max_age_ms: the general session timeout; ``TokenTables`` may replace it while the process runs.
        cleaning_batch: tokens of one ended session that one transaction cleans, ``None`` for all.
        ended_at_once: sessions of one owner that one transaction ends each for itself.
        moved_at_once: tokens that a replaced session hands on within the opening, ``None`` for all; of more, none.
        names: whether ids are names of the application's own choice, which an ended thing gives free again.
    """

    __slots__ = (
        "anonymous_max_age_ms", "cleaning_batch", "detached_as_max_age", "detached_timeout_ms",
        "disownment_timeout_ms", "ended_at_once", "ended_retention_ms", "events_kept", "idle_timeout_ms", "max_age_ms",
        "max_data_bytes", "max_sessions", "max_tokens_per_session", "moved_at_once", "names",
        "refresh_interval_ms", "remember_max_age_ms", "session_policy", "sweep_interval_ms", "token_timeout_ms",
    )  # fmt: skip

    def __init__(self, settings: Settings, *, names: bool = False, whole: bool = False) -> None:
        self.ended_retention_ms = 0 if names else ENDED_RETENTION_MS
        self.cleaning_batch: int | None = None if whole else CLEANING_BATCH
        self.ended_at_once = min(ENDED_AT_ONCE, CLEANING_BATCH)
        self.moved_at_once: int | None = None if whole else min(MOVED_AT_ONCE, CLEANING_BATCH - 1)
        self.names = names
        self.take(settings)

    def take(self, settings: Settings) -> None:
        """Go by these settings from now on, and by the defaults where nothing is given."""
        given = settings.over(DEFAULTS)
        self.max_age_ms = _given_ms("max_age", DEFAULTS.max_age if given.max_age is FROM_DB else given.max_age)
        self.idle_timeout_ms = _given_ms("idle_timeout", given.idle_timeout)
        self.detached_as_max_age = given.detached_timeout is UNSET
        self.detached_timeout_ms = (
            None if self.detached_as_max_age else _given_ms("detached_timeout", given.detached_timeout)
        )
        self.anonymous_max_age_ms = _given_ms("anonymous_max_age", given.anonymous_max_age)
        self.remember_max_age_ms = _given_ms("remember_max_age", given.remember_max_age)
        self.max_sessions = given.max_sessions if given.max_sessions is not UNSET else None
        self.max_data_bytes = given.max_data_bytes if given.max_data_bytes is not UNSET else VALUE_BYTES_MAX
        self.sweep_interval_ms = _given_ms("sweep_interval", given.sweep_interval) or 1000
        self.refresh_interval_ms = _given_ms("refresh_interval", given.refresh_interval) or SETTING_REFRESH_MS
        self.events_kept = given.events_kept if given.events_kept is not UNSET else EVENTS_KEPT
        self.session_policy: SessionPolicy = (
            given.session_policy if given.session_policy is not UNSET else "replace_oldest"
        )
        self.token_timeout_ms = _given_ms("token_timeout", given.token_timeout)
        self.disownment_timeout_ms = _given_ms("disownment_timeout", given.disownment_timeout)
        self.max_tokens_per_session = (
            given.max_tokens_per_session if given.max_tokens_per_session is not UNSET else None
        )


def _given_ms(name: str, duration: Duration | None | FromDB | Unset) -> int | None:
    """Return a duration that is there in whole milliseconds."""
    assert duration is not UNSET and duration is not FROM_DB, "the defaults fill in for what is not given"
    return duration_ms(name, duration)
