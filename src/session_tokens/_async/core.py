"""What all commands for asyncio share: opening, closing, sweeping, naming by key, minting, idempotency."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Self, TypeVar

from .. import validation as inputs
from ..audit.log import Audit, acting, alerts
from ..clock import Clock
from ..contract.drive import drive
from ..contract.event_log import TRIMMED_AT_ONCE
from ..contract.near_cache import bound_of
from ..contract.partitioning import ONE_PLACE, named_by_lookup
from ..contract.queries import Get, Scan
from ..contract.readings import Readings
from ..contract.store import Store
from ..contract.transaction import Rule
from ..crypto.minting import Pepper, new_secret, secret_of
from ..crypto.secret_form import (
    SESSION_ID,
    SESSION_SECRET,
    TOKEN_ID,
    TOKEN_SECRET,
    is_id,
    is_secret,
    is_session_secret,
)
from ..errors import (
    UNREADABLE,
    CorruptRecord,
    InvalidInput,
    StoreError,
    StoreUnavailable,
    UnknownSession,
    UnknownToken,
)
from ..events import Listener
from ..records import Issued, Page, Session, Token
from ..rules import events as event_rules
from ..rules.audit import Audited, audited, begin_audit, head_queries, heads_in
from ..rules.idempotency import Ticket, earlier_outcome, once
from ..rules.listing import stretch, what_follows
from ..rules.lookup import Key, Stolen
from ..rules.rotation import end_stolen_session
from ..settings import DEFAULTS, FROM_DB, RECORDS_LIMIT_MAX, UNSET, Duration, Policy, Settings
from ..stored_settings import STORED, settings_in, settings_kept
from ..sweeper import PassedOver, TaskSweeper
from ..touching import Touches
from .sweeping import swept

T = TypeVar("T")
R = TypeVar("R", Session, Token)

CHUNK = 200
"""How many candidates of a listing are read at once, at the least."""
LOOKED_AT_MAX = 1_000
"""How many candidates one page of a listing is made of at the most; then it says that there may be more."""


class AsyncCore:
    """The parts that session and token commands are built on.

    Attributes:
        settings: the general defaults as they hold now: what was given, else what the environment says, else what the
            store keeps, else the defaults. It is another object after each change that was read.
        events_held_back_ms: for how long the oldest event that cannot be shown yet had been waiting when the log was
            last read.
    """

    _own_owners: ClassVar[str] = ""
    """The reserved beginning of the owners for whom this class, and no other, opens sessions."""
    _secret_kind: ClassVar[str] = SESSION_SECRET
    """How the secrets begin of the sessions that this class opens."""

    def __init__(self, store: Store, settings: Settings | None = None, *, audit: Audit | None = None) -> None:
        if isinstance(store, str):
            raise TypeError("a URL is opened by open(url); what is made without it stands on a store that is open")
        self.store = store
        self._argued = settings or Settings()
        self._environed = settings_in(os.environ)
        self._stale_at_s = 0.0
        self._readings = Readings()
        self._policy = Policy(self._argued)
        self._take(Settings())
        self._keyring = store.keyring
        self._events_tended_at_s: float | None = None
        self._tell_late_again_s = 0.0
        self.events_held_back_ms = 0
        self._sweeper: TaskSweeper | None = None
        self._passed_over = PassedOver()
        self._closed = False
        self._audit = audit
        self._touches = Touches()
        self._passed_by: dict[tuple[Key, str | None], tuple[tuple[int, str], float]] = {}

    @classmethod
    async def open(
        cls,
        url: str = "memory://",
        *,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
        clock: Clock | None = None,
        sealed: bool | None = None,
        sweep: bool = True,
        audit: Audit | None = None,
        near_cache: Duration | None = None,
    ) -> Self:
        """Open a store and return the API on it.

        Args:
            url: ``memory://``, ``sqlite:///path``, ``valkey://host:port/db``, ``redis://…``, ``postgresql://…`` or
                ``mysql://…``.
            settings: the general defaults; what is not given is read from the environment and the store.
            pepper: at least 32 bytes, or key id → bytes with the current one first; see ``docs/secrets.md``.
            clock: the time of an embedded store; servers keep their own.
            sealed: whether a new store seals values, and one that is there must (``docs/secrets.md``); if not given,
                as ``SESSION_TOKENS_SEALED`` in the environment says, else as the store was made, a new one in clear.
            sweep: whether a background sweeper runs; without it, call ``sweep()`` yourself.
            audit: keeps an audit log on the store: an entry for each state change, in the same commit.
            near_cache: seconds that the answer of a verification may be older than a change made elsewhere; then most
                are answered without the store. 0: every one asks it. If not given, as ``SESSION_TOKENS_NEAR_CACHE`` in
                the environment says, else 0. See ``docs/how-to/near-cache.md``.

        Raises:
            TypeError: an argument of another type; nothing was made then.
            InvalidInput: a URL or pepper that can never be right.
            StoreUnavailable: the store cannot be reached.
            StoreError: it is of a newer version, or its pepper is missing or wrong.
        """
        _check_parts(settings, clock, sealed, sweep, audit)
        bound_s = bound_of(near_cache, os.environ)
        store = await _open_store(url, pepper, clock, sealed)
        try:
            if bound_s:
                store.begin_near_cache(bound_s)
            tokens = cls(store, settings, audit=audit)
            await tokens.record_events()
            await tokens.refresh_settings()
            if sweep:
                tokens._sweeper = TaskSweeper(tokens, cls._sweep, tokens._policy.sweep_interval_ms / 1000)
        except BaseException:
            await store.close()
            raise
        return tokens

    async def close(self) -> None:
        """Stop the sweeper and let go of the store; calling it again does nothing, or what was cancelled before."""
        if self._closed:
            return
        if self._sweeper is not None:
            await self._sweeper.stop()
        if self._audit is not None and self._audit.pending:
            await anchor_heads(self.store, self._audit)
        await self.store.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def audit(self) -> Audit | None:
        """The audit log that is kept by this object, if one is."""
        return self._audit

    @property
    def touches(self) -> Touches:
        """How uses of sessions that cannot be written down are met, and how many there were: ``touches.failed``."""
        return self._touches

    def subscribe(self, callback: Listener) -> Callable[[], None]:
        """Call ``callback(event)`` after each state change committed through this object; the answer ends it.

        It is called on the thread or loop of the caller (SQLite: of the writer) and should be quick. Delivery ends
        with the process; it is a notification, not a queue.

        Raises:
            TypeError: it cannot be called, or what it answers would have to be awaited.
        """
        if not callable(callback) or iscoroutinefunction(callback):
            raise TypeError("callback is a plain function of one event; a task that awaits takes follow_events()")
        return self.store.listeners.add(callback)

    async def sweep(self, limit: int = 1000) -> int:
        """Clean up behind deadlines, at most ``limit`` records; return how many were cleaned.

        Nothing depends on it but space and the events of expiries: what is over is dead before it is swept. A record
        that cannot be read is passed over, logged once, and tried again after ``PASSED_OVER_S``.

        Raises:
            StoreUnavailable: the store cannot be asked; on a cluster: a part of it, and the others were swept.
        """
        return await self._sweep(inputs.limit_of(limit, RECORDS_LIMIT_MAX), in_turn=False)

    async def _sweep(self, limit: int, *, in_turn: bool = True) -> int:
        """Sweep as the one in the background does, or at once whoever else is at it."""
        await self._know_settings()
        done = await swept(self.store, self._run, self._policy, self._passed_over, limit, in_turn=in_turn)
        await self._tend_events()
        if self._audit is not None and self._audit.is_due(side_by_side=self.store.side_by_side, idle=True):
            await anchor_heads(self.store, self._audit)
        return done.all()

    async def record_events(self) -> None:
        """Record with the store whether it keeps events, if the settings say; ``open`` does it.

        Raises:
            InvalidInput: the store cannot.
        """
        wanted = self._argued.events
        if wanted is UNSET:
            return
        self._insist_it_keeps_events()
        with self._readings.changing("events"):
            if wanted == "durable":
                self.store.listeners.keep(True)  # before the change, which may itself be an event
            await self._run(event_rules.switch_events, wanted)
            self.store.listeners.keep(wanted == "durable")

    def _insist_it_keeps_events(self) -> None:
        if not self.store.keeps_events:
            raise InvalidInput("this store cannot keep events; leave Settings(events=) out")

    async def _tend_events(self) -> None:
        """Take away, now and then, the events beyond ``Settings.events_kept``."""
        now_s = time.monotonic()
        if self._events_tended_at_s is not None and now_s - self._events_tended_at_s < self._refresh_s:
            return
        self._events_tended_at_s = now_s
        while self.store.listeners.kept:
            if await self.store.trim_events(self._policy.events_kept) < TRIMMED_AT_ONCE:
                break

    @property
    def data_bytes_max(self) -> int:
        """What one session's data may be as JSON text, as the general settings say now."""
        return self._policy.max_data_bytes

    async def general_timeouts(self) -> tuple[int | None, int | None]:
        """Return the general ``max_age`` of sessions and timeout of tokens as they hold now, in milliseconds."""
        await self._know_settings()
        return self._policy.max_age_ms, self._policy.token_timeout_ms

    async def _know_settings(self) -> None:
        """Read the settings that the store keeps if they were not read lately; who asks first reads for all others.

        Where the partition is away in which they lie, what was read last holds: the others are not to wait for it.
        """
        now_s = time.monotonic()
        if now_s < self._stale_at_s:
            return
        before_s = self._stale_at_s
        if before_s:
            self._stale_at_s = now_s + self._refresh_s
        try:
            await self.refresh_settings()
        except StoreUnavailable:
            if not before_s or self.store.partitioning is ONE_PLACE:
                self._stale_at_s = before_s
                raise
        except BaseException:
            self._stale_at_s = before_s
            raise

    async def refresh_settings(self) -> None:
        """Read the settings that the store keeps now, whatever was read lately; one that is damaged changes nothing.

        It is done at ``open``, and every 30 seconds by itself.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        names, reading = list(STORED), self._readings.begin()
        texts: dict[str, str | None] = {}
        try:
            _, found = await self.store.read([Get("setting", STORED[name]) for name in names])
            texts = {name: one.value for name, one in zip(names, found, strict=True)}
        except UNREADABLE:
            for name in names:
                try:
                    _, found = await self.store.read([Get("setting", STORED[name])])
                    texts[name] = found[0].value
                except UNREADABLE as error:
                    self.store.unreadables.met(error)
        if self._argued.max_age is FROM_DB and texts.get("max_age") is None:
            texts.pop("max_age", None)  # what was read last stands for what is gone
        with self._readings.latest(reading) as is_latest:
            if is_latest:
                self._take(settings_kept(texts, self._stored))
                if self.store.keeps_events and not self._readings.is_changing("events"):
                    self.store.listeners.keep(self._stored.events == "durable")
            self._stale_at_s = time.monotonic() + (self._refresh_s if is_latest else 0)

    def _take(self, stored: Settings) -> None:
        """Let settings that the store keeps hold, beneath those that were given and those of the environment."""
        self._stored = stored
        given = self._argued.over(self._environed)
        if self._argued.max_age is FROM_DB:
            age = DEFAULTS.max_age if stored.max_age is UNSET else stored.max_age
            given = Settings(max_age=age).over(given)
        self.settings = given.over(stored).over(DEFAULTS)
        self._policy.take(self.settings)
        self._refresh_s = self._policy.refresh_interval_ms / 1000

    async def _page(self, listing: Scan, judged: Callable[[Scan, Any, int], list[R]], limit: int) -> Page[R]:
        """Return a page of a listing: at most ``limit`` records, of at most about ``LOOKED_AT_MAX`` that are read."""
        listed: list[R] = []
        left_out: dict[str, None] = {}
        looked_at = 0
        rest: Scan | None = listing
        while rest is not None and len(listed) <= limit:
            if looked_at >= LOOKED_AT_MAX and rest.after != listing.after:
                break
            now, found = await drive(stretch(rest), self.store.read)
            listed += judged(listing, found.value, now)
            looked_at += len(found.value) + len(found.unreadable)
            left_out.update((record.id, None) for record in found.unreadable)
            rest = what_follows(rest, found)
        return page_of(listed, limit, tuple(left_out), rest)

    def _session_key(self, key: object) -> Key:
        if not isinstance(key, str):
            raise TypeError(f"a session's key is its id or secret (str), not {type(key).__name__}")
        if is_id(SESSION_ID, key):
            return key
        if is_session_secret(key):
            return tuple(self._keyring.lookups(key))
        raise UnknownSession("that is neither the id (ses_…) nor the secret (sts_… or std_…) of a session")

    def _token_key(self, key: object) -> Key:
        if not isinstance(key, str):
            raise TypeError(f"a token's key is its id or secret (str), not {type(key).__name__}")
        if is_id(TOKEN_ID, key):
            return key
        if is_secret(TOKEN_SECRET, key):
            return tuple(self._keyring.lookups(key))
        raise UnknownToken("that is neither the id (tok_…) nor the secret (stt_…) of a token")

    async def _run(self, rule: Rule[T], *args: object) -> T:
        """Run a rule on the store, with an entry in the audit log for each state change where one is kept."""
        try:
            if self._audit is None:
                return await self.store.run(rule, *args)
            return await run_audited(self.store, self._audit, rule, *args)
        except (UnknownSession, UnknownToken):
            await self.store.insist_on_peppers()
            raise
        except Stolen as stolen:
            await self._run(end_stolen_session, stolen.id, stolen.former_id)
            raise UnknownSession("no living session answers to that key; open a new one") from None

    async def _do(
        self, command: str, idempotency_key: str | None, request: Sequence[object], rule: Rule[T], *args: object
    ) -> T:
        """Run a command that mints no secret."""
        if idempotency_key is None:
            return await self._run(rule, *args)
        key = inputs.idempotency_key_of(idempotency_key)
        ticket = self._ticket(command, key, request)
        record = await self._run(once, ticket, rule, args)
        outcome: Any = record.outcome
        return outcome  # type: ignore[no-any-return]  # it is what the rule answered the first time

    async def _known(self, command: str, idempotency_key: str, request: Sequence[object]) -> Any:
        """Return what a command of several steps answered under that key before; ``None`` if it did not."""
        return await self._run(
            earlier_outcome, self._ticket(command, inputs.idempotency_key_of(idempotency_key), request)
        )

    async def _issue(
        self,
        command: str,
        idempotency_key: str | None,
        request: Sequence[object],
        prefix: str,
        rule: Rule[Any],
        args_with: Callable[[str], tuple[object, ...]],
        place: str,
    ) -> Issued:
        """Run a command that mints a secret: a random one, or one derived so that a retry gets the same.

        Args:
            place: the partition that it names, where the record lies that it opens.
        """
        if idempotency_key is None:
            secret = new_secret(prefix, place)
            return Issued(await self._run(rule, *args_with(self._keyring.lookup(secret))), secret)
        key = inputs.idempotency_key_of(idempotency_key)
        ticket = self._ticket(command, key, request)
        secret = self._derived(prefix, command, key, ticket.nonce, ticket.key_id, place)
        record = await self._run(once, ticket, rule, args_with(self._keyring.lookup(secret)))
        outcome: Any = record.outcome
        if record.nonce != ticket.nonce:
            kind = outcome.secret_kind if isinstance(outcome, Session) else prefix
            place = named_by_lookup(outcome.lookup)
            secret = self._derived(kind, command, key, record.nonce, record.key_id, place)
        return Issued(outcome, secret)

    def _ticket(self, command: str, key: str, request: Sequence[object]) -> Ticket:
        return Ticket(
            inputs.digest_of(command, key),
            inputs.digest_of(command, key, *map(repr, request)),
            os.urandom(16).hex(),
            self._keyring.current,
        )

    def _derived(self, prefix: str, command: str, key: str, nonce: str, key_id: str, place: str) -> str:
        try:
            number = self._keyring.derive(key_id, ascii((command, key, nonce)).encode("ascii"))
            return secret_of(prefix, number, place)
        except KeyError:
            raise CorruptRecord(f"that secret was made with the pepper {key_id}; give it to open()") from None


async def run_audited(store: Store, audit: Audit, rule: Rule[T], *args: object) -> T:
    """Run a rule on a store with an entry in its audit log for each state change, in the same commit."""
    answer = await _in_chain(store, audit, audited(rule), args)
    outcome: T = answer.outcome
    return outcome


async def note_start(store: Store, audit: Audit) -> None:
    """Have the audit log of a store begin with an entry: whoever changes the store then goes on with it."""
    await _in_chain(store, audit, begin_audit)


async def _in_chain(store: Store, audit: Audit, rule: Rule[Audited], *args: object) -> Audited:
    """Run a rule that appends to a chain of the audit log."""
    side_by_side = store.side_by_side
    key, act = audit.key_of(store.keyring), acting.get()
    partition = store.partition_of(rule, (key, act, 0, *args))
    chain = audit.take(side_by_side=side_by_side, partition=partition)
    try:
        answer = await store.run(rule, key, act, chain, *args)
    except BaseException:
        audit.gave_up(chain, side_by_side=side_by_side, partition=partition)
        raise
    audit.wrote(chain, answer, side_by_side=side_by_side, partition=partition)
    if audit.is_due(side_by_side=side_by_side):
        await anchor_heads(store, audit)
    return answer


async def anchor_heads(store: Store, audit: Audit) -> None:
    """Anchor where all chains of a log end; a failure is logged, and the next turn tries again."""
    try:
        covered, chains = audit.pending, audit.chains(side_by_side=store.side_by_side)
        answer = await store.read(head_queries(chains))
        audit.anchor(heads_in(answer), answer.now, audit.key_of(store.keyring), covered)
    except StoreError as error:
        alerts.error("the audit log is not anchored: %s", error)


def _check_parts(
    settings: Settings | None, clock: Clock | None, sealed: bool | None, sweep: bool, audit: Audit | None
) -> None:
    """Refuse what is of another type before a store is made: it would be told later, or taken for a yes."""
    for name, given, kind, way in (
        ("settings", settings, Settings, "Settings(max_age=…)"),
        ("audit", audit, Audit, "Audit(FILE) of session_tokens.audit.log"),
        ("sealed", sealed, bool, "True, False or None"),
    ):
        if given is not None and not isinstance(given, kind):
            raise TypeError(f"{name} is {way}, not {type(given).__name__}")
    inputs.flag_of("sweep", sweep)
    if clock is not None and not hasattr(clock, "now"):
        raise TypeError(
            f"clock is a clock, such as ManualClock() of session_tokens.testing, not {type(clock).__name__}"
        )


async def _open_store(url: str, pepper: Pepper | None, clock: Clock | None, sealed: bool | None) -> Store:
    connect = import_module("..stores.connect", __package__)  # a store is loaded when it is asked for
    store: Store = await connect.open_store(url, pepper=pepper, clock=clock, sealed=sealed)
    return store


def page_of(listed: list[R], limit: int, unreadable: Sequence[str], rest: Scan | None) -> Page[R]:
    """Return the first ``limit`` of what was listed as a page, with the cursor of the next; ``rest`` was not read."""
    if len(listed) <= limit:
        return Page(listed, None if rest is None or rest.after is None else inputs.cursor_of(rest.after), unreadable)
    last = listed[limit - 1]
    return Page(listed[:limit], inputs.cursor_of((last.created_at, last.id)), unreadable)
