"""Service keys: how programs prove to the HTTP service who they are, and what they may do.

A key has a public id (``key_…``) and a secret (``stk_…``) that is shown once and kept nowhere: the store holds what its
keyring makes of it. Keys are asked for in the store at each request, so a revoked key is refused at once, in every
process. Rotating makes a second key of the same role and lets the first live a little longer, so that a program can
change over without a gap.

When a key was last used is kept as a setting and not in its record, as no rule depends on it: written down at most once
a minute, in the background, so that asking costs no write.

Nothing here needs the ``[service]`` extra: the command line manages keys after a bare install.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import validation as inputs
from .._async.core import run_audited
from ..audit.log import Audit
from ..contract.queries import Get, Query, Scan, Snapshot
from ..contract.store import Store
from ..contract.transaction import Rule
from ..crypto.minting import Keyring, new_id, new_secret, secret_of
from ..crypto.secret_form import KEY_ID, KEY_SECRET, is_id, is_secret
from ..errors import UNREADABLE, AlreadyExists, Conflict, CorruptRecord, InvalidInput, StoreError, UnknownKey
from ..records import ServiceKey
from ..rules.idempotency import Ticket, once
from ..rules.service_keys import (
    USED,
    USED_EVERY_MS,
    create_first_service_key,
    create_service_key,
    note_use,
    remove_service_key,
    rotate_service_key,
)
from ..settings import LABEL_BYTES_MAX, Duration, duration_ms
from .bounds import bounds_given
from .roles import role_of

log = logging.getLogger("session_tokens.service")

LIFETIME_S = 90 * 86_400
"""How long a key lives if nothing else is asked for: 90 days."""
OVERLAP_S = 86_400
"""How long a rotated key goes on living beside the new one: a day."""
REMEMBERED_MAX = 1_000
"""Keys whose last use is remembered to be written; more are written down a little more often."""


T = TypeVar("T")


class IssuedKey:
    """A service key together with its secret, given out this once; its ``repr`` hides the secret."""

    __slots__ = ("key", "secret")

    def __init__(self, key: ServiceKey, secret: str) -> None:
        self.key = key
        self.secret = secret

    def __repr__(self) -> str:
        return f"IssuedKey(id={self.key.id!r}, role={self.key.role!r}, secret=<hidden>)"


async def create_key(
    store: Store,
    role: str,
    *,
    label: str | None = None,
    networks: Sequence[str] | None = None,
    owner_prefix: str | None = None,
    namespace: str | None = None,
    audience: str | None = None,
    max_age: Duration | None = None,
    rate: int | None = None,
    owner_creations: int | None = None,
    lifetime: Duration | None = LIFETIME_S,
    idempotency_key: str | None = None,
    audit: Audit | None = None,
) -> IssuedKey:
    """Make a service key and return it with its secret.

    Args:
        store: where it is kept.
        role: one of ``roles.ROLES``.
        label: a name for people.
        networks: those that it may be used from, at most 16, such as ``10.0.0.0/8``; everywhere if none are given.
        owner_prefix: how the owners begin for whom it acts and sees; all if not given.
        namespace: what it makes belongs to it, and it sees nothing else; everything if not given.
        audience: it sees only tokens that were issued for this audience, and no session; for the role ``verify``.
        max_age: the longest life that it may give a session or token, seconds or ``timedelta``; any if not given.
        rate: how many requests a second each process takes from it; any if not given.
        owner_creations: how many sessions and tokens it may make for one owner a minute; any if not given.
        lifetime: seconds or ``timedelta`` until it ends, ``None`` for never; 90 days if not given.
        idempotency_key: the same call again within 24 hours answers the same key and secret.
        audit: the audit log that is kept on the store, if one is.

    Raises:
        InvalidInput: a role, label, bound or lifetime that can never be right.
        IdempotencyMismatch: the idempotency key was used with another request.
    """
    bounds = bounds_given(
        role_of(role),
        networks=networks,
        owner_prefix=owner_prefix,
        namespace=namespace,
        audience=audience,
        max_age=max_age,
        rate=rate,
        owner_creations=owner_creations,
    )
    label = inputs.optional_text("label", label, bytes_max=LABEL_BYTES_MAX)
    lifetime_ms = duration_ms("lifetime", lifetime)
    return await _issue(
        store, audit, "create_key", idempotency_key, (role, label, lifetime_ms, bounds), create_service_key,
        lambda id, lookup: (ServiceKey(id, lookup, role, 0, None, label, *bounds), lifetime_ms),
    )  # fmt: skip


async def list_keys(store: Store) -> list[ServiceKey]:
    """Return all service keys, expired ones too, oldest first."""
    _, found = await store.read([Scan("keys")])
    return list(found[0].value)


async def get_key(store: Store, id: str) -> ServiceKey | None:
    """Return the service key of an id, expired ones too; ``None`` for every other string."""
    if not is_id(KEY_ID, id):
        return None
    _, found = await store.read([Get("key", id)])
    key: ServiceKey | None = found[0].value
    return key


async def revoke_key(store: Store, id: str, *, audit: Audit | None = None) -> bool:
    """End a service key at once, with an entry in the audit log if one is kept; return whether there was one."""
    return is_id(KEY_ID, id) and await _run(store, audit, remove_service_key, id)


async def rotate_key(
    store: Store,
    id: str,
    *,
    overlap: Duration = OVERLAP_S,
    lifetime: Duration | None = LIFETIME_S,
    idempotency_key: str | None = None,
    audit: Audit | None = None,
) -> IssuedKey:
    """Make a new key of the same role, label and bounds; the old one lives on for ``overlap`` at the most.

    Args:
        store: where it is kept.
        id: of the key to rotate.
        overlap: seconds or ``timedelta`` for which both live.
        lifetime: of the new key.
        idempotency_key: the same call again within 24 hours answers the same key and secret.
        audit: the audit log that is kept on the store, if one is.

    Raises:
        UnknownKey: there is no living key of that id.
        InvalidInput: a duration that can never be right.
    """
    overlap_ms = duration_ms("overlap", overlap)
    if overlap_ms is None:
        raise InvalidInput("overlap is a duration; a key that should live on need not be rotated")
    if not is_id(KEY_ID, id):
        raise UnknownKey("no service key has that id; list the keys to see those there are")
    request = (id, overlap_ms, duration_ms("lifetime", lifetime))
    return await _issue(
        store, audit, "rotate_key", idempotency_key, request, rotate_service_key,
        lambda new_id, lookup: (new_id, lookup, *request),
    )  # fmt: skip


async def authenticate(store: Store, secret: str, id: str | None = None) -> ServiceKey | None:
    """Return the living service key of a secret, ``None`` for every other string.

    Args:
        store: where keys are kept.
        secret: of the key; what is not well-formed is refused without asking the store.
        id: the key's id, where the caller gave one: it must belong to the secret.
    """
    if not is_secret(KEY_SECRET, secret):
        return None
    return await living_key(store, store.keyring.lookups(secret), id)


async def living_key(store: Store, lookups: Sequence[str], id: str | None = None) -> ServiceKey | None:
    """Return the living service key that is looked up so, asking the store; see ``authenticate``."""
    return (await living_key_with(store, lookups, id, ()))[0]


async def living_key_with(
    store: Store, lookups: Sequence[str], id: str | None, queries: Sequence[Query]
) -> tuple[ServiceKey | None, Snapshot | None]:
    """As ``living_key``, with what other queries found in the same read; ``None`` if one of them is unreadable."""
    query = Get("key_lookup", lookups[0], tuple(lookups[1:]))
    snapshot: Snapshot | None
    try:
        snapshot = answer = await store.look([query, *queries])
    except UNREADABLE:
        if not queries:
            raise
        snapshot, answer = None, await store.look([query])
    key: ServiceKey | None = answer.found[0].value
    if key is None or not key.alive(answer.now) or (id is not None and id != key.id):
        return None, None
    return key, None if snapshot is None or not queries else Snapshot(snapshot.now, snapshot.found[1:])


async def ensure_admin_key(store: Store, *, audit: Audit | None = None) -> IssuedKey | None:
    """Make a first admin key in a store that has no service key at all; ``None`` where there is one.

    Of several processes that do so at once one makes a key.
    """
    if await list_keys(store):
        return None
    lifetime_ms = duration_ms("lifetime", LIFETIME_S)
    try:
        return await _issue(
            store, audit, "create_key", None, (), create_first_service_key,
            lambda id, lookup: (ServiceKey(id, lookup, "admin", 0, None, "first key"), lifetime_ms),
        )  # fmt: skip
    except AlreadyExists:
        return None


async def last_used(store: Store, keys: Sequence[ServiceKey]) -> dict[str, int]:
    """Return when each key was used last, in milliseconds and up to a minute early; without those that never were."""
    _, found = await store.read([Get("setting", USED + key.id) for key in keys])
    return {key.id: int(one.value) for key, one in zip(keys, found, strict=True) if one.value is not None}


class Uses:
    """Notes the uses of keys in the background, at most once a minute for each key.

    Args:
        store: where keys are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._again_at_s: dict[str, float] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def saw(self, id: str) -> None:
        """Take note that a key was used; returns at once."""
        now_s = time.monotonic()
        if now_s < self._again_at_s.get(id, 0.0):
            return
        if len(self._again_at_s) >= REMEMBERED_MAX:
            self._again_at_s.clear()
        self._again_at_s[id] = now_s + USED_EVERY_MS / 1000
        task = asyncio.get_running_loop().create_task(self._write(id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _write(self, id: str) -> None:
        try:
            await self._store.run(note_use, id)
        except StoreError as error:
            log.debug("the last use of a key was not written down: %s", error)

    def forget(self) -> None:
        """Write each key's next use down, however short ago the last was."""
        self._again_at_s.clear()


async def _run(store: Store, audit: Audit | None, rule: Rule[T], *args: object) -> T:
    """Run a rule on the store, with an entry in the audit log for each state change where one is kept."""
    if audit is None:
        return await store.run(rule, *args)
    return await run_audited(store, audit, rule, *args)


async def _issue(
    store: Store,
    audit: Audit | None,
    command: str,
    idempotency_key: str | None,
    request: tuple[object, ...],
    rule: Rule[bool],
    args_with: Callable[[str, str], tuple[object, ...]],
) -> IssuedKey:
    """Mint a secret and run the rule that keeps its key; a repeated request gets the first one's secret again."""
    keyring, place = store.keyring, store.partitioning.of_owner(idempotency_key)
    id = new_id(KEY_ID, place)
    if idempotency_key is None:
        secret = new_secret(KEY_SECRET, place)
        await _run(store, audit, rule, *args_with(id, keyring.lookup(secret)))
    else:
        name = inputs.idempotency_key_of(idempotency_key)
        digest = inputs.digest_of(command, *map(repr, request))
        ticket = Ticket(inputs.digest_of(command, name), digest, os.urandom(16).hex(), keyring.current)
        secret = _derived(keyring, command, name, ticket.nonce, ticket.key_id, place)
        record = await _run(store, audit, once, ticket, rule, args_with(id, keyring.lookup(secret)))
        secret = _derived(keyring, command, name, record.nonce, record.key_id, place)
    key = await authenticate(store, secret)
    if key is None:
        raise Conflict("that key was made and has ended since; use a new idempotency key")
    return IssuedKey(key, secret)


def _derived(keyring: Keyring, command: str, idempotency_key: str, nonce: str, key_id: str, place: str) -> str:
    try:
        number = keyring.derive(key_id, ascii((command, idempotency_key, nonce)).encode("ascii"))
    except KeyError:
        raise CorruptRecord(f"the outcome was kept under the pepper {key_id}; give it to open()") from None
    return secret_of(KEY_SECRET, number, place)
