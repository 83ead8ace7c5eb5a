"""What a browser's session holds, and what of it a request has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..records import JSON, Session
from ..records.compact import read_compact
from .fields import (
    SCALARS,
    Text,
    TrackedFields,
    as_it_is,
    changed_of,
    holds_the_same,
    kept_of,
    text_of,
    with_text_names,
)
from .steps import Step, retaken, taken

Encode = Callable[[Any], Any]
HIDDEN = "_st_"
"""How the names of fields begin that are the session's own and not the application's."""
REMEMBER, FLASH = HIDDEN + "remember", HIDDEN + "flash"


class Contents(TrackedFields):
    """The fields of a session, those of its own among them, beside what was read of them.

    Whoever builds on it sets these attributes at its own making: one call more is what a visitor's request notices.
    """

    __slots__ = ("_cleared", "_encode", "_hidden", "_kept", "_steps")
    _cleared: bool
    _encode: Encode
    _hidden: dict[str, JSON]
    _kept: dict[str, JSON]
    _steps: dict[str, list[Step]]

    def _take(self, record: Session, decode: Encode) -> None:
        text = record.details.data_text
        kept: dict[str, JSON] = read_compact(text)
        self._kept = kept
        dict.update(self, kept)
        if HIDDEN not in text and SCALARS.issuperset(map(type, kept.values())):
            return
        for field, value in list(kept.items()):
            kept[field] = kept_of(value)
            if field.startswith(HIDDEN):
                self._hidden[field] = dict.pop(self, field)
            elif type(value) not in SCALARS:
                dict.__setitem__(self, field, decode(value))

    def _forget(self) -> None:
        self.accessed = True
        dict.clear(self)
        self._hidden.clear()
        self._steps.clear()

    def _forget_another(self) -> None:
        """Forget what was another user's; what this request says to the next page is for whoever sees that."""
        said = self._steps.get(FLASH, ())
        self._forget()
        left = retaken(None, said, None)
        if left:
            self._hidden[FLASH] = left
            self._steps[FLASH] = [Step("append", left)]

    def clear(self) -> None:
        """Take all fields out. A session that is still empty with the response ends, and its cookie is cleared."""
        is_remembered = self._hidden.get(REMEMBER)
        self._forget()
        if is_remembered is not None:  # of the log-in, which goes on where something is put in again
            self._hidden[REMEMBER] = is_remembered
        self._cleared = True

    def _is_empty(self) -> bool:
        """Whether it holds nothing of the application's, and no message."""
        return not dict.__len__(self) and self._hidden.keys() <= {REMEMBER}

    def increment(self, field: str, by: int | float = 1) -> Any:
        """Add to a number, which is 0 where it is not there, and return it; increments of other requests count too.

        Raises:
            TypeError: the field holds no number.
        """
        if isinstance(by, bool) or not isinstance(by, int | float):
            raise TypeError(f"a field is incremented by a number, not by a {type(by).__name__}")
        self[field] = self._stepped(field, Step("add", by))
        return self[field]

    def merge(self, fields: Mapping[str, Any]) -> None:
        """Put fields in, objects into what is there: what other requests put into the same objects stays.

        Raises:
            TypeError: a field holds something else than an object, and is given one.
        """
        for field, value in fields.items():
            is_object = isinstance(value, dict)
            self[field] = self._stepped(field, Step("merge", with_text_names(value))) if is_object else value

    def flash(self, message: JSON, category: str = "message") -> None:
        """Keep a message for the next page."""
        self.accessed = True
        step = Step("append", [[category, message]])
        self._hidden[FLASH] = taken(self._hidden.get(FLASH), step)
        self._steps.setdefault(FLASH, []).append(step)

    def flashes(self) -> list[tuple[str, JSON]]:
        """Return the messages that were kept, each once: (category, message)."""
        messages = self._messages()
        self._hidden.pop(FLASH, None)
        self._shown(messages)
        return messages

    def _messages(self) -> list[tuple[str, JSON]]:
        self.accessed = True
        kept = self._hidden.get(FLASH)
        return [(str(each[0]), each[1]) for each in kept if isinstance(each, list)] if isinstance(kept, list) else []

    def _take_messages(self, category: str) -> list[JSON]:
        """Return the messages of a category, each once; those of others stay."""
        messages = self._messages()
        left: list[JSON] = [[each, message] for each, message in messages if each != category]
        self._hidden.pop(FLASH, None)
        if left:
            self._hidden[FLASH] = left
        shown = [pair for pair in messages if pair[0] == category]
        self._shown(shown)
        return [message for _, message in shown]

    def _shown(self, messages: list[tuple[str, JSON]]) -> None:
        """Take messages out that are shown now, and none that another request says meanwhile."""
        if messages:
            self._steps.setdefault(FLASH, []).append(Step("drop", [list(pair) for pair in messages]))

    def _stepped(self, field: str, step: Step) -> Any:
        try:
            value = taken(self.get(field), step)
        except TypeError as error:
            raise TypeError(f"the session's field {field[:40]!r}: {error}") from None
        self._steps.setdefault(field, []).append(step._replace(value=self._encode(step.value)))
        return value

    def _changes(self) -> tuple[dict[str, JSON], list[str]]:
        """Return the fields that are new or another than they were, and the names of those that are gone."""
        if not self.accessed:
            return {}, []
        kept, hidden = self._kept, self._hidden
        if not hidden and holds_the_same(self, kept):
            return {}, []
        changes = changed_of(dict.items(self), kept, self._encode)
        if hidden:
            changes |= changed_of(hidden.items(), kept, as_it_is)
        return changes, [field for field in kept if not (dict.__contains__(self, field) or field in hidden)]

    def _holds_steps(self, field: str, changes: Mapping[str, JSON]) -> bool:
        """Whether a field is what its steps made of what was read: nothing else was put in since."""
        if field not in changes:
            return field == FLASH and FLASH not in self._hidden  # all messages that were read are shown
        kept = self._kept.get(field)
        base = read_compact(kept) if isinstance(kept, Text) else kept
        return text_of(retaken(base, self._steps[field], None)) == text_of(changes[field])
