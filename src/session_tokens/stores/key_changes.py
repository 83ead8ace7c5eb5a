"""Changing a key of a store: add a new one, promote it, retire the old one; each is a change of the key file.

Theory of operation. Processes are started anew one by one, so for a while some have a key file as it was and some as
it is. Nothing may be written under a key that some process lacks: so a new one is first added everywhere behind the
current one, and only then promoted, at the least a minute after a store has recorded it. When the old one is retired,
everything is written anew under the current one, batch by batch; broken off, it is begun again, and nothing is lost
meanwhile. What is looked up under an old pepper moves when its secret is used, or ends, and nobody but the holder of
the secret can do that: so long the old pepper stays.

A change reads the key file and writes it anew, so one at a time does: another one that comes between would be taken
back, or take back this one, and with it a key that records are under by then.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..contract.queries import Get
from ..contract.store import BlockingStore
from ..contract.transaction import Transaction, reads
from ..crypto.key_file import Keys, key_path_of, keyring_of, read_key_file, replace_key_file
from ..crypto.minting import PEPPER_BYTES_MIN, checked_peppers
from ..crypto.sealing import DATA_PREFIX, Sealer
from ..errors import Conflict, InvalidInput
from ..records import Session, Token
from ..settings import GRACE_MS_MAX
from ..tables.strings import SETTING, sealed_anew
from .common.copying import ACCESS, SPACES, batches
from .common.kinds import KINDS
from .common.pepper_records import kept_peppers
from .common.record_codec import Setting
from .common.store_url import store_url_of
from .connect import closing_now, insist_it_is_there, is_there, open_anyway_now

KEYS_MAX: Final = 16
PROMOTED_AFTER_MS: Final = 60_000
"""How long a key must have been recorded before it is promoted."""


class KindOfKey(NamedTuple):
    """A kind of key that can be changed.

    Attributes:
        name: as people read it.
        prefix: what stands before its id where a store records it.
        held: those of a key file, the current one first, also where they are derived.
        with_others: the keys of a file with others of this kind; all other keys stay, also where they were derived.
    """

    name: str
    prefix: str
    held: Callable[[Keys], Mapping[str, bytes]]
    with_others: Callable[[Keys, Mapping[str, bytes]], Keys]


def _with_peppers(keys: Keys, peppers: Mapping[str, bytes]) -> Keys:
    keyring = keyring_of(keys)
    return Keys(peppers, keys.source, keyring.data_keys, keyring.index_keys)


def _with_data_keys(keys: Keys, data_keys: Mapping[str, bytes]) -> Keys:
    keyring = keyring_of(keys)
    return Keys(keyring.peppers, keys.source, data_keys, keyring.index_keys)


PEPPER: Final = KindOfKey("pepper", "", lambda keys: keys.peppers, _with_peppers)
DATA_KEY: Final = KindOfKey("data key", DATA_PREFIX, lambda keys: keyring_of(keys).data_keys, _with_data_keys)

NeededBy = Callable[[str, str], Collection[str]]
"""``needed_by(name, text)``: the ids of the data keys that a setting cannot do without; ``rules.data_keys`` has it."""
Progress = Callable[[int, int], None]


def add_key(url: str, kind: KindOfKey) -> str:
    """Make a new key and put it behind the current one, into the key file and the store's records; return its id.

    Raises:
        InvalidInput: keys do not come from a file, or the file holds too many, or the store has none of that kind.
        Conflict: another command changes the keys.
    """
    with _changing(url) as (path, keys):
        held = kind.held(keys)
        if len(held) >= KEYS_MAX:
            raise InvalidInput(f"{keys.source} holds {len(held)} {kind.name}s; retire old ones first")
        with _recording(url, kind):  # what is there opens the store
            pass
        key = secrets.token_bytes(PEPPER_BYTES_MIN)
        (key_id,) = checked_peppers(key)
        (current, former), *others = held.items()
        replace_key_file(path, kind.with_others(keys, {current: former, key_id: key, **dict(others)}))
        with _recording(url, kind):
            return key_id


def promote_key(url: str, kind: KindOfKey, key_id: str | None) -> str:
    """Make a key that was added the current one, in the key file; return its id.

    Args:
        url: of the store.
        kind: of the key.
        key_id: which; ``None`` where only one was added and never promoted.

    Raises:
        InvalidInput: the file does not hold it, or several might be meant.
        Conflict: it is the current one, or the store has known it for less than a minute, or another command changes
            the keys.
    """
    with _changing(url) as (path, keys):
        return _promoted(url, path, keys, kind, key_id)


def _promoted(url: str, path: Path, keys: Keys, kind: KindOfKey, key_id: str | None) -> str:
    held = kind.held(keys)
    with _recording(url, kind) as store:
        marks, now = kept_peppers(store).pepper_marks(), store.read_now([]).now
    added = [id for id in held if kind.prefix + id in marks and not marks[kind.prefix + id].is_used]
    if key_id is None:
        if len(held) == 1:
            command = "pepper" if kind is PEPPER else "sealed"
            raise InvalidInput(f"there is one {kind.name} only; session-tokens {command} add makes another one first")
        if len(added) != 1:
            raise InvalidInput(f"name the {kind.name} to promote; {keys.source} holds {', '.join(held)}")
        (key_id,) = added
    _insist_it_is_held(keys, kind, key_id)
    if key_id == next(iter(held)):
        raise Conflict(f"the {kind.name} {key_id} is the current one already", key_id=key_id)
    left_ms = marks[kind.prefix + key_id].added_at + PROMOTED_AFTER_MS - now
    if left_ms > 0:
        raise Conflict(
            f"the {kind.name} {key_id} was added less than a minute ago: give it to every process as the second one, "
            f"start them anew, and promote it after that, in {left_ms // 1000 + 1} s at the earliest",
            key_id=key_id,
        )
    replace_key_file(path, kind.with_others(keys, {key_id: held[key_id], **held}))
    return key_id


def retire_key(url: str, kind: KindOfKey, key_id: str, progress: Progress, needed_by: NeededBy) -> None:
    """Take a key that nothing needs any more out of the store's records and the key file.

    What is under it is written anew under the current one first.

    Raises:
        InvalidInput: the file does not hold it, or the store has none of that kind.
        Conflict: it is the current one, or something is still under it, or another command changes the keys; nothing
            is lost.
        CorruptRecord, UnknownPepper: a record cannot be read; ``check --fix`` sets it aside.
    """
    with _changing(url) as (path, keys):
        _retire(url, path, keys, kind, key_id, progress, needed_by)


def _retire(
    url: str, path: Path, keys: Keys, kind: KindOfKey, key_id: str, progress: Progress, needed_by: NeededBy
) -> None:
    _insist_it_is_held(keys, kind, key_id)
    if key_id == next(iter(kind.held(keys))):
        raise Conflict(f"the {kind.name} {key_id} is the current one; promote another first", key_id=key_id)
    spaces = [space for space in SPACES if is_there(url, space)]
    with _recording(url, kind):
        pass
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(done, done)

    for space in spaces:
        with closing_now(open_anyway_now(url, space=space)) as store:
            _write_all_anew(store, told)
    needs = dict.fromkeys(KINDS, 0)
    for space in spaces:  # once more: a process that was not started anew may have written meanwhile
        with closing_now(open_anyway_now(url, space=space)) as store:
            for what, count in _still_under(store, kind, key_id, needed_by).items():
                needs[what] += count
    left = [f"{count} of kind {what}" for what, count in needs.items() if count]
    if left:
        raise Conflict(
            f"records are still under the {kind.name} {key_id}: {', '.join(left)}; {_REMEDY[kind.name]}", key_id=key_id
        )
    for space in spaces:
        with closing_now(open_anyway_now(url, space=space)) as store:
            kept_peppers(store).forget_pepper(kind.prefix + key_id)
    held = kind.held(keys)
    replace_key_file(path, kind.with_others(keys, {id: key for id, key in held.items() if id != key_id}))


_REMEDY: Final = {
    PEPPER.name: "each moves when its secret is used or renewed, a service key when it is rotated and the old one "
    "revoked, or ends; and what a rotation with grace left is needed for an hour. Try again then",
    DATA_KEY.name: "settings are webhooks, whose signing keys are derived from it, and entries of the audit log, which "
    "are signed under it: it stays for as long as they do. For all others start every process anew, and try again",
}


@contextmanager
def _changing(url: str) -> Iterator[tuple[Path, Keys]]:
    """Return the key file of a store and what it holds, which nobody else changes meanwhile.

    Raises:
        InvalidInput: a store in memory or one that is not there, or no such file.
        Conflict: another command is at it.
    """
    named = store_url_of(url)
    if named.kind == "memory":
        raise InvalidInput("a store in memory has no key file; name one that outlives its process")
    insist_it_is_there(url)
    database = Path(named.path) if named.kind == "sqlite" else None
    path = key_path_of(database)
    read_key_file(path)  # what is none is refused
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not _is_alone(descriptor, path):
            raise Conflict(f"another command is changing the keys in {path}; run this one when that has ended")
        yield path, read_key_file(path)
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int, path: Path) -> bool:
    """Lock a key file that was opened until it is closed; return whether nobody else has done so, or replaced it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks keeps nobody from changing the keys
        pass
    return os.path.samestat(os.fstat(descriptor), os.stat(path))


@contextmanager
def _recording(url: str, kind: KindOfKey) -> Iterator[BlockingStore]:
    """Open each name space that is there, which records the keys; return the first that has keys of a kind.

    Raises:
        InvalidInput: none has.
    """
    with ExitStack() as opened:
        stores = [
            opened.enter_context(closing_now(open_anyway_now(url, space=space)))
            for space in SPACES
            if is_there(url, space)
        ]
        found = [store for store in stores if kind is PEPPER or store.keyring.sealer is not None]
        if not found:
            raise InvalidInput(
                "this store keeps its values in clear, so it records no data keys; copy it into a sealed one: "
                "session-tokens store copy FROM TO --sealed yes"
            )
        yield found[0]


def _insist_it_is_held(keys: Keys, kind: KindOfKey, key_id: str) -> None:
    held = kind.held(keys)
    if key_id not in held:
        raise InvalidInput(f"{keys.source} does not hold the {kind.name} {key_id}; it holds {', '.join(held)}")


def _write_all_anew(store: BlockingStore, told: Callable[[int], None]) -> None:
    strings = store.read_now([Get("setting", SETTING)]).found[0].value
    sealer = Sealer(store.keyring.data_keys) if strings == "sealed" else None
    for what in KINDS:
        for records in batches(store, what):
            store.run_now(_write_anew, what, tuple(records), sealer)
            told(len(records))


@reads(lambda kind, keys, sealer: [Get(ACCESS[kind].what, key) for key in keys])
def _write_anew(tx: Transaction, kind: str, keys: Sequence[str], sealer: Sealer | None) -> int:
    """Write records as they are, which signs and seals them under the current keys; their strings too, if sealed."""
    for key in keys:
        record = ACCESS[kind].read(tx, key)
        if record is not None:
            anew = record
            if sealer is not None and isinstance(record, Session | Token):
                anew = sealed_anew(sealer, record)
            ACCESS[kind].put(tx, record, anew)
    return len(keys)


def _still_under(store: BlockingStore, kind: KindOfKey, key_id: str, needed_by: NeededBy) -> dict[str, int]:
    """Return how many records of each kind are under a key; values sealed under it count as one."""
    needs = {}
    sealer, now = store.keyring.sealer, store.read_now([]).now
    for what in KINDS:
        if sealer is not None:
            sealer.met.clear()
        count = 0
        for records in batches(store, what):
            if kind is PEPPER:
                count += sum(_is_looked_up_under(key_id, record, now) for record in records.values())
            else:
                count += sum(_needs_data_key(key_id, record, needed_by) for record in records.values())
        if kind is DATA_KEY and sealer is not None and key_id in sealer.met:
            count = max(count, 1)
        needs[what] = count
    return needs


def _is_looked_up_under(key_id: str, record: Any, now: int) -> bool:
    """Whether a record is found, or its secret derived, under a pepper.

    A previous secret of a session needs it for its grace alone: it never moves, and afterwards does no more than end
    the session. So does what the present one was made of, which is asked for by previous ones.
    """
    if isinstance(record, Session) and record.details.rotation is not None:
        rotation = record.details.rotation
        if rotation.of is None:
            if rotation.key_id == key_id and now < rotation.at + GRACE_MS_MAX:
                return True
        elif now >= record.created_at + GRACE_MS_MAX:
            return False
    found_by = (getattr(record, "lookup", None), getattr(record, "id", None))
    return getattr(record, "key_id", None) == key_id or any(
        text is not None and text.startswith(key_id + ":") for text in found_by
    )


def _needs_data_key(key_id: str, record: Any, needed_by: NeededBy) -> bool:
    if isinstance(record, Setting):
        return key_id in needed_by(record.name, record.text)
    name = getattr(record, "name", None)
    return isinstance(record, Session | Token) and name is not None and name.startswith(key_id + ":")
