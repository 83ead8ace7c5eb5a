"""Answers introspections at once whose request begins byte for byte as one did that was answered before.

Theory of operation. A program that introspects sends the same head each time: address, host, service key. The first
request goes the whole way: framing, headers, host, caller. Where that ended well, its head is kept with what it meant.
All that a later one with these very bytes can change is in the store, which is asked for the key and the secret in one
look, and judged by the same functions. Whatever is not plain goes the whole way, as if this were not there: a form of
more than a token, a key that ended or is limited, a use to be written down, a record that cannot be read.

On stores that answer without waiting (memory, SQLite) the request needs no task and no second turn of the loop. On the
others it needs a task, and no more than that.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get, Query, Snapshot
from ..contract.store import BlockingStore
from ..crypto.minting import TOKEN_SECRET
from ..errors import UNREADABLE, SessionTokensError
from ..records import ServiceKey
from ..service_keys.roles import may
from .callers import Callers
from .exchange import COMMON, JSON_TYPE, Exchange, new_request_id
from .introspected import told_of_session, told_of_token
from .metrics import Metrics
from .verifying import is_former_secret, is_loan, session_in, token_in, use_is_due, verification

log = logging.getLogger("session_tokens.service")

HEADS_MAX: Final = 256
HEAD_BYTES_MAX: Final = 2_048
"""Of a head that is kept, so that all of them take half a megabyte at most."""
RAW_HEAD: Final = "session_tokens.head"
"""Where in a scope the server leaves the head of a request as it came, if it can answer at once by it."""
FAILED: Final = "session_tokens.failed"
"""Where in a scope stands why the store could not be asked, for a request that goes the whole way after that."""
INTROSPECT: Final = "/introspect"

_FORM = re.compile(rb"token=([A-Za-z0-9_]+)")
_BEGINNING = b"".join(b"%b: %b\r\n" % header for header in COMMON)
_END = b"content-type: %b\r\n\r\n" % JSON_TYPE


class _Known(NamedTuple):
    """What a head meant.

    Attributes:
        length: of the body.
        id: of the service key, where the caller gave it.
        key: the query for it.
    """

    length: int
    id: str | None
    key: Get


class _Asked(NamedTuple):
    """What a request asks.

    Attributes:
        known: what its head means.
        secret: the token in question.
        queries: what verifying it asks the store.
        since_s: when it began, on ``time.perf_counter``.
    """

    known: _Known
    secret: str
    queries: Sequence[Query]
    since_s: float


class QuickIntrospection:
    """Introspection by heads that are known.

    Args:
        tokens: the library on its store.
        callers: who knows what a caller presents.
        metrics: what counts the answers.

    Attributes:
        waits: whether the store does not answer at once: then it is ``later`` that answers, else ``answer``.
    """

    def __init__(self, tokens: AsyncSessionTokens, callers: Callers, metrics: Metrics) -> None:
        self._store = tokens.store
        self.waits = not isinstance(tokens.store, BlockingStore)
        self._callers = callers
        self._metrics = metrics
        self._heads: dict[bytes, _Known] = {}

    def learn(self, exchange: Exchange, key: ServiceKey) -> None:
        """Keep the head of a request that is being answered, if the next one like it can be answered by it."""
        head: bytes | None = exchange.scope.get(RAW_HEAD)
        length = exchange.fields.get(b"content-length")
        if head is None or length is None or not _is_plain(key) or head in self._heads:
            return
        presented = self._callers.presented(exchange)
        if presented is None or len(head) > HEAD_BYTES_MAX:
            return
        id, (first, *others) = presented
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        self._heads[head] = _Known(int(length), id, Get("key_lookup", first, tuple(others)))

    def answer(self, data: bytes) -> bytes | None:
        """Return the answer to a request, from its first common header on; ``None`` where it goes the whole way.

        Args:
            data: what came over a connection between two requests.
        """
        asked = self._asked(data)
        if asked is None:
            return None
        assert isinstance(self._store, BlockingStore), "it waits"
        try:
            snapshot = self._store.look_now((asked.known.key, *asked.queries))
        except SessionTokensError:
            return None
        return self._answer(asked, snapshot)

    def later(self, data: bytes) -> Coroutine[Any, Any, bytes | None] | None:
        """Return what gives the answer, to be awaited; ``None`` where the request goes the whole way from the start.

        It raises ``StoreUnavailable`` where the store cannot be asked.
        """
        asked = self._asked(data)
        return None if asked is None else self._answer_later(asked)

    async def _answer_later(self, asked: _Asked) -> bytes | None:
        try:
            snapshot = await self._store.look((asked.known.key, *asked.queries))
        except UNREADABLE:
            return None
        return self._answer(asked, snapshot)

    def _asked(self, data: bytes) -> _Asked | None:
        head, _, body = data.partition(b"\r\n\r\n")
        known = self._heads.get(head)
        if known is None or len(body) != known.length or log.isEnabledFor(logging.DEBUG):
            return None
        form = _FORM.fullmatch(body)
        if form is None:
            return None
        secret = form[1].decode("ascii")
        queries = verification(self._store.keyring, secret)
        return _Asked(known, secret, queries, time.perf_counter()) if queries else None

    def _answer(self, asked: _Asked, snapshot: Snapshot) -> bytes | None:
        known = asked.known
        key: ServiceKey | None = snapshot.found[0].value
        if key is None or not key.alive(snapshot.now) or not _is_plain(key) or known.id not in (None, key.id):
            return None
        told = _told(asked, Snapshot(snapshot.now, snapshot.found[1:]))
        if told is None:
            return None
        self._callers.uses.saw(key.id)
        self._metrics.counted(INTROSPECT, "POST", 200, time.perf_counter() - asked.since_s)
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n%b%b" % (
            _BEGINNING, new_request_id().encode("ascii"), len(told), _END, told
        )  # fmt: skip


def _told(asked: _Asked, snapshot: Snapshot) -> bytes | None:
    """Return the body of an answer to a key that may ask; ``None`` where more is to be read, or written."""
    if asked.secret.startswith(TOKEN_SECRET):
        return None if is_loan(snapshot) else told_of_token(token_in(snapshot))
    if use_is_due(asked.queries, snapshot) or is_former_secret(snapshot):
        return None
    return told_of_session(session_in(snapshot))


def _is_plain(key: ServiceKey) -> bool:
    """Whether a living key may introspect whatever it asks about, from everywhere and as often as it likes."""
    return key.networks is None and key.rate is None and not key.is_bound and may(key.role, "introspect")
