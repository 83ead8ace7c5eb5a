"""What is done around a fork: in the child, of all threads only the one that forked goes on.

A lock that another thread held at that instant is never let go of in the child, and who waited in a queue never takes
what is handed to them. So what threads wait at begins anew there, and what a lock guards is left whole: where it cannot
be made anew, the fork waits for it.
"""

from __future__ import annotations

import os
import threading
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


def anew_in_children(inherited: Inherited) -> None:
    """Have something begin anew in each child that is forked from now on."""
    _inherited.add(inherited)


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
    _let_go()
    for inherited in _inherited.present():
        inherited.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_locks, after_in_parent=_let_go, after_in_child=_begin_anew)
