r"""A memory store written through to the application's own six-method DB, for asyncio.

Theory of operation. The DB has no compare-and-set, so the guarantee is that of this process. A command is planned on
the memory store, its change set is written to the DB while the locks of its owners, sessions and tokens are held, and
only then committed in memory. If a DB call fails, those already made are undone (best effort, logged), the change is
dropped and ``AdapterError`` raised. What another process has written there by then is left: it may be why this one was
refused.

In the token DB a session's record is kept under ``\x1fst:s:`` + session, a token's under ``\x1fst:t:`` + token, both
as JSON; the token's own key holds its value verbatim. What another process ended is gone from there, which
``refresh_session`` and ``refresh_token`` see. Nothing is changed here before the DB has been asked about it: a sweep, a
log-in or the end of a session meets records that were named by nobody, and what another process made of them stands.
A session's string may be used again by a process that knows nothing of
the tokens under the former session: so a token's record says when its session was opened, and one that hung on a
former session is judged as after its end, and cleaned up, when it is met.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..contract.changes import Changes, owner_of_living
from ..contract.queries import DueRecord, Query, Snapshot
from ..contract.store import Store
from ..contract.transaction import Rule
from ..errors import AdapterError, CorruptRecord, StoreBusy
from ..records import BOUND, Session, Token
from ..records.session import is_another
from ..rules.expiry import left_behind
from ..rules.token_tables import adopt, forget_session
from ..settings import ATTEMPTS_MAX, Policy, Settings
from ..stores.common.kinds import SESSION, TOKEN
from ..stores.common.record_codec import session_of, token_of
from ..stores.memory.indexes import members
from ..stores.memory.store import MemoryStore
from ..tables.user_db import AsyncDBCalls, AsyncKeyLocks, TakingBack, Undo

T = TypeVar("T")

log = logging.getLogger("session_tokens.mirror")

SESSION_PREFIX = "\x1fst:s:"
TOKEN_PREFIX = "\x1fst:t:"
VALUE_COLUMN = TOKEN.names.index("value")
OPENED_AT = "session_created_at"
"""The field of a token's record that says which session of that string it belongs to."""


class AsyncMirrorStore(Store):
    """The tables of this process over the application's DB.

    Args:
        calls: the DB's methods.
        inner: where the records of this process are.
    """

    def __init__(self, calls: AsyncDBCalls, inner: MemoryStore) -> None:
        self.inner = inner
        self.clock = inner.clock
        self.keyring = inner.keyring
        self.listeners = inner.listeners
        self.unreadables = inner.unreadables
        self._calls = calls
        self._locks = AsyncKeyLocks()
        self._policy = Policy(Settings(), names=True, whole=True)

    async def read(self, queries: Sequence[Query]) -> Snapshot:
        """Return from the records of this process."""
        return self.inner.read_now(queries)

    async def due(self, now: int, limit: int) -> Sequence[DueRecord]:
        """Return what of this process should be swept."""
        return self.inner.due_now(now, limit)

    async def close(self) -> None:
        """Let go of the DB's loop; calling it again does nothing."""
        self.inner.close_now()
        await self._calls.close()

    async def run(self, rule: Rule[T], *args: object) -> T:
        """Plan, write through, commit; raises ``AdapterError`` with everything as it was if the DB fails."""
        return await self._run(set(), rule, *args)

    async def _run(self, heard: set[str], rule: Rule[T], *args: object) -> T:
        for _ in range(ATTEMPTS_MAX):
            result, changes, _ = self.inner.plan_now(rule, *args)
            if not changes:
                return result
            if await self._is_otherwise_there(changes, heard):
                continue
            keys = _keys_of(changes)
            async with self._locks.hold(keys):
                result, changes, now = self.inner.plan_now(rule, *args)
                if not _keys_of(changes) <= keys:
                    continue
                if await self._commit(changes, now, []):
                    return result
        raise StoreBusy("others changed the same records first, each time; try again later")

    async def open_session(
        self, rule: Rule[Any], id: str, owner: str, args_with: Callable[[str], tuple[object, ...]]
    ) -> str:
        """Run the opening of a session whose hash, and so its first token's value, the DB makes; return the hash.

        Args:
            rule: answers the session, and whether it is new.
            args_with: answers the rule's arguments for a hash.
        """
        keys, heard = {"s:" + id, "o:" + owner}, {"s:" + id}
        for _ in range(ATTEMPTS_MAX):
            _, changes, _ = self.inner.plan_now(rule, *args_with(""))
            if await self._is_otherwise_there(changes, heard):
                continue
            keys |= _keys_of(changes)
            async with self._locks.hold(keys):
                (session, is_new), changes, _ = self.inner.plan_now(rule, *args_with(""))
                if not _keys_of(changes) <= keys:
                    continue
                undo: Undo = []
                link: str = session.details.db_hash or ""
                try:
                    if is_new:
                        former = next((old for old, _ in changes.sessions if old is not None and old.id == id), None)
                        unheld = TakingBack(
                            "del_session_key_value", (id,), SESSION_PREFIX + id, (None, _session_text(former))
                        )
                        link = await self._do(undo, unheld, "set_session_key_value", id, owner)
                    _, changes, now = self.inner.plan_now(rule, *args_with(link))
                    if await self._commit(changes, now, undo):
                        return link
                except BaseException:
                    await self._calls.take_back(undo)
                    raise
        raise StoreBusy("others changed the same records first, each time; try again later")

    async def ask(self, method: str, *args: str) -> Any:
        """Ask the DB, outside of any command."""
        return await self._calls.call(method, *args)

    async def session_in_db(self, id: str) -> Session | None:
        """Return what the DB holds of a session.

        Raises:
            CorruptRecord: it is not what was written.
        """
        text = await self._calls.call("get_key_value", SESSION_PREFIX + id)
        return None if text is None else session_of(_row_of(text, SESSION.names), self.clock)

    async def token_in_db(self, id: str) -> Token | None:
        """Return what the DB holds of a token, its value from its own key.

        Raises:
            CorruptRecord: it is not what was written.
        """
        return (await self._token_there(id))[0]

    async def _token_there(self, id: str) -> tuple[Token | None, int | None]:
        """Return what the DB holds of a token, and when the session that it hangs on was opened, where it says so."""
        text = await self._calls.call("get_key_value", TOKEN_PREFIX + id)
        value = None if text is None else await self._calls.call("get_key_value", id)
        if text is None or value is None:
            return None, None
        row = _row_of(text, (*TOKEN.names, OPENED_AT))
        opened_at = row.pop()
        row[VALUE_COLUMN] = value
        return token_of(row), opened_at if isinstance(opened_at, int) else None

    async def refresh_session(self, id: str) -> None:
        """Take over what the DB says of a session; what it has no more is ended here, with its tokens."""
        await self._hear_of_session(id, set())

    async def refresh_owner(self, owner: str) -> None:
        """Take over what the DB says of the sessions of an owner that are known here."""
        for id in list(members(self.inner.owners, owner)):
            await self.refresh_session(id)

    async def refresh_token(self, id: str) -> None:
        """Take over what the DB says of a token and of the session that holds it."""
        await self._hear_of_token(id, set())

    async def _token_taken_over(self, id: str) -> Token | None:
        async with self._locks.hold(["t:" + id]):
            there, opened_at = await self._token_there(id)
            here = self.inner.tokens.get(id)
            held_by = None if there is None else there.session_id
            if there is not None and held_by is not None and (there != here or held_by not in self.inner.sessions):
                there = await self._without_stranger(there, held_by, opened_at)
            if there != here:
                self.inner.adopt_now(adopt, None, [(id, there)])
        return there

    async def _hear_of_session(self, id: str, heard: set[str]) -> None:
        """Take over what the DB says of a session.

        Args:
            heard: the names of what was asked about for the same command, and is not again.
        """
        if "s:" + id in heard:
            return
        heard.add("s:" + id)
        async with self._locks.hold(["s:" + id]):
            there = await self.session_in_db(id)
            here = self.inner.sessions.get(id)
            if there is not None and here is None and there.ended_at is not None:
                return
            if there is not None and (here is None or there.version > here.version or is_another(there, here)):
                self.inner.adopt_now(adopt, there, [])
        if there is None and here is not None:
            await self._run(heard, forget_session, self._policy, id)

    async def _hear_of_token(self, id: str, heard: set[str]) -> None:
        if "t:" + id in heard:
            return
        heard.add("t:" + id)
        there = await self._token_taken_over(id)
        if there is not None and there.session_id is not None:
            await self._hear_of_session(there.session_id, heard)
            if id not in self.inner.tokens:  # a former session of that string went from here, with all that it held
                await self._token_taken_over(id)

    async def _is_otherwise_there(self, changes: Changes, heard: set[str]) -> bool:
        """Ask the DB about what a change set would change, and take that over; return whether it is another thing.

        What the DB holds in the place of a record, and is none, is written over.
        """
        for session, _ in changes.sessions:
            if session is not None:
                with suppress(CorruptRecord):
                    await self._hear_of_session(session.id, heard)
        for token, _ in changes.tokens:
            if token is not None:
                with suppress(CorruptRecord):
                    await self._hear_of_token(token.id, heard)
        return any(
            old is not None and self.inner.sessions.get(old.id) is not old for old, _ in changes.sessions
        ) or any(old is not None and self.inner.tokens.get(old.id) is not old for old, _ in changes.tokens)

    async def _without_stranger(self, token: Token, session_id: str, opened_at: int | None) -> Token | None:
        """Return a token as it stands after its session's end, if that is gone or the string names another by now."""
        session, now = await self.session_in_db(session_id), self.clock.now()
        if session is None:  # when it was over, nobody knows any more: it is noticed now
            left = None if token.traits.kind is BOUND else left_behind(token, now, now)
        elif token.owner == session.owner and (opened_at is None or opened_at == session.created_at):
            return token
        else:  # the former session was over when the present one was opened, at the latest
            left = token.as_of(now, session.ended(session.created_at, "expired"), None)
        undo: Undo = []
        try:
            await self._put(undo, token.id, _value_of(token), _value_of(left))
            await self._put(undo, TOKEN_PREFIX + token.id, _token_text(token, opened_at), _token_text(left, None))
        except BaseException as error:
            await self._calls.take_back(undo)
            if not isinstance(error, AdapterError):
                raise
            log.warning("a token of a session that is over could not be cleaned up in the application's DB")
        return left

    async def _commit(self, changes: Changes, now: int, undo: Undo) -> bool:
        try:
            await self._write_through(changes, undo)
            if self.inner.commit_now(changes, now):
                return True
        except BaseException:
            await self._calls.take_back(undo)
            raise
        await self._calls.take_back(undo)
        return False

    async def _write_through(self, changes: Changes, undo: Undo) -> None:
        opened = {new.id: new.created_at for _, new in changes.sessions if new is not None and owner_of_living(new)}
        for old, new in changes.sessions:
            has_ended = owner_of_living(old) is not None and owner_of_living(new) is None
            # Where the string is used again at once, the DB knows already whose it is now.
            if old is not None and has_ended and old.id not in opened:
                # Its record is taken back before: where another process has written that, the string is another's.
                living = (_session_text(old),)
                back = TakingBack("set_session_key_value", (old.id, old.owner), SESSION_PREFIX + old.id, living)
                await self._do(undo, back, "del_session_key_value", old.id)
            record = new if new is not None else old
            if record is not None:
                await self._put(undo, SESSION_PREFIX + record.id, _session_text(old), _session_text(new))
        for former, token in changes.tokens:
            id = token.id if token is not None else former.id if former is not None else ""
            texts = _token_text(former, self._opened_at(former, {})), _token_text(token, self._opened_at(token, opened))
            if former is not None:
                await self._put(undo, id, _value_of(former), _value_of(token))
                await self._put(undo, TOKEN_PREFIX + id, *texts)
            elif token is not None:
                await self._put(undo, TOKEN_PREFIX + id, *texts)
                # Two processes may add the same value, and are told apart by the record.
                back = TakingBack("del_key_value", (id,), TOKEN_PREFIX + id, texts[1:])
                await self._do(undo, back, "set_key_value", id, token.text)

    def _opened_at(self, token: Token | None, opened: dict[str, int]) -> int | None:
        """Return when the session that a token hangs on was opened: one of a change set, else one that is known."""
        if token is None or token.session_id is None:
            return None
        session = self.inner.sessions.get(token.session_id)
        return opened.get(token.session_id, None if session is None else session.created_at)

    async def _put(self, undo: Undo, key: str, old: str | None, new: str | None) -> None:
        """Change what one key of the token DB holds; ``None`` for nothing."""
        if old == new:
            return
        method, args = ("del_key_value", (key,)) if old is None else ("set_key_value", (key, old))
        back = TakingBack(method, args, key, (new,))
        if new is None:
            await self._do(undo, back, "del_key_value", key)
        else:
            await self._do(undo, back, "set_key_value", key, new)

    async def _do(self, undo: Undo, back: TakingBack, method: str, *args: str) -> Any:
        undo.append(back)  # before the call: a call that failed may have been done
        return await self._calls.call(method, *args)


def _keys_of(changes: Changes) -> set[str]:
    """Return the names of the locks that a change set needs."""
    keys: set[str] = set()
    for session_pair in changes.sessions:
        for session in session_pair:
            if session is not None:
                keys |= {"s:" + session.id, "o:" + session.owner}
    for token_pair in changes.tokens:
        for token in token_pair:
            if token is not None:
                keys.add("t:" + token.id)
                if token.owner is not None:
                    keys.add("o:" + token.owner)
    return keys


def _session_text(session: Session | None) -> str | None:
    return None if session is None else _text_of(SESSION.names, SESSION.row(session))


def _token_text(token: Token | None, opened_at: int | None) -> str | None:
    if token is None:
        return None
    row = [*TOKEN.row(token), opened_at]
    row[VALUE_COLUMN] = None  # under the token's own key
    return _text_of((*TOKEN.names, OPENED_AT), row)


def _value_of(token: Token | None) -> str | None:
    return None if token is None else token.text


def _text_of(columns: Sequence[str], row: Sequence[Any]) -> str:
    kept = {column: value for column, value in zip(columns, row, strict=True) if value is not None}
    return json.dumps({"session_tokens": 1, **kept}, ensure_ascii=False, separators=(",", ":"))


def _row_of(text: str, columns: Sequence[str]) -> list[Any]:
    try:
        kept = json.loads(text)
        if not isinstance(kept, dict) or kept.pop("session_tokens") != 1 or not kept.keys() <= set(columns):
            raise ValueError("other columns")
    except (ValueError, KeyError, RecursionError):
        raise CorruptRecord("the application's DB holds something else under a key of session-tokens") from None
    return [kept.get(column) for column in columns]
