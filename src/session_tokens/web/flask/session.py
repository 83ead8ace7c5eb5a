"""The session of one Flask request: a mapping that is read from the store when it is first looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionMixin

from ...records import JSON, Session
from ...settings import ANONYMOUS_OWNERS

PERMANENT: Final = "_permanent"
"""Where Flask keeps whether a session outlives the browser; alone it is no data."""

_tagged = TaggedJSONSerializer()


class Difference(NamedTuple):
    """What a request did to the data.

    Attributes:
        changed: fields that are new or other than they were read, as JSON.
        removed: names of fields that are gone.
    """

    changed: dict[str, JSON]
    removed: list[str]


class FlaskSession(SessionMixin):
    """What ``flask.session`` is: values of all types that Flask's signed cookie kept, nested changes noticed.

    Args:
        load: verifies what the browser presented; it is called when the session is first looked at.
        secret: what the browser presented; ``None`` for nothing.
        owner_key: the field that names who is logged in, where an extension keeps it in one.
        owner_of: maps that field to the owner.

    Attributes:
        record: the living session that the browser presented, ``None`` where there is none.
        login: for whom a session is to be opened at the response, with ``remember`` for how long.
    """

    def __init__(
        self,
        load: Callable[[str], Session | None],
        secret: str | None,
        owner_key: str | None,
        owner_of: Callable[[Any], str],
    ) -> None:
        self._load = load
        self._secret = secret
        self._owner_key = owner_key
        self._owner_of = owner_of
        self._values: dict[str, Any] | None = None
        self._read: dict[str, str] = {}
        self._record: Session | None = None
        self._new_owner: str | None = None
        self._is_key_set = False
        self.modified = False
        self.has_ended = False
        self.is_cleared = False
        self.is_to_rotate = False
        self.remembered: Literal[False] | float | None = False

    @property
    def presented(self) -> str | None:
        """What the browser presented under the name of the cookie."""
        return self._secret

    @property
    def is_loaded(self) -> bool:
        """Whether anybody looked at it."""
        return self._values is not None

    @property
    def record(self) -> Session | None:
        """The living session of the browser, as it was read; ``None`` without one."""
        self.values_now()
        return self._record

    @property
    def id(self) -> str | None:
        """The public id (``ses_…``), for lists of devices; ``None`` before there is a record."""
        record = self.record
        return None if record is None else record.id

    @property
    def owner(self) -> str | None:
        """Who is logged in, as soon as ``login`` was called; ``None`` for a visitor."""
        new = self.owner_to_be()
        if new is not None:
            return new
        record = self.record
        return None if record is None or self.is_left() or is_visitor(record) else record.owner

    def values_now(self) -> dict[str, Any]:
        """Return the fields, read from the store the first time."""
        if self._values is None:
            record = None if self._secret is None else self._load(self._secret)
            kept: dict[str, JSON] = {} if record is None else json.loads(record.details.data_text)
            values = {field: _tagged.loads(json.dumps(value)) for field, value in kept.items()}
            self._read = {field: _tagged.dumps(value) for field, value in values.items()}
            self._record, self._values = record, values
        return self._values

    # --- the mapping ---------------------------------------------------------------------------------------------

    def __getitem__(self, field: str) -> Any:
        return self.values_now()[field]

    def __setitem__(self, field: str, value: Any) -> None:
        values = self.values_now()
        _encoded(field, value)  # what cannot be kept is refused where it is assigned
        values[field] = value
        self._is_key_set |= field == self._owner_key
        self.modified = True

    def __delitem__(self, field: str) -> None:
        del self.values_now()[field]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_now())

    def __len__(self) -> int:
        return len(self.values_now())

    def __repr__(self) -> str:
        return f"<FlaskSession {'not read' if self._values is None else sorted(self._values)}>"

    def clear(self) -> None:
        """Empty it; at the response the session ends and its cookie goes."""
        self.values_now().clear()
        self.modified = self.is_cleared = True
        self._is_key_set, self._new_owner = False, None

    # --- what is to happen at the response -------------------------------------------------------------------------

    def log_in(self, owner: str) -> None:
        """Let the response open a session for an owner; of a session of another owner nothing is carried over."""
        record = self.record
        if record is not None and not is_visitor(record) and record.owner != owner:
            self.values_now().clear()
        self._new_owner, self.modified, self.is_cleared = owner, True, False

    def remember(self, seconds: float | None) -> None:
        """Let the log-in of this request last for so long, ``None`` for ``Settings.remember_max_age``."""
        self.remembered = seconds

    def forget(self) -> None:
        """Start anew: the record has been ended, and nothing of it is left."""
        self._values, self._read, self._record = {}, {}, None
        self._new_owner, self._is_key_set = None, False
        self.modified = self.has_ended = True

    def owner_to_be(self) -> str | None:
        """For whom the response is to open a session: what ``log_in`` was given, or what an extension wrote."""
        if self._new_owner is not None:
            return self._new_owner
        named = None if self._owner_key is None else self.values_now().get(self._owner_key)
        return self._owner_of(named) if self._is_key_set and named is not None else None

    def is_left(self) -> bool:
        """Whether an extension took away the field that says who is logged in."""
        key = self._owner_key
        return key is not None and key in self._read and self.values_now().get(key) is None

    def has_data(self) -> bool:
        """Whether there is anything to keep; that it would be permanent is nothing."""
        return any(field != PERMANENT for field in self.values_now())

    def all_fields(self) -> dict[str, JSON]:
        """Return every field as JSON."""
        return {field: json.loads(_encoded(field, value)) for field, value in self.values_now().items()}

    def difference(self) -> Difference:
        """Compare what is in it now with what was read, field by field, down to the last nested value."""
        values = self.values_now()
        texts = {field: _encoded(field, value) for field, value in values.items()}
        changed = {field: json.loads(text) for field, text in texts.items() if self._read.get(field) != text}
        return Difference(changed, [field for field in self._read if field not in values])


def is_visitor(record: Session) -> bool:
    """Whether a session is one of before a log-in."""
    return record.owner.startswith(ANONYMOUS_OWNERS)


def _encoded(field: object, value: object) -> str:
    """Return a value as JSON text with Flask's tags.

    Raises:
        TypeError: it, or the name of its field, cannot be kept; the message names the field.
    """
    if not isinstance(field, str):
        raise TypeError(f"fields of a session are named by str, not {type(field).__name__}: {field!r}")
    try:
        return _tagged.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"session[{field!r}] cannot be kept: {error}") from error
