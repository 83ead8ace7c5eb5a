"""The base of ``AsyncTokenTables``: opening, finding by the application's strings, and calling its DB."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeVar

from .. import json_values
from .. import validation as inputs
from ..clock import Clock, local
from ..compiler_hints import mypyc_attr
from ..contract.drive import drive
from ..contract.queries import Get, Scan
from ..contract.store import Store
from ..contract.transaction import Rule
from ..crypto.minting import Pepper
from ..errors import AdapterError, CorruptRecord, InvalidInput, Refused
from ..records import BOUND, FREE, JSON, OwnerEntry, Session, SessionDetails, Token, TokenKind
from ..records.traits import TokenTraits, session_traits, token_traits
from ..rules import sessions, settings, tokens
from ..rules import token_tables as named
from ..rules.listing import sessions_listed, stretch, tokens_listed, what_follows
from ..settings import SESSION_TIMEOUT_SETTING, SETTING_REFRESH_MS, Policy, Settings
from ..stores.connect import open_store
from ..stores.memory.store import MemoryStore
from ..sweeper import PassedOver, TaskSweeper
from ..tables.given import TokenCreator, can_be_name, checked_creator, db_timeout_of, written_name
from ..tables.strings import SETTING, KeyedNaming, Naming, PlainNaming, TokenStrings, chosen_token_strings
from ..tables.user_db import AsyncDBCalls
from .former_tables import AsyncFormerTables
from .mirror import AsyncMirrorStore
from .sweeping import swept

T = TypeVar("T")
R = TypeVar("R", Session, Token)

log = logging.getLogger("session_tokens.tables")

TIMEOUT_KEY = "session_tokens:general_session_timeout"
"""Where the application's DB keeps the general session timeout for ``FROM_DB``."""
FORMER_SESSION, FORMER_TOKEN = "\x1fformer session", "\x1fformer token"
"""In the place of an owner in the hash that marks what was moved: no owner is called so."""
CHUNK = 1_000
"""How many records of a list are read at once."""


@mypyc_attr(allow_interpreted_subclasses=True)
class AsyncTablesCore:
    """The seed's tables. Without a DB they are this process's own.

    Args:
        db: ``None``, or the application's DB with the six methods (sync or async), written through.
        token_creator: makes the strings of ``create_token``; see ``set_token_creator``.
        token_db: a DB of its own for tokens; without it ``db`` holds both.
        db_timeout: seconds that a DB call may take; ``None``: no limit, sync methods on the caller's thread.
        clock: the clock.
        sweep: whether a background sweeper runs; without it call ``decrement_timers()``.
    """

    def __init__(
        self,
        db: object | None = None,
        token_creator: TokenCreator | None = None,
        *,
        token_db: object | None = None,
        db_timeout: float | None = 5.0,
        clock: Clock | None = None,
        sweep: bool = True,
    ) -> None:
        inner = MemoryStore(clock=clock)
        mirror: AsyncMirrorStore | None = None
        if db is not None:
            timeout_s = db_timeout_of(db_timeout)
            mirror = AsyncMirrorStore(AsyncDBCalls(db, db if token_db is None else token_db, timeout_s), inner)
        elif token_db is not None:
            raise InvalidInput("token_db needs a session DB as first argument; one DB for both is db alone")
        self._set_up(mirror if mirror is not None else inner, mirror, PlainNaming(), token_creator, sweep)

    def _set_up(
        self,
        store: Store,
        mirror: AsyncMirrorStore | None,
        naming: Naming,
        token_creator: TokenCreator | None,
        sweep: bool,
    ) -> None:
        self.store = store
        self._mirror = mirror
        self._former: AsyncFormerTables | None = None
        self._memory = memory = store if isinstance(store, MemoryStore) else None
        # What the hot reads look at, at hand; without a memory store they find nothing and ask the store.
        self._sessions: dict[Any, Session] = {} if memory is None else memory.sessions
        self._tokens = {} if memory is None else memory.tokens
        self._entries = {} if memory is None else memory.entries
        self._owners = {} if memory is None else memory.owners
        self._clock = local(store.clock)
        self._naming = naming
        # An application's DB knows no successors, and the hot reads of a memory store do not look for them.
        is_whole = mirror is not None or memory is not None
        self._policy = Policy(Settings(max_sessions=1), names=True, whole=is_whole)
        self._creator = checked_creator(token_creator)
        self._timeout_from_db = False
        self._refreshed_at_s: float | None = None
        self._take_timeouts()
        self._hints: dict[str, tuple[str, int]] = {}
        self._hints_full = 0
        self._closed = False
        self._passed_over = PassedOver()
        self._sweeps = sweep
        self._sweeper = TaskSweeper.start(self, AsyncTablesCore._sweep, 1.0) if sweep else None

    @classmethod
    async def open(
        cls,
        url: str = "memory://",
        token_creator: TokenCreator | None = None,
        *,
        token_strings: TokenStrings | None = None,
        pepper: Pepper | None = None,
        clock: Clock | None = None,
        sealed: bool | None = None,
        sweep: bool = True,
        migrate_from: object | None = None,
    ) -> Self:
        """Open tables on a native store; their records are a name space of their own there.

        Args:
            url: as for ``AsyncSessionTokens.open``.
            token_creator: makes the strings of ``create_token``.
            token_strings: how a store that outlives the process keeps the strings: ``"sealed"`` or ``"clear"``;
                ``None``: as the store was made, else sealed where ``cryptography`` is installed.
            pepper: as for ``AsyncSessionTokens.open``.
            clock: for embedded stores.
            sealed: whether values are sealed, as for ``AsyncSessionTokens.open``.
            sweep: whether a background sweeper runs.
            migrate_from: the six-method DB of the npm package that was there before; it is read and never written.
                A session moves with ``reload_session_info``, a token of no session when it is asked for.

        Raises:
            InvalidInput: a URL, pepper or ``token_strings`` that cannot be, or a DB without its six methods.
            StoreUnavailable: the store cannot be reached.
        """
        store = await open_store(url, pepper=pepper, clock=clock, space="tt", sealed=sealed)
        tables = cls.__new__(cls)
        try:
            naming: Naming = PlainNaming()
            if store.durable:
                _, found = await store.read([Get("setting", SETTING)])
                choice = chosen_token_strings(token_strings, found[0].value)
                if found[0].value is None:
                    await store.run(settings.write_setting, SETTING, choice)
                naming = KeyedNaming(store.keyring, choice)
            tables._set_up(store, None, naming, token_creator, sweep)
            if migrate_from is not None:
                tables._former = AsyncFormerTables(migrate_from, store)
        except BaseException:
            await store.close()
            raise
        return tables

    async def close(self) -> None:
        """Stop background work and let go of the store; calling it again does nothing, or what was cancelled before."""
        if self._closed:
            return
        self._memory, self._sessions, self._tokens, self._entries, self._owners = None, {}, {}, {}, {}
        if self._sweeper is not None:
            await self._sweeper.stop()
        if self._former is not None:
            await self._former.close()
        await self.store.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def sweep(self, limit: int = 1000) -> int:
        """Clean up behind deadlines, at most ``limit`` records; return how many were cleaned."""
        return await self._sweep(limit, in_turn=False)

    async def _sweep(self, limit: int, *, in_turn: bool = True) -> int:
        return (await swept(self.store, self.store.run, self._policy, self._passed_over, limit, in_turn=in_turn)).all()

    def _begin_to_sweep(self) -> None:
        """Start the sweeper if the tables were made before an event loop ran."""
        if self._sweeper is None and self._sweeps and not self._closed:
            self._sweeper = TaskSweeper.start(self, AsyncTablesCore._sweep, 1.0)

    async def _clean_up_in_db(self) -> None:
        """Clean up at once behind sessions that just ended, for those who read the application's DB themselves."""
        try:
            await self.sweep()
        except AdapterError:
            log.warning("cleaning up in the application's DB failed; the sweeper tries again")

    # --- finding by the application's strings ---

    async def _session_id(self, string: str) -> str:
        """Return the id under which a session of that string is, or would be, kept."""
        return string if self._memory is not None and type(string) is str else await self._id_of("session", string)

    async def _token_id(self, string: str) -> str:
        """Return the id under which a token of that string is, or would be, kept."""
        return string if self._memory is not None and type(string) is str else await self._id_of("token", string)

    async def _id_of(self, what: Literal["session", "token"], string: str) -> str:
        ids = self._ids(string)
        if len(ids) > 1:  # under which of several peppers it was written
            _, found = await self.store.read([Get(what, id) for id in ids])
            return next((id for id, there in zip(ids, found, strict=True) if there.value[0] is not None), ids[0])
        return ids[0]

    def _ids(self, string: str) -> Sequence[str]:
        if not isinstance(string, str):
            raise TypeError(f"a token is a str, not {type(string).__name__}")
        try:
            return self._naming.ids(inputs.plain(string))
        except UnicodeEncodeError:
            return ("",)  # a lone surrogate names nothing

    async def _find_session(self, string: str) -> tuple[int, Session | None, OwnerEntry | None]:
        """Return now, the session of a string, alive or not, and its owner's entry."""
        ids = self._ids(string)
        await self._refresh_session(string)
        if self._memory is not None:
            return self._memory.find_session_by_id_now(ids)
        now, found = await self._found("session", ids)
        return (now, *found)

    async def _find_token(self, string: str) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        """Return now, the token of a string, alive or not, its session and that owner's entry."""
        return await self._find_token_by(self._ids(string))

    async def _find_token_by(self, ids: Sequence[str]) -> tuple[int, Token | None, Session | None, OwnerEntry | None]:
        if self._memory is not None:
            return self._memory.find_token_by_id_now(ids)
        now, found = await self._found("token", ids)
        return (now, *found.followed())

    async def _found(self, what: Literal["session", "token"], ids: Sequence[str]) -> tuple[int, Any]:
        """Return now, and what stands under the first of some ids that there is."""
        now, found = await self.store.read([Get(what, id) for id in ids])
        there = next((answer.value for answer in found if answer.value[0] is not None), None)
        if there is None:
            await self.store.insist_on_peppers()
        return now, there or found[0].value

    async def _living_token(self, string: str) -> Token | None:
        """Return the living token of a string as it stands now, asking the application's DB first."""
        ids = self._ids(string)
        await self._refresh_token(string)
        now, token, session, entry = await self._find_token_by(ids)
        return None if token is None else token.as_of(now, session, entry)

    async def _refresh_session(self, id: str) -> None:
        if self._mirror is not None and can_be_name(id):
            await self._mirror.refresh_session(id)

    async def _refresh_token(self, id: str) -> None:
        if self._mirror is not None and can_be_name(id):
            await self._mirror.refresh_token(id)
        elif self._former is not None and can_be_name(id):
            await self._move_token_in(self._former, id)

    async def _move_token_in(self, former: AsyncFormerTables, string: str) -> None:
        """Take over a token that only the package knew before, as one of no owner and no session."""
        if (await self._find_token(string))[1] is not None:
            return
        value = await former.value(string)
        if value is None:
            return
        try:
            text, is_json = json_values.value_of("value", value)
            issue = self._issue_of(string, await self._token_id(string), FREE, text, is_json)
            await former.move(self._naming.hash_of(string, FORMER_TOKEN), tokens.issue_token, self._policy, None, issue)
        except (Refused, InvalidInput) as error:
            log.warning("a token of the package before could not be moved in: %s", error)

    async def _move_session_in(self, string: str, owner: str, link: str) -> bool:
        """Take over a session that only the package knew before; return whether the hash is of that owner there."""
        former = self._former
        if former is None or not await former.is_of(link, owner):
            return False
        found = await former.session(string)
        if found is not None and (await self._find_session(string))[1] is None:
            id, left_ms, most_ms = await self._session_id(string), found.left_ms, self._policy.max_age_ms
            age_ms = most_ms if left_ms is None or (most_ms is not None and most_ms < left_ms) else left_ms
            kept = self._naming.kept("session", id, string)
            traits = session_traits(None, age_ms, age_ms, found.is_detachable, None)
            opening = sessions.Opening(id, None, owner, traits, name=kept)
            try:
                mark = self._naming.hash_of(string, FORMER_SESSION)
                await former.move(mark, named.add_session, self._policy, opening, None, self.store.clock)
            except Refused as refusal:
                log.warning("a session of the package before could not be moved in: %s", refusal.code)
        return True

    # --- commands ---

    async def _add(self, t_token: str, value: JSON, kind: TokenKind, owner: str | None) -> bool:
        string = written_name("a token", t_token)
        self._begin_to_sweep()
        text, is_json = json_values.value_of("value", value)
        await self._refresh_token(string)
        issue = self._issue_of(string, await self._token_id(string), kind, text, is_json)
        if owner is None:
            return await self._answered(tokens.issue_token, self._policy, None, issue)
        if self._mirror is not None:
            await self._mirror.refresh_owner(owner)
        return await self._answered(named.add_owned_token, self._policy, owner, issue)

    def _take_timeouts(self) -> None:
        """Keep at hand what sessions that are added from now on, and their first tokens, have alike."""
        age_ms = self._policy.max_age_ms
        self._session_traits = session_traits(None, age_ms, age_ms, False, None)
        self._first_traits = self._token_traits(BOUND, False)

    def _token_traits(self, kind: TokenKind, is_json: bool) -> TokenTraits:
        """Return what a new token has like others of these tables."""
        policy = self._policy
        return token_traits(kind, is_json, policy.token_timeout_ms, policy.disownment_timeout_ms, None)

    def _issue_of(self, string: str, id: str, kind: TokenKind, text: str, is_json: bool) -> tokens.Issue:
        return tokens.Issue(id, None, text, self._token_traits(kind, is_json), self._naming.kept("token", id, string))

    async def _add_in_db(self, id: str, owner: str, first_id: str | None) -> str:
        """Open a session over the application's DB, which makes its hash, and return that."""

        def args_with(link: str) -> tuple[object, ...]:
            details = SessionDetails(db_hash=link)
            opening = sessions.Opening(id, None, owner, self._session_traits, details)
            issue = None if first_id is None else self._issue_of(first_id, first_id, BOUND, link, False)
            return self._policy, opening, issue, self.store.clock

        assert self._mirror is not None
        await self._refresh_session(id)
        if first_id is not None:
            await self._refresh_token(first_id)
        link = await self._mirror.open_session(named.add_session, id, owner, args_with)
        await self._clean_up_in_db()
        return link

    async def _session_command(self, rule: Rule[Any], string: str, *args: object) -> bool:
        if self._mirror is not None:
            await self._refresh_session(string)
        return await self._answered(rule, await self._session_id(string), *args)

    async def _token_command(self, rule: Rule[Any], string: str, *args: object) -> bool:
        if self._mirror is not None or self._former is not None:
            await self._refresh_token(string)
        return await self._answered(rule, await self._token_id(string), *args)

    async def _answered(self, rule: Rule[Any], *args: object) -> bool:
        """Run a rule; a refusal is ``False``."""
        try:
            await self.store.run(rule, *args)
        except Refused:
            return False
        return True

    async def _listed_tokens(self, **filters: Any) -> list[Token]:
        """Return all living tokens that match, as they stand now."""
        listing = Scan("tokens", limit=CHUNK, **filters)
        listed: list[Token] = []
        rest: Scan | None = listing
        while rest is not None:
            now, found = await drive(stretch(rest), self.store.read)
            listed += tokens_listed(listing, found.value, now)
            rest = what_follows(rest, found)
        return listed

    async def _listed_sessions(self, owner: str | None = None, detached: bool | None = None) -> list[Session]:
        """Return all living sessions of an owner, or those that are detached, or not."""
        listing = Scan("sessions", limit=CHUNK, owner=owner, detached=detached)
        listed: list[Session] = []
        rest: Scan | None = listing
        while rest is not None:
            now, found = await drive(stretch(rest), self.store.read)
            listed += sessions_listed(listing, found.value, now)
            rest = what_follows(rest, found)
        return listed

    def _strings(self, listed: list[Token]) -> list[str]:
        return [string for string, _ in self._named(listed)]

    def _named(self, listed: list[R]) -> list[tuple[str, R]]:
        """Return records with their strings; one whose string cannot be read is left out, and logged."""
        named = []
        for record in listed:
            try:
                named.append((self._naming.string_of(record), record))
            except CorruptRecord as error:
                self.store.unreadables.met(error)
        return named

    async def _refresh_general_timeout(self) -> None:
        """Read the general session timeout from the shared store if it is to come from there and is old."""
        if not self._timeout_from_db:
            return
        now_s = time.monotonic()
        if self._refreshed_at_s is not None and (now_s - self._refreshed_at_s) * 1000 < SETTING_REFRESH_MS:
            return
        if self._mirror is not None:
            text = await self._mirror.ask("get_key_value", TIMEOUT_KEY)
        else:
            _, found = await self.store.read([Get("setting", SESSION_TIMEOUT_SETTING)])
            text = found[0].value
        if not self._timeout_from_db:
            return  # it was set while this was read
        self._policy.max_age_ms = inputs.general_timeout_of(text, self._policy.max_age_ms)
        self._take_timeouts()
        self._refreshed_at_s = now_s
