"""The general settings that live with a store: how they are kept as text, written by people, and by the environment.

A store keeps each of them under a name of its own, as text that is the same whoever wrote it: a duration as decimal
milliseconds or ``never``, a cap as digits or ``none``. What a process cannot make sense of never stops it: the last
value that it knew stands, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .errors import InvalidInput
from .settings import (
    CAPS,
    DURATION_MS_MAX,
    DURATIONS,
    EVENTS_SETTING,
    FROM_DB,
    INTERVALS,
    SESSION_TIMEOUT_SETTING,
    SETTING_NAMES,
    SIZES,
    UNSET,
    Settings,
    duration_ms,
)

log = logging.getLogger("session_tokens.settings")

KEPT_PREFIX = "settings:"
STORED: Final[Mapping[str, str]] = {
    "max_age": SESSION_TIMEOUT_SETTING,
    "events": EVENTS_SETTING,
    **{
        name: KEPT_PREFIX + name
        for name in sorted(SETTING_NAMES)
        if name not in ("max_age", "events") and name not in INTERVALS
    },
}
"""The settings that live with a store → under which name of a shared setting; those of one process are none of them."""
VARIABLES: Final[Mapping[str, str]] = {
    f"SESSION_TOKENS_{name.upper()}": name for name in SETTING_NAMES if name != "events"
}
"""Variables of the environment → the setting that they give; events are the store's, which ``serve --events`` sets."""
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
NEVER, NO_CAP = "never", "none"
DIGITS_MAX = 15

Value = int | float | str | None
"""A general setting on a surface: seconds, a number, a word; ``None`` for never and for no cap."""


class GeneralSetting(NamedTuple):
    """One general setting, as it holds here and as the store has it.

    Attributes:
        name: as in ``Settings``.
        value: what holds in this process: seconds, a number or a word; ``None`` for never and for no cap.
        source: where that comes from: ``argument``, ``environment``, ``stored`` or ``default``.
        is_stored: whether the store has a value.
        stored: that value.
        default: what holds where nobody says anything.
    """

    name: str
    value: Value
    source: str
    is_stored: bool
    stored: Value
    default: Value

    def to_dict(self) -> dict[str, Value]:
        """Return it for JSON."""
        return self._asdict()


def stored_name_of(name: object) -> str:
    """Return under which name a store keeps a general setting.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: no setting that lives with the store is named so.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a setting is a str, not {type(name).__name__}")
    kept = STORED.get(name)
    if kept is None:
        if name in INTERVALS:
            raise InvalidInput(f"{name} is a setting of each process; give it in Settings({name}=) or the environment")
        raise InvalidInput(f"no setting is named so; there are {', '.join(STORED)}")
    return kept


def kept_text(name: str, value: object) -> str:
    """Return a value of a general setting as a store keeps it.

    Raises:
        TypeError: it is of the wrong type.
        InvalidInput: it can never be right.
    """
    if value is UNSET or value is FROM_DB:
        raise TypeError(f"{name} needs a value; unset_setting takes what is stored away")
    if name == "session_policy" and not isinstance(value, str):
        raise TypeError(f"{name} is a word, not {type(value).__name__}")
    given: Any = {name: value}
    checked = getattr(Settings(**given), name)
    if name in DURATIONS:
        milliseconds = duration_ms(name, checked)
        return NEVER if milliseconds is None else str(milliseconds)
    if checked is None:
        return NO_CAP
    return str(int(checked)) if isinstance(checked, int) else str.__str__(checked)


def value_kept(name: str, text: str) -> Any:
    """Return the value of a general setting that a store keeps as text.

    Raises:
        InvalidInput: that is no such text.
    """
    if name in DURATIONS:
        if text == NEVER:
            return None
        milliseconds = _whole(name, text)
        if not 1 <= milliseconds <= DURATION_MS_MAX:
            raise InvalidInput(f"{name} is no duration")
        return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000
    if name in CAPS and text == NO_CAP:
        return None
    value = _whole(name, text) if name in CAPS or name in SIZES else text
    given: Any = {name: value}
    Settings(**given)
    return value


def value_written(name: str, text: str) -> Any:
    """Return the value of a general setting as people write it: ``30m``, ``never``, ``5``, ``none``, ``refuse``.

    Raises:
        InvalidInput: it is written in another way, or can never be right.
    """
    value: Any
    if name in DURATIONS or name in INTERVALS:
        value = seconds_written(text)
    elif name in CAPS and text == NO_CAP:
        value = None
    else:
        value = _whole(name, text) if name in CAPS or name in SIZES else text
    given: Any = {name: value}
    try:
        Settings(**given)
    except TypeError as error:  # an interval of never
        raise InvalidInput(str(error)) from None
    return value


def value_shown(name: str, value: Value) -> str:
    """Return a value as people write it, so that it can be given back."""
    if value is None:
        return NO_CAP if name in CAPS else NEVER
    if name not in DURATIONS or not isinstance(value, int):
        return f"{value}s" if name in DURATIONS else str(value)
    for unit in ("d", "h", "m"):
        if value % UNITS_S[unit] == 0:
            return f"{value // UNITS_S[unit]}{unit}"
    return f"{value}s"


def seconds_written(text: str) -> float | None:
    """Return a duration in seconds: ``3600``, ``90s``, ``15m``, ``12h``, ``30d``; ``never`` is ``None``.

    Raises:
        InvalidInput: it is written in another way.
    """
    if text == NEVER:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS_S else (text, "s")
    whole, dot, part = number.partition(".")
    digits = whole + part
    is_number = digits.isascii() and digits.isdigit() and len(number) <= DIGITS_MAX
    if not is_number or (dot and not (whole and part)):
        raise InvalidInput("a duration is written like 3600, 90s, 15m, 12h, 30d, or never")
    return (float(number) if dot else int(number)) * UNITS_S[unit]


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise InvalidInput(f"{name} is a whole number, written in digits" + (", or none" if name in CAPS else ""))
    return int(text)


def settings_in(environment: Mapping[str, str]) -> Settings:
    """Return the settings that an environment gives; a variable that is empty gives none.

    Raises:
        InvalidInput: one of them can never be right; names the variable.
    """
    given: dict[str, Any] = {}
    for variable, name in VARIABLES.items():
        text = environment.get(variable)
        if text:
            try:
                given[name] = value_written(name, text)
            except InvalidInput as error:
                raise InvalidInput(f"the environment variable {variable}: {error}") from None
    return Settings(**given)


def settings_kept(texts: Mapping[str, str | None], last: Settings) -> Settings:
    """Return the settings that a store keeps, from what it has under each name.

    Args:
        texts: name of the setting → text, ``None`` where nothing is stored; what is not in there could not be read.
        last: what was known before, which stands for what cannot be read or makes no sense.
    """
    given: dict[str, Any] = {}
    for name in STORED:
        text = texts.get(name)
        if name in texts and text is None:
            continue
        before = getattr(last, name)
        if text is not None:
            try:
                given[name] = value_kept(name, text)
                continue
            except InvalidInput:
                if text:
                    log.warning("what the store keeps as the setting %s makes no sense; the last value stands", name)
        if before is not UNSET:
            given[name] = before
    return Settings(**given)
