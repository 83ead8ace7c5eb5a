"""Calls to the application's own DB: sync or async methods, contained: errors, hangs and nonsense become one error.

The DB has six methods: ``set_session_key_value(session, owner) -> hash``, ``del_session_key_value(session) -> bool``,
``set_key_value(token, value)``, ``get_key_value(token) -> str or False or None``, ``del_key_value(token)`` and
``check_hash(hash, owner) -> bool``. Each may be ``async``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

from ..contract.forks import anew_in_children
from ..contract.threads import started
from ..errors import AdapterError, InvalidInput, StoreUnavailable


class TakingBack(NamedTuple):
    """What takes a call back, unless another process has written there meanwhile.

    Attributes:
        method, args: the call.
        key: of the token DB, which tells.
        ours: what stands under it as long as nobody else has written; ``None`` for nothing.
    """

    method: str
    args: tuple[str, ...]
    key: str
    ours: tuple[str | None, ...]


Undo = list[TakingBack]
"""What takes calls back, the first one's first."""

log = logging.getLogger("session_tokens.mirror")

_acting_for: ContextVar[asyncio.Task[Any] | threading.Thread | None] = ContextVar("acting_for", default=None)
"""The task or thread that holds the locks, where another one makes its calls."""

SESSION_METHODS = ("set_session_key_value", "del_session_key_value", "check_hash")
NOT_TAKEN_BACK = "a change could not be taken back from the application's DB (%s)"
TOKEN_METHODS = ("set_key_value", "get_key_value", "del_key_value")


def holders_of(session_db: object, token_db: object) -> dict[str, object]:
    """Return which DB holds each of the six methods.

    Raises:
        InvalidInput: a method is missing; the message names it.
    """
    holders: dict[str, object] = {}
    for db, names in ((session_db, SESSION_METHODS), (token_db, TOKEN_METHODS)):
        for name in names:
            if not callable(getattr(db, name, None)):
                raise InvalidInput(f"the DB ({type(db).__name__}) has no method {name}; docs/seed.md lists the six")
            holders[name] = db
    return holders


def checked_answer(method: str, answer: object) -> Any:
    """Return what a method answered, if it is what its contract allows.

    Raises:
        AdapterError: it is not.
    """
    if method == "set_session_key_value":
        good = isinstance(answer, str) and bool(answer)
    elif method in ("del_session_key_value", "check_hash"):
        good = isinstance(answer, bool)
    elif method == "get_key_value":
        if answer is None or answer is False:
            return None
        good = isinstance(answer, str)
    else:
        return None
    if not good:
        raise AdapterError(f"the application's DB answered {method} with a {type(answer).__name__}", method=method)
    return answer


def _failed(method: str, error: BaseException, timeout_s: float | None) -> AdapterError:
    if isinstance(error, TimeoutError | FutureTimeout):
        return AdapterError(
            f"the application's DB did not answer {method} within {timeout_s} s; see db_timeout", method=method
        )
    if isinstance(error, RuntimeError) and "loop" in str(error):
        return AdapterError(
            f"the application's DB failed in {method}: it is bound to a running event loop; use AsyncTokenTables",
            method=method,
        )
    return AdapterError(f"the application's DB failed in {method} ({type(error).__name__})", method=method)


def _in_daemon_thread(method: Callable[..., Any], args: tuple[str, ...]) -> Future[Any]:
    """Call a sync method on a thread of its own that cannot keep the interpreter from exiting."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # it is under way, and who gives it up ends nothing
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(method, *args))
        except BaseException as error:  # it is handed to the caller
            future.set_exception(error)

    started("db call", work)
    return future


class SyncDBCalls:
    """Calls from threads; ``async`` methods run on one private loop thread.

    Args:
        timeout_s: how long a call may take; ``None``: as long as it likes, sync methods on the caller's thread.
    """

    def __init__(self, session_db: object, token_db: object, timeout_s: float | None) -> None:
        self._holders = holders_of(session_db, token_db)
        self._timeout_s = timeout_s
        self._closed = False
        self._inherited: list[asyncio.AbstractEventLoop] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a loop of its own in the child of a fork, where the thread of the former one is not."""
        if self._loop is not None:
            self._inherited.append(self._loop)  # not closed: what it watches is the parent's
        self._loop = None
        self._thread: threading.Thread | None = None
        self._calling = 0
        self._starting = threading.Lock()

    def call(self, method: str, *args: str) -> Any:
        """Call a method and return its checked answer.

        Raises:
            AdapterError: it failed, hung or answered nonsense.
        """
        function: Callable[..., Any] = getattr(self._holders[method], method)
        before = _acting_for.set(_acting_for.get() or threading.current_thread())
        try:
            if inspect.iscoroutinefunction(function):
                answer = self._run(function(*args))
            elif self._timeout_s is None:
                answer = function(*args)
            else:
                answer = _in_daemon_thread(function, args).result(self._timeout_s)
            if inspect.isawaitable(answer):
                answer = self._run(_awaited(answer))
        except AdapterError:
            raise
        except Exception as error:
            raise _failed(method, error, self._timeout_s) from error
        finally:
            _acting_for.reset(before)
        return checked_answer(method, answer)

    def take_back(self, undo: Undo) -> None:
        """Make the calls that undo others, the last first, and forget them; one that fails is logged."""
        while undo:
            each = undo.pop()
            try:
                if self.call("get_key_value", each.key) in each.ours:
                    self.call(each.method, *each.args)
            except AdapterError:
                log.warning(NOT_TAKEN_BACK, each.method)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                try:
                    self._thread = started("db loop", _run_and_close, loop)
                except StoreUnavailable:
                    loop.close()
                    coroutine.close()
                    raise
                self._loop = loop
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._calling += 1
        try:
            return future.result(self._timeout_s)
        except FutureTimeout:
            future.cancel()
            raise
        finally:
            with self._starting:
                self._calling -= 1
                self._stop_if_over()

    def close(self) -> None:
        """Stop the private loop once no call is under way, whose caller would wait for ever; twice is the same."""
        with self._starting:
            self._closed = True
            self._stop_if_over()

    def _stop_if_over(self) -> None:
        if not self._closed or self._calling or self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=self._timeout_s or 5)
        self._loop = None


def _run_and_close(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class AsyncDBCalls:
    """Calls from asyncio; sync methods run on threads so that the loop goes on.

    Args:
        timeout_s: how long a call may take; ``None``: as long as it likes, sync methods on the loop's thread.
    """

    def __init__(self, session_db: object, token_db: object, timeout_s: float | None) -> None:
        self._holders = holders_of(session_db, token_db)
        self._timeout_s = timeout_s

    async def call(self, method: str, *args: str) -> Any:
        """Call a method and return its checked answer.

        Raises:
            AdapterError: it failed, hung or answered nonsense.
        """
        function: Callable[..., Any] = getattr(self._holders[method], method)
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                if self._timeout_s is None or inspect.iscoroutinefunction(function):
                    answer = function(*args)
                else:
                    answer = await _ended(_in_daemon_thread(function, args), limit)
                if inspect.isawaitable(answer):
                    answer = await answer
        except AdapterError:
            raise
        except Exception as error:
            raise _failed(method, error, self._timeout_s) from error
        return checked_answer(method, answer)

    async def take_back(self, undo: Undo) -> None:
        """Make the calls that undo others, the last first, to the end, and forget them; one that fails is logged.

        Who waits for it may be cancelled meanwhile, once or at each step as anyio does, and hears of it afterwards.
        """
        context = copy_context()
        context.run(_acting_for.set, asyncio.current_task())
        taking = asyncio.get_running_loop().create_task(self._taken_back(undo), context=context)
        cancelled: asyncio.CancelledError | None = None
        while not taking.done():
            try:
                await asyncio.shield(taking)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _taken_back(self, undo: Undo) -> None:
        while undo:
            each = undo.pop()
            try:
                if await self.call("get_key_value", each.key) in each.ours:
                    await self.call(each.method, *each.args)
            except AdapterError:
                log.warning(NOT_TAKEN_BACK, each.method)

    async def close(self) -> None:
        """Nothing to let go of."""


async def _ended(work: Future[Any], limit: asyncio.Timeout) -> Any:
    """Return what a thread answers, which nobody can stop: who is cancelled meanwhile waits for its end, or the limit.

    Else what it writes would land behind what takes it back.
    """
    ended = asyncio.wrap_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            if limit.expired():
                ended.cancel()
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return ended.result()


async def _awaited(answer: Any) -> Any:
    return await answer


def _insist_it_is_no_callback(holders: dict[str, Any], keys: Iterable[str], who: Any) -> None:
    """Refuse to wait for what the very caller holds: a DB that asks the tables for what they have it write.

    Raises:
        AdapterError: it does.
    """
    if who is not None and any(holders.get(key) is who for key in keys):
        raise AdapterError(
            "the application's DB asked the tables, in one of its methods, for what they had it write; "
            "let it answer first, or ask from elsewhere"
        )


class SyncKeyLocks:
    """A lock for each owner, session and token that a command writes, taken in one order so that none waits forever."""

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Let nobody hold any, or wait: in the child of a fork, those who did are not there."""
        self._locks: dict[str, threading.Lock] = {}
        self._holders: dict[str, Any] = {}
        self._waiting: Counter[str] = Counter()
        self._table = threading.Lock()

    @contextlib.contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold the locks of all keys.

        Raises:
            AdapterError: this thread holds one already, or the one for which it acts.
        """
        ordered, me = sorted(set(keys)), _acting_for.get() or threading.current_thread()
        _insist_it_is_no_callback(self._holders, ordered, me)
        with self._table:
            locks = [self._locks.setdefault(key, threading.Lock()) for key in ordered]
            self._waiting.update(ordered)
        held = []
        try:
            for key, lock in zip(ordered, locks, strict=True):
                lock.acquire()
                held.append(lock)
                self._holders[key] = me
            yield
        finally:
            for key, lock in zip(ordered, held, strict=False):  # those that were acquired come first
                del self._holders[key]
                lock.release()
            with self._table:
                for key in ordered:
                    self._waiting[key] -= 1
                    if not self._waiting[key]:
                        del self._waiting[key], self._locks[key]


class AsyncKeyLocks:
    """The same for tasks of one loop."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._holders: dict[str, Any] = {}
        self._waiting: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Hold the locks of all keys.

        Raises:
            AdapterError: as ``SyncKeyLocks``.
        """
        ordered, me = sorted(set(keys)), _acting_for.get() or asyncio.current_task()
        _insist_it_is_no_callback(self._holders, ordered, me)
        locks = [self._locks.setdefault(key, asyncio.Lock()) for key in ordered]
        self._waiting.update(ordered)
        held = []
        try:
            for key, lock in zip(ordered, locks, strict=True):
                await lock.acquire()
                held.append(lock)
                self._holders[key] = me
            yield
        finally:
            for key, lock in zip(ordered, held, strict=False):  # those that were acquired come first
                del self._holders[key]
                lock.release()
            for key in ordered:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key], self._locks[key]
