"""What names an event in shared settings, and where it goes when a store is copied: ids of events are others there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..events import event_id
from .audit import CHAINS, HEAD_SETTING, head_name, head_of, place_of_entry
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


ENDS = tuple(map(head_name, range(CHAINS)))
"""The settings that say where the chains of an audit log end."""


def within_ends(name: str, ends: Mapping[str, str]) -> bool:
    """Whether a setting belongs into a backup in which the chains of the audit log end so; the ends themselves do not.

    Args:
        name: of the setting.
        ends: name of the end → text, of the chains that had entries when the backup began.
    """
    if name.startswith(HEAD_SETTING):
        return False
    place = place_of_entry(name)
    if place is None:
        return True
    chain, number = place
    return number <= head_of(ends.get(head_name(chain)), chain).number
