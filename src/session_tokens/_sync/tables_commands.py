# Generated from _async/tables_commands.py by tools/generate_sync.py; change that file and run it again.
"""The commands of ``TokenTables``; ``token_tables`` puts them together."""

from __future__ import annotations

import hmac
import logging
import math
from decimal import Decimal
from typing import Final

from .. import validation as inputs
from ..clock import NEVER, ManualClock
from ..compiler_hints import mypyc_attr
from ..crypto.minting import new_secret
from ..crypto.secret_form import TOKEN_SECRET, begins_with_secret
from ..errors import InvalidInput, Refused
from ..records import BOUND, FREE, JSON, TRANSFERABLE
from ..rules import sessions, settings, tokens
from ..rules import token_tables as named
from ..rules.expiry import Uncleaned, sweep_session
from ..rules.offers import mark_token
from ..settings import FROM_DB, SESSION_TIMEOUT_SETTING, FromDB, whole_ms
from ..tables.given import (
    TokenCreator,
    can_be_name,
    can_be_owner,
    checked_creator,
    given_owner,
    is_utf8,
    written_name,
)
from ..terms import price_of
from .tables_core import TIMEOUT_KEY, SyncTablesCore

log = logging.getLogger("session_tokens.tables")

PREFIX_LENGTH_MAX = 64
HINTS_FULL = 1_000
"""From how many hints on the dead ones are dropped; then again when their number has doubled."""
TICK_MS = 500
"""How far ``decrement_timers`` moves a test clock: the seed's tick."""
_ADD_SESSION: Final = named.add_session
_DESTROY_SESSION: Final = named.destroy_session
_TRANSFER_TOKEN: Final = tokens.transfer_token
"""Rules at hand that are called often: compiled code looks for the names of a module in a dictionary, each time."""


@mypyc_attr(allow_interpreted_subclasses=True)
class SyncTablesCommands(SyncTablesCore):
    """The seed's commands on sessions and transition tokens by the application's own strings."""

    # --- making strings ---

    def set_token_creator(self, token_creator: TokenCreator | None) -> bool:
        """Have ``create_token`` answer ``token_creator(prefix)``; ``None`` restores the default.

        Raises:
            TypeError: it cannot be called.
        """
        self._creator = checked_creator(token_creator)
        return True

    def create_token(self, prefix: str | None = None) -> str:
        """Return a new string: the prefix and 256 random bits, or what the token creator makes of the prefix.

        Raises:
            InvalidInput: the prefix is too long or not printable, or the creator failed or answered no usable string.
        """
        if prefix is not None and not isinstance(prefix, str):
            raise TypeError(f"a prefix is a str or None, not {type(prefix).__name__}")
        if prefix is not None and (len(prefix) > PREFIX_LENGTH_MAX or not prefix.isprintable()):
            raise InvalidInput(f"a prefix is at most {PREFIX_LENGTH_MAX} printable characters")
        if prefix is not None and begins_with_secret(prefix):
            raise InvalidInput("a prefix is a word of the application's own, and that one is a secret")
        if self._creator is None:
            return (prefix or "") + new_secret(TOKEN_SECRET)
        try:
            made: object = self._creator(prefix)
        except Exception as error:
            raise InvalidInput(f"the token creator failed ({type(error).__name__}); nothing was made") from error
        if not isinstance(made, str):
            raise InvalidInput(f"the token creator answered a {type(made).__name__}; it must answer a str")
        return written_name("the token creator's answer", made)

    # --- sessions ---

    def add_session(
        self, session_token: str, ownership_key: str, t_token: str | None = None, shared: bool = False
    ) -> str | None:
        """Open a session by name, with a session-bound token whose value is the session's hash.

        The same session of the same owner again answers the same hash. Another session of the owner is replaced and
        its transferable tokens move to the new one.

        Answers:
            The hash if ``shared``, else ``None``; ``None`` too, and nothing changed, if a living session of that
            name has another owner or the token's name is taken (logged). Ask ``active_session``.
        """
        string, owner = written_name("a session token", session_token), inputs.owner_of("ownership_key", ownership_key)
        first = None if t_token is None else written_name("a token", t_token)
        if self._sweeper is None:
            self._begin_to_sweep()
        if self._timeout_from_db:
            self._refresh_general_timeout()
        memory = self._memory
        try:
            if memory is not None:  # the strings are the ids, and nothing waits
                link = self._naming.hash_of(string, owner) if shared or first is not None else ""
                opening = sessions.Opening(string, None, owner, self._session_traits)
                issue = None if first is None else tokens.Issue(first, None, link, self._first_traits)
                memory.run_now(_ADD_SESSION, self._policy, opening, issue, memory.clock)
            elif self._mirror is not None:
                link = self._add_in_db(string, owner, first)
            else:
                link = self._add_on_store(string, owner, first)
        except Refused as refusal:
            log.warning("a session was not added: %s", refusal.code)
            return None
        return link if shared else None

    def _add_on_store(self, string: str, owner: str, first: str | None) -> str:
        """Open a session by name after cleaning up behind a former one that held many tokens; return its hash."""
        id, link, issue = self._session_id(string), self._naming.hash_of(string, owner), None
        if first is not None:
            issue = self._issue_of(first, self._token_id(first), BOUND, link, False)
        opening = sessions.Opening(id, None, owner, self._session_traits, name=self._naming.kept("session", id, string))
        while True:
            try:
                self.store.run_now(named.add_session, self._policy, opening, issue, self.store.clock)
                return link
            except Uncleaned as left:
                self.store.run_now(sweep_session, self._policy, left.id)

    def active_session(self, session_token: str, ownership_key: str) -> bool | None:
        """Return whether a session lives (a detached one too) and is that owner's; ``None`` if there is none."""
        if (session := self._sessions.get(session_token)) is not None and session.owner == ownership_key:
            entry = self._entries.get(session.owner) if self._entries else None
            return True if session.alive(self._clock.now(), entry) else None
        owner = given_owner(ownership_key)
        now, session, entry = self._find_session(session_token)
        if session is None or not session.alive(now, entry):
            return None
        return session.owner == owner

    def destroy_session(self, token: str) -> bool:
        """End a session by its own token or by any token that it holds; return whether one lived."""
        if self._memory is not None and type(token) is str:
            return self._memory.run_now(_DESTROY_SESSION, token, token, "logout")
        id = self._session_id(token)
        if self._mirror is not None:
            self._refresh_session(token)
            self._refresh_token(token)
        by_token = self._token_id(token)
        lived = self.store.run_now(named.destroy_session, id, by_token, "logout")
        if self._mirror is not None:
            self._clean_up_in_db()
        return lived

    def allow_session_detach(self, session_token: str) -> bool:
        """Mark a session as detachable; return whether it lives."""
        return self._session_command(named.allow_detach, session_token)

    def detach_session(self, session_token: str) -> bool:
        """Note that a detachable session was logged out; it stays active. Return whether it is detached."""
        return self._session_command(sessions.detach_session, session_token)

    def attach_session(self, session_token: str) -> bool:
        """Note that a detached session is logged in again; return whether it was detached."""
        return self._session_command(sessions.attach_session, session_token, None)

    def reload_session_info(self, session_token: str, ownership_key: str, hash_of_p2: str) -> bool:
        """Verify a session's hash with the DB, then load the session into this process; return whether it lives.

        A session of the package before moves in with it, if ``migrate_from`` was given.
        """
        if not isinstance(hash_of_p2, str):
            raise TypeError(f"a hash is a str, not {type(hash_of_p2).__name__}")
        if not (can_be_name(session_token) and is_utf8(given_owner(ownership_key)) and is_utf8(hash_of_p2)):
            return False
        if self._mirror is not None:
            if not self._mirror.ask("check_hash", hash_of_p2, ownership_key):
                return False
        elif not hmac.compare_digest(
            hash_of_p2.encode(), self._naming.hash_of(session_token, ownership_key).encode()
        ) and not self._move_session_in(session_token, ownership_key, hash_of_p2):
            return False
        return self.active_session(session_token, ownership_key) is True

    def quick_insert_active_session(self, session_token: str, hash_of_p2: str) -> bool:
        """Keep a local hint that a session with that hash was seen; it grants no ownership and no life."""
        string = written_name("a session token", session_token)
        if not isinstance(hash_of_p2, str):
            raise TypeError(f"a hash is a str, not {type(hash_of_p2).__name__}")
        now = self.store.clock.now()
        if len(self._hints) >= self._hints_full:
            living = {hinted: hint for hinted, hint in list(self._hints.items()) if now < hint[1]}
            self._hints, self._hints_full = living, max(HINTS_FULL, 2 * len(living))
        until = NEVER if self._policy.max_age_ms is None else now + self._policy.max_age_ms
        self._hints[string] = (hash_of_p2, until)
        return True

    def discard_quick_insert(self, session_token: str) -> bool:
        """Drop a local hint; return whether there was one."""
        self._ids(session_token)  # a TypeError for what is no string
        hint = self._hints.pop(session_token, None)
        return hint is not None and self.store.clock.now() < hint[1]

    # --- tokens ---

    def add_token(self, t_token: str, value: JSON) -> bool:
        """Add a token of no owner and no session; again with another value updates it."""
        return self._add(t_token, value, FREE, None)

    def add_session_bounded_token(self, t_token: str, value: JSON, ownership_key: str) -> bool:
        """Add a token that ends with the owner's living session; ``False`` without one."""
        return self._add(t_token, value, BOUND, inputs.owner_of("ownership_key", ownership_key))

    def add_transferable_token(self, t_token: str, value: JSON, ownership_key: str) -> bool:
        """Add a transferable token under the owner's living session; ``False`` without one."""
        return self._add(t_token, value, TRANSFERABLE, inputs.owner_of("ownership_key", ownership_key))

    def transition_token_is_active(self, t_token: str) -> str | None:
        """Return a living token's value as text (JSON if it was no ``str``), else ``None``; unassigned ones too."""
        if (
            (token := self._tokens.get(t_token)) is not None
            and not self._entries
            and token.authenticates(self._clock.now(), self._sessions.get(token.session_id), None)
        ):
            return token.text
        token = self._living_token(t_token)
        return None if token is None else token.text

    def from_token(self, t_token: str) -> str:
        """Return the owner of a token or session; ``""`` where there is none."""
        if (
            (token := self._tokens.get(t_token)) is not None
            and not self._entries
            and token.authenticates(self._clock.now(), self._sessions.get(token.session_id), None)
        ):
            return token.owner or ""
        now, token, session, entry = self._find_token(t_token)
        present = None if token is None else token.as_of(now, session, entry)
        if present is not None:
            return present.owner or ""
        now, session, entry = self._find_session(t_token)
        return session.owner if session is not None and session.alive(now, entry) else ""

    def token_is_transferable(self, t_token: str) -> bool:
        """Return whether a living token is of the transferable kind."""
        token = self._living_token(t_token)
        return token is not None and token.is_transferable

    def transfer_token(self, t_token: str, yielder_key: str, receiver_key: str) -> bool:
        """Move a transferable token to another owner; its string stays. Anything else is ``False`` and no change.

        Args:
            yielder_key: its owner; for an unassigned token its previous owner or ``""``.
            receiver_key: holds it in their living session, or parked until their next.
        """
        if type(yielder_key) is not str:
            given_owner(yielder_key)
        is_known = type(receiver_key) is str and receiver_key in self._owners  # it was asked whether it can be one
        receiver = receiver_key if is_known else inputs.owner_of("receiver_key", receiver_key)
        if self._mirror is not None:
            self._refresh_token(t_token)
            self._mirror.refresh_owner(receiver)
        id = t_token if self._memory is not None and type(t_token) is str else self._token_id(t_token)
        try:
            self.store.run_now(_TRANSFER_TOKEN, id, yielder_key or None, receiver, None, None)
        except Refused:
            return False
        return True

    def acquire_token(self, t_token: str, session_token: str, owner: str) -> bool:
        """Have an owner's session hold a token: claims an unassigned one, joins a parked one.

        Answers:
            Whether that owner and session hold it afterwards.
        """
        id, session_id = self._token_id(t_token), self._session_id(session_token)
        self._refresh_token(t_token)
        self._refresh_session(session_token)
        return self.store.run_now(named.acquire_token, id, session_id, given_owner(owner))

    def destroy_token(self, t_token: str) -> bool:
        """End a token of any kind; return whether one lived. Its string may be added again as a new token."""
        self._refresh_token(t_token)
        return self.store.run_now(tokens.destroy_token, self._token_id(t_token), None)

    def reload_token_info(self, t_token: str) -> bool:
        """Read a token again from the DB; return whether it lives."""
        return self._living_token(t_token) is not None

    # --- the seed's mappings, each way ---

    def owner_from_session(self, session_token: str) -> str:
        """Return the owner of a living session; ``""`` where there is none."""
        now, session, entry = self._find_session(session_token)
        return session.owner if session is not None and session.alive(now, entry) else ""

    def session_from_owner(self, ownership_key: str) -> str:
        """Return the newest living session of an owner, a detached one too; ``""`` where there is none."""
        if not can_be_owner(ownership_key):
            return ""
        for string, _ in reversed(self._named(self._listed_sessions(owner=ownership_key))):
            if self._mirror is None or self.active_session(string, ownership_key):
                return string
        return ""

    def session_from_token(self, t_token: str) -> str:
        """Return the session that holds a living token; ``""`` for one that none holds, and for the unknown."""
        self._refresh_token(t_token)
        now, stored, session, entry = self._find_token(t_token)
        token = None if stored is None else stored.as_of(now, session, entry)
        if token is None or session is None or token.session_id != session.id:
            return ""
        return next((string for string, _ in self._named([session])), "")

    def tokens_from_session(self, session_token: str) -> list[str]:
        """Return the tokens that a living session holds, session-bound and transferable, oldest first."""
        self._refresh_session(session_token)
        return self._strings(self._listed_tokens(session_id=self._session_id(session_token)))

    def tokens_from_owner(self, ownership_key: str) -> list[str]:
        """Return the tokens of an owner, those that no session holds too, oldest first."""
        if self._mirror is not None:
            self.session_from_owner(ownership_key)  # what ended elsewhere is seen
        return self._strings(self._listed_tokens(owner=ownership_key)) if can_be_owner(ownership_key) else []

    # --- timeouts: integer milliseconds ---

    def set_general_session_timeout(self, timeout: int | None | FromDB) -> bool:
        """Set the timeout of sessions added from now on: milliseconds, ``None`` for never.

        ``FROM_DB`` reads it from the shared store (the application's DB under
        ``session_tokens:general_session_timeout``: decimal milliseconds or ``never``), again within 30 s of a change.
        """
        if timeout is FROM_DB:
            self._timeout_from_db, self._refreshed_at_s = True, None
            return True
        self._policy.max_age_ms = whole_ms("timeout", timeout)
        self._take_timeouts()
        self._timeout_from_db = False
        return True

    def share_general_session_timeout(self, timeout: int | None) -> bool:
        """Write the timeout that all tables with ``FROM_DB`` here read: milliseconds, ``None`` for never.

        Each process sees it within 30 seconds.
        """
        milliseconds = whole_ms("timeout", timeout)
        text = "never" if milliseconds is None else str(milliseconds)
        if self._mirror is not None:
            self._mirror.ask("set_key_value", TIMEOUT_KEY, text)
        else:
            self.store.run_now(settings.write_setting, SESSION_TIMEOUT_SETTING, text)
        self._refreshed_at_s = None
        return True

    def set_session_timeout(self, session_token: str, timeout: int | None) -> bool:
        """Restart a session's clock with its own timeout: milliseconds, ``None`` for never."""
        return self._session_command(named.set_session_timeout, session_token, whole_ms("timeout", timeout))

    def get_session_timeout(self, session_token: str) -> int | float | None:
        """Return a living session's timeout in milliseconds, ``math.inf`` for never; ``None`` for no session."""
        now, session, entry = self._find_session(session_token)
        if session is None or not session.alive(now, entry):
            return None
        timeout_ms = named.timeout_of(session)
        return math.inf if timeout_ms is None else timeout_ms

    def get_session_time_left(self, session_token: str) -> int | float | None:
        """Return the milliseconds until a session ends, ``math.inf`` for never; ``None`` for no living session."""
        now, session, entry = self._find_session(session_token)
        if session is None or not session.alive(now, entry):
            return None
        return math.inf if session.deadline == NEVER else session.deadline - now

    def set_general_token_timeout(self, timeout: int | None) -> bool:
        """Set the timeout of tokens added from now on: milliseconds, ``None`` for never."""
        self._policy.token_timeout_ms = whole_ms("timeout", timeout)
        self._take_timeouts()
        return True

    def set_token_timeout(self, t_token: str, timeout: int | None) -> bool:
        """Restart a token's clock with its own timeout: milliseconds, ``None`` for never."""
        change = tokens.TokenChange(timeout_ms=whole_ms("timeout", timeout))
        return self._token_command(tokens.change_token, t_token, change)

    def set_disownment_token_timeout(self, t_token: str, timeout: int | None) -> bool:
        """Set how long a transferable token may wait unassigned, counted from when it becomes so."""
        change = tokens.TokenChange(disownment_timeout_ms=whole_ms("timeout", timeout))
        try:
            return self._token_command(tokens.change_token, t_token, change)
        except InvalidInput:  # a token of another kind
            return False

    def get_token_timeout(self, t_token: str) -> int | float | None:
        """Return a living token's own timeout in milliseconds, ``math.inf`` for never; ``None`` for no token."""
        token = self._living_token(t_token)
        if token is None:
            return None
        return math.inf if token.timeout_ms is None else token.timeout_ms

    def get_token_time_left(self, t_token: str) -> int | float | None:
        """Return the milliseconds until a token ends; a session-bound one ends with its session at the latest."""
        self._refresh_token(t_token)
        now, stored, session, entry = self._find_token(t_token)
        token = None if stored is None else stored.as_of(now, session, entry)
        if token is None:
            return None
        deadline = token.seen_with(session).deadline
        return math.inf if deadline == NEVER else deadline - now

    # --- marks ---

    def set_token_sellable(self, t_token: str, amount: int | str | Decimal | float | None = None) -> bool:
        """List a transferable token, at an amount (negative: the giver pays); ``None`` keeps the earlier one."""
        price = price_of(Decimal(str(amount)) if isinstance(amount, float) else amount)
        return self._token_command(mark_token, t_token, True, price, None)

    def unset_token_sellable(self, t_token: str) -> bool:
        """Take a transferable token off the list."""
        return self._token_command(mark_token, t_token, False, None, None)

    def set_token_gift(self, t_token: str) -> bool:
        """Mark a transferable token as a gift."""
        return self._token_command(mark_token, t_token, None, None, True)

    def unset_token_gift(self, t_token: str) -> bool:
        """Take the gift mark away."""
        return self._token_command(mark_token, t_token, None, None, False)

    # --- lists: the application's strings, oldest first ---

    def list_tranferable_tokens(self, session_token: str) -> list[str]:
        """Return the transferable tokens that a session holds (the seed's spelling)."""
        self._refresh_session(session_token)
        session_id = self._session_id(session_token)
        return self._strings(self._listed_tokens(session_id=session_id, transferable=True))

    def list_transferable_tokens(self, session_token: str) -> list[str]:
        """Return the transferable tokens that a session holds."""
        return self.list_tranferable_tokens(session_token)

    def list_sellable_tokens(self) -> list[str]:
        """Return the tokens that are listed for a transfer."""
        return self._strings(self._listed_tokens(sellable=True))

    def map_sellable_tokens(self) -> dict[str, Decimal | None]:
        """Return the listed tokens with their prices; ``None`` for one without."""
        return {string: token.price for string, token in self._named(self._listed_tokens(sellable=True))}

    def list_gifted_tokens(self) -> list[str]:
        """Return the tokens that are marked as gifts."""
        return self._strings([token for token in self._listed_tokens(transferable=True) if token.gift])

    def list_unassigned_tokens(self) -> list[str]:
        """Return the tokens that wait for a claim or a transfer."""
        return self._strings(self._listed_tokens(unassigned=True))

    def list_detached_sessions(self) -> list[str]:
        """Return the sessions that are logged out and go on."""
        return [string for string, _ in self._named(self._listed_sessions(detached=True))]

    # --- housekeeping ---

    def decrement_timers(self) -> bool:
        """Clean up behind deadlines now; on a test clock move it 500 ms first."""
        if isinstance(self.store.clock, ManualClock):
            self.store.clock.advance(ms=TICK_MS)
        while self.sweep() > 0:
            pass
        return True

    def shutdown(self) -> bool:
        """Stop background work and let go of the store; calling it again does nothing."""
        self.close()
        return True
