"""What a store records of its keys, and which of those that were not given may be forgotten when it is opened.

A store records of each pepper a check value, when it was first given by a process, and when it was first the current
one of a process: from then on records may be under it. One that was only added is in nobody's way: processes that do
not have it yet may open the store. That is what lets a pepper be changed while processes are started anew one by one.

A store whose values are sealed records its data keys in the same way, their ids after ``data:``. Whether it is sealed
is decided when it is made, and recorded before its first key: so of two first processes that want different things,
the one that comes second is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Protocol, cast

from ...crypto.minting import is_pepper_id
from ...crypto.sealing import DATA_PREFIX, named_key
from ...errors import InvalidInput, StoreError

VALUES: Final = "values:"
"""Under this name stands, beside the keys, how the store keeps values; no key has such an id."""
SEALED, CLEAR = "sealed", "clear"


def is_recorded_as_sealed(recorded: Mapping[str, str], store: str) -> bool:
    """Return how a store keeps values.

    Args:
        recorded: what it records of its keys and of that, by their ids.
        store: which one, for people.

    Raises:
        StoreError: it does not say, or says something else than its keys: whoever can write to it took that away.
    """
    how = recorded.get(VALUES)
    has_data_keys = any(key_id.startswith(DATA_PREFIX) for key_id in recorded)
    if how not in (SEALED, CLEAR) or (has_data_keys and how == CLEAR):
        raise StoreError(
            f"{store} does not say whether it keeps its values sealed, as each does from its first opening on: "
            f"somebody changed what stands beside its keys under {VALUES!r}. Restore that, or the store, from a backup"
        )
    return how == SEALED


def keys_lost(store: str) -> StoreError:
    """Return the error for a store that holds records and says of no key that it has any."""
    return StoreError(
        f"{store} holds records, and nothing is left of what each store records beside them of its keys from its first "
        "opening on: somebody took that away. Restore that, or the store, from a backup"
    )


class Mark(NamedTuple):
    """What a store records of a pepper.

    Attributes:
        added_at: when a process first had it, in milliseconds.
        is_used: whether a process ever had it as its current one.
    """

    added_at: int
    is_used: bool


class KeepsPeppers(Protocol):
    """A store that outlives the process, and so records its peppers."""

    def pepper_marks(self) -> Mapping[str, Mark]:
        """Return what is recorded of each pepper, by its key id."""
        ...

    def forget_pepper(self, key_id: str) -> None:
        """Record of a pepper nothing any more."""
        ...


def kept_peppers(store: object) -> KeepsPeppers:
    """Return a store as one that records its peppers, which all do but that in memory."""
    return cast("KeepsPeppers", store)


class NotGiven(NamedTuple):
    """The recorded keys that were not given.

    Attributes:
        needed: without them the store is not opened, whatever records there are.
        asked: to be forgotten if no record needs them.
    """

    needed: list[str]
    asked: list[str]


def not_given(used_at: Mapping[str, int | None], held: Collection[str], current: str) -> NotGiven:
    """Sort the recorded keys that were not given.

    A data key is needed until it is retired. A pepper that came into use after the current one is needed even if no
    record is under it yet: other processes will write some. So is the only one there is: what is given instead is then
    a wrong one.

    Args:
        used_at: key id → when it was first current, ``None`` for one that was only added.
        held: the key ids that are given.
        current: the first pepper of them.
    """
    all_in_use = {key_id: at for key_id, at in used_at.items() if at is not None}
    missing_data = [key_id for key_id in all_in_use if not is_pepper_id(key_id) and key_id not in held]
    if missing_data:
        return NotGiven(missing_data, [])
    in_use = {key_id: at for key_id, at in all_in_use.items() if is_pepper_id(key_id)}
    missing = [key_id for key_id in in_use if key_id not in held]
    since = in_use.get(current)
    if missing and len(missing) == len(in_use):
        return NotGiven(missing, [])
    needed = [key_id for key_id in missing if since is not None and in_use[key_id] > since]
    return NotGiven(needed, [key_id for key_id in missing if key_id not in needed])


def missing_error(store: str, key_ids: list[str], source: str) -> InvalidInput:
    """Return the error for opening a store without keys that it needs.

    Args:
        store: which one.
        key_ids: of the keys, all of one kind.
        source: where the keys that were given come from.
    """
    others = "".join(f", {key_id.rpartition(':')[2]}" for key_id in key_ids[1:])
    verb = "pepper" if is_pepper_id(key_ids[0]) else "sealed"
    return InvalidInput(
        f"{store} has records under the {named_key(key_ids[0])}{others}, which is not among the keys of {source}; give "
        f"it after the current one until session-tokens {verb} retire takes it away. A new one opens nothing stored",
        key_id=key_ids[0],
        key_ids=key_ids,
    )
