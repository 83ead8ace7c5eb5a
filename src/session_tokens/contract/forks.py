"""What is done around a fork: in the child, of all threads only the one that forked goes on.

A lock that another thread held at that instant is never let go of in the child, and who waited in a queue never takes
what is handed to them. So what threads wait at begins anew there, and what a lock guards is left whole: where it cannot
be made anew, the fork waits for it.

Not every fork is told to Python: uWSGI forks its workers when the application is loaded, and says so only to who asks
it, unless it is started with ``py-call-uwsgi-fork-hooks``. It is asked here. Whoever takes a connection looks at the
process besides, for two processes on one connection read each other's answers.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from itertools import count
from typing import Generic, Protocol, TypeVar
from weakref import ref

T = TypeVar("T")

FORK_WAIT_S = 10.0
"""How long a fork waits for what is under way."""


class Inherited(Protocol):
    """What a child gets from the process that it was forked from."""

    def begin_anew(self) -> None:
        """Be as at first: no other thread is here that holds or waits for anything of it."""
        ...


class _Taken(threading.local):
    """The locks that a forking thread has taken."""

    def __init__(self) -> None:
        self.locks: list[threading.Lock] = []


class _Known(Generic[T]):
    """What is told of forks while it is there. Other threads add to it, and let go of it, while it is gone through."""

    def __init__(self) -> None:
        self._references: dict[int, ref[T]] = {}
        self._numbers = count()

    def add(self, thing: T) -> None:
        number, references = next(self._numbers), self._references
        references[number] = ref(thing, lambda _: references.pop(number, None))

    def present(self) -> list[T]:
        things = [reference() for reference in self._references.copy().values()]
        return [thing for thing in things if thing is not None]


_inherited: _Known[Inherited] = _Known()
_held: _Known[threading.Lock] = _Known()
_taken = _Taken()
_looking = threading.Lock()
_told: list[Callable[[], None]] = []
_process = os.getpid()


def anew_in_children(inherited: Inherited) -> None:
    """Have something begin anew in each child that is forked from now on."""
    _inherited.add(inherited)


class Owned:
    """Tells whether this process is the one whose something is, also after a fork that Python was not told of."""

    __slots__ = ("_process",)

    def __init__(self) -> None:
        self._process = os.getpid()

    def look(self, begin_anew: Callable[[], object]) -> None:
        """Have something begin anew, once, if it is another process's; whoever uses it does so afterwards."""
        if self._process != os.getpid():
            with _looking:
                if self._process != os.getpid():
                    begin_anew()
                    self._process = os.getpid()


def in_children(call: Callable[[], None]) -> None:
    """Have a function called in each child that is forked from now on."""
    _told.append(call)


def held_over_forks(lock: threading.Lock) -> threading.Lock:
    """Have each fork wait for a lock, so that it is free in the child and what it guards whole; return the lock."""
    _held.add(lock)
    return lock


def _take_locks() -> None:
    _taken.locks = [lock for lock in _held.present() if lock.acquire(timeout=FORK_WAIT_S)]


def _let_go() -> None:
    while _taken.locks:
        _taken.locks.pop().release()


def _begin_anew() -> None:
    global _looking, _process
    _process = os.getpid()
    _looking = threading.Lock()  # whoever looked at that instant is not here to let go of it
    _let_go()
    for inherited in _inherited.present():
        inherited.begin_anew()
    for call in _told:
        call()


def _begin_anew_in_worker() -> None:
    if os.getpid() != _process:  # else Python was told of the fork, or there was none
        _begin_anew()


def _ask_uwsgi() -> None:
    """Have uWSGI tell of its forks, beside what the application asks of it."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    try:
        import_module("uwsgidecorators").postfork(_begin_anew_in_worker)
    except Exception:  # it is not installed, or there is no master process, without which it refuses to be imported
        before: Callable[[], None] | None = getattr(uwsgi, "post_fork_hook", None)

        def both() -> None:
            _begin_anew_in_worker()
            if before is not None:
                before()

        uwsgi.post_fork_hook = both  # type: ignore[attr-defined]  # it is no module of Python's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_locks, after_in_parent=_let_go, after_in_child=_begin_anew)
    _ask_uwsgi()
