"""The store of an application that serves with threads: opened at its first use, in each process that serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .._sync.api import SessionTokens
from ..clock import Clock
from ..contract.forks import anew_in_children, in_children
from ..crypto.minting import Pepper
from ..errors import StoreUnavailable
from ..settings import Settings

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


in_children(_count_fork)


class OneAttempt:
    """The one thread that opens or closes a store; who waits for it while it fails is told so at once, and tries not.

    Else each of many threads would wait for the attempts of others, at a host that does not answer.
    """

    def __init__(self) -> None:
        self._failures, self._failure = 0, ""
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Be as at first: in a forked child nobody is at it."""
        self._changed = threading.Condition()
        self._is_busy = False

    def __enter__(self) -> None:
        with self._changed:
            failures = self._failures
            while self._is_busy:
                self._changed.wait()
                if self._failures != failures:
                    raise StoreUnavailable(self._failure)
            self._is_busy = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        with self._changed:
            self._is_busy = False
            if isinstance(error, StoreUnavailable):
                self._failures, self._failure = self._failures + 1, str(error)
            self._changed.notify_all()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Wait until nobody opens it, whatever comes of that."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy)
            self._is_busy = True
        try:
            yield
        finally:
            self.__exit__(None, None, None)


class ProcessStore:
    """The API that sessions are kept with; a process that was forked opens its own.

    Args:
        store: a URL, or a ``SessionTokens`` that is open already and never closed here; ``None`` where the URL is
            only known at the first use.
        settings, pepper, clock: as for ``SessionTokens.open``.

    Raises:
        TypeError: ``store`` is neither.
    """

    def __init__(
        self,
        store: str | SessionTokens | None,
        *,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
        clock: Clock | None = None,
    ) -> None:
        if store is not None and not isinstance(store, str | SessionTokens):
            raise TypeError("store is the URL of a store, such as 'sqlite:///sessions.db', or a SessionTokens")
        self._url = store if isinstance(store, str) else None
        self._given = store if isinstance(store, SessionTokens) else None
        self._opened: SessionTokens | None = None
        self._opened_after = 0
        self._opening = OneAttempt()
        self._settings, self._pepper, self._clock = settings, pepper, clock

    def tokens(self, url_of: Callable[[], str] | None = None) -> SessionTokens:
        """Return the API, opened if it is not yet.

        Args:
            url_of: returns the URL of the store where none was given.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if self._given is not None:
            return self._given
        opened = self._opened
        if opened is not None and self._opened_after == _forks:
            return opened
        with self._opening:
            if self._opened is None or self._opened_after != _forks:
                url = self._url or (url_of() if url_of is not None else "")
                self._opened = SessionTokens.open(url, settings=self._settings, pepper=self._pepper, clock=self._clock)
                self._opened_after = _forks
            return self._opened

    def use(self, tokens: SessionTokens | None) -> SessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        before, self._given = self._given, tokens
        return before

    def close(self) -> None:
        """Close the store if it was opened here; the next use opens it again."""
        with self._opening.closing():
            opened, self._opened = self._opened, None
            if opened is not None and self._opened_after == _forks:
                opened.close()
