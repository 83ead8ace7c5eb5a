"""Changing the pepper of a store: add a new one, promote it, retire the old one; each is a change of the key file.

Theory of operation. Processes are started anew one by one, so for a while some have a key file as it was and some as
it is. Nothing may be written under a pepper that some process lacks: so a new one is first added everywhere behind the
current one, and only then promoted, at the least a minute after a store has recorded it. What is signed under the old
pepper is signed anew when that is retired; what is looked up under it moves when its secret is used, or ends, and
nobody but the holder of the secret can do that: so long the old pepper stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..crypto.key_file import Keys, key_path_of, keyring_of, read_key_file, replace_key_file
from ..crypto.minting import PEPPER_BYTES_MIN, checked_peppers
from ..errors import Conflict, InvalidInput
from .common.copying import ACCESS, SPACES, batches
from .common.kinds import KINDS
from .common.pepper_records import kept_peppers
from .common.store_url import store_url_of
from .connect import closing_now, insist_it_is_there, is_there, open_anyway_now

PEPPERS_MAX: Final = 16
PROMOTED_AFTER_MS: Final = 60_000
"""How long a pepper must have been recorded before it is promoted."""

Progress = Callable[[int, int], None]


def add_pepper(url: str) -> str:
    """Make a new pepper and put it behind the current one, into the key file and the store's records; return its id.

    Raises:
        InvalidInput: the pepper does not come from a file, or the file holds too many.
    """
    path, keys = _keys_of(url)
    if len(keys.peppers) >= PEPPERS_MAX:
        raise InvalidInput(f"{keys.source} holds {len(keys.peppers)} peppers; retire old ones first")
    with closing_now(open_anyway_now(url)):
        pass  # what is there opens the store
    pepper = secrets.token_bytes(PEPPER_BYTES_MIN)
    (key_id,) = checked_peppers(pepper)
    (current, former), *others = keys.peppers.items()
    _replace(path, keys, {current: former, key_id: pepper, **dict(others)})
    with closing_now(open_anyway_now(url)):
        return key_id


def promote_pepper(url: str, key_id: str | None) -> str:
    """Make a pepper that was added the current one, in the key file; return its id.

    Args:
        url: of the store.
        key_id: which; ``None`` where only one was added and never promoted.

    Raises:
        InvalidInput: the file does not hold it, or several might be meant.
        Conflict: it is the current one, or the store has known it for less than a minute.
    """
    path, keys = _keys_of(url)
    with closing_now(open_anyway_now(url)) as store:
        marks, now = kept_peppers(store).pepper_marks(), store.read_now([]).now
    added = [id for id in keys.peppers if id in marks and not marks[id].is_used]
    if key_id is None:
        if len(added) != 1:
            raise InvalidInput(f"name the pepper to promote; {keys.source} holds {', '.join(keys.peppers)}")
        (key_id,) = added
    _insist_it_is_held(keys, key_id)
    if key_id == next(iter(keys.peppers)):
        raise Conflict(f"the pepper {key_id} is the current one already", key_id=key_id)
    left_ms = marks[key_id].added_at + PROMOTED_AFTER_MS - now
    if left_ms > 0:
        raise Conflict(
            f"the pepper {key_id} was added less than a minute ago: give it to every process as the second one, start "
            f"them anew, and promote it after that, in {left_ms // 1000 + 1} s at the earliest",
            key_id=key_id,
        )
    _replace(path, keys, {key_id: keys.peppers[key_id], **keys.peppers})
    return key_id


def retire_pepper(url: str, key_id: str, progress: Progress) -> None:
    """Take a pepper that nothing needs any more out of the store's records and the key file.

    What is signed under it is signed under the current one first.

    Raises:
        InvalidInput: the file does not hold it.
        Conflict: it is the current one, or records are still looked up under it; nothing is lost.
        CorruptRecord, UnknownPepper: a record cannot be read; ``check --fix`` sets it aside.
    """
    path, keys = _keys_of(url)
    _insist_it_is_held(keys, key_id)
    if key_id == next(iter(keys.peppers)):
        raise Conflict(f"the pepper {key_id} is the current one; promote another first", key_id=key_id)
    needs = dict.fromkeys(KINDS, 0)
    done, spaces = 0, [space for space in SPACES if is_there(url, space)]
    for space in spaces:
        with closing_now(open_anyway_now(url, space=space)) as store:
            for kind in KINDS:
                for records in batches(store, kind):
                    store.run_now(_sign_anew, kind, tuple(records))
                    needs[kind] += sum(_is_under(key_id, record) for record in records.values())
                    done += len(records)
                    progress(done, done)
    left = [f"{count} of kind {kind}" for kind, count in needs.items() if count]
    if left:
        raise Conflict(
            f"records are still under the pepper {key_id}: {', '.join(left)}; each moves when its secret is used or "
            "renewed, a service key when it is rotated and the old one revoked, or ends. Try again then",
            key_id=key_id,
        )
    for space in spaces:
        with closing_now(open_anyway_now(url, space=space)) as store:
            kept_peppers(store).forget_pepper(key_id)
    _replace(path, keys, {id: pepper for id, pepper in keys.peppers.items() if id != key_id})


def _keys_of(url: str) -> tuple[Path, Keys]:
    named = store_url_of(url)
    if named.kind == "memory":
        raise InvalidInput("a store in memory has no pepper; name one that outlives its process")
    insist_it_is_there(url)
    database = Path(named.path) if named.kind == "sqlite" else None
    path = key_path_of(database)
    return path, read_key_file(path)


def _replace(path: Path, keys: Keys, peppers: Mapping[str, bytes]) -> None:
    """Write other peppers into a key file; the other keys stay, also where they were derived from the peppers."""
    keyring = keyring_of(keys)
    replace_key_file(path, Keys(peppers, keys.source, keyring.data_keys, keyring.index_keys))


def _insist_it_is_held(keys: Keys, key_id: str) -> None:
    if key_id not in keys.peppers:
        raise InvalidInput(f"{keys.source} does not hold the pepper {key_id}; it holds {', '.join(keys.peppers)}")


@reads(lambda kind, keys: [Get(ACCESS[kind].what, key) for key in keys])
def _sign_anew(tx: Transaction, kind: str, keys: Sequence[str]) -> int:
    """Write records as they are, which signs them under the current pepper."""
    for key in keys:
        record = ACCESS[kind].read(tx, key)
        if record is not None:
            ACCESS[kind].put(tx, record, record)
    return len(keys)


def _is_under(key_id: str, record: Any) -> bool:
    """Whether a record is found, or its secret derived, under a pepper."""
    found_by = (getattr(record, "lookup", None), getattr(record, "id", None))
    return getattr(record, "key_id", None) == key_id or any(
        text is not None and text.startswith(key_id + ":") for text in found_by
    )
