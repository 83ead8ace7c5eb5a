"""What names an event in shared settings, and where it goes when a store is copied: ids of events are others there."""

from __future__ import annotations

from typing import Protocol

from ..events import event_id
from .events import CURSORS
from .webhooks import STATE, state_of, text_of_state


class Moved(Protocol):
    """Where the events of a log stand in a copy of it."""

    def event(self, id: str) -> str | None:
        """Return the id of an event in the copy; ``None`` for one that the log does not hold any more."""

    def cursor(self, id: str) -> str:
        """Return the id from which who had come to ``id`` goes on; one that tells of a gap where events are gone."""


def setting_moved(name: str, text: str, moved: Moved) -> str:
    """Return the text of a setting in the copy of a store.

    Args:
        name: of the setting; how far followers and webhooks have come is moved, all others stay.
        text: in the store that is copied.
        moved: where events stand.
    """
    if name.startswith(CURSORS):
        return moved.cursor(text)
    if name.startswith(STATE):
        return _state_moved(text, moved)
    return text


def _state_moved(text: str, moved: Moved) -> str:
    """Return how far a webhook has come, with what waits and what was given up.

    Events that the log does not hold any more get ids before all others, in their order.
    """
    state = state_of(text)
    ids = [each.event.id for each in state.waiting] + [each.event.id for each in state.dead]
    gone = sorted({id for id in ids if moved.event(id) is None})
    new = {id: event_id((0, number)) for number, id in enumerate(gone, 1)}
    new |= {id: there for id in ids if (there := moved.event(id)) is not None}
    waiting = [each._replace(event=each.event._replace(id=new[each.event.id])) for each in state.waiting]
    dead = [each._replace(event=each.event._replace(id=new[each.event.id])) for each in state.dead]
    cursor = None if state.cursor is None else moved.cursor(state.cursor)
    return text_of_state(state._replace(cursor=cursor, waiting=waiting, dead=dead))
