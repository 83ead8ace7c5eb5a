"""Answers introspections at once whose request begins byte for byte as one did that was answered before.

Theory of operation. A program that introspects sends the same head each time: address, host, service key. The first
request goes the whole way: framing, headers, host, caller. Where that ended well, its head is kept with what it meant.
All that a later one with these very bytes can change is in the store, which is asked for the key and the secret in one
look, and judged by the same functions. Whatever is not plain goes the whole way, as if this were not there: a form of
more than a token, a key that ended or is limited, a use to be written down, a record that cannot be read.

On stores that answer without waiting (memory, SQLite) the request needs no task and no second turn of the loop. On the
others it needs a task, and no more than that.

What was answered to a request is kept under the digest of its bytes, with the records that it was made of and the
instant until which these are told of in the same way. While the store answers with the very same records it is given
again. A store that can tell that nobody has committed since (SQLite) is not even asked for them; and where the loop
numbers its turns that is asked once a turn: whatever is read in a turn was on its way when the turn began, so that what
held after that held while the request was under way.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from operator import is_
from typing import Any, Final, NamedTuple

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get, Query, Snapshot, TokenResult
from ..contract.store import BlockingStore
from ..crypto.secret_form import TOKEN_SECRET
from ..errors import UNREADABLE, SessionTokensError
from ..records import ServiceKey
from ..rules.expiry import same_until, token_same_until
from ..service_keys.roles import may
from .callers import Callers
from .exchange import COMMON, JSON_TYPE, Exchange, new_request_id
from .metrics import Metrics
from .turns import Turns
from .verifying import (
    INACTIVE,
    is_former_secret,
    is_loan,
    session_in,
    token_in,
    told_of_session,
    told_of_token,
    use_is_due,
    verification,
)

log = logging.getLogger("session_tokens.service")

HEADS_MAX: Final = 256
HEAD_BYTES_MAX: Final = 2_048
"""Of a head that is kept, so that all of them take half a megabyte at most."""
REQUEST_BYTES_MAX: Final = HEAD_BYTES_MAX + 256
"""Of a request that may be answered so: its form is a secret."""
ANSWERS_MAX: Final = 16_384
"""Answers that are kept, so that all of them take some 16 MB at most."""
RAW_HEAD: Final = "session_tokens.head"
"""Where in a scope the server leaves the head of a request as it came, if it can answer at once by it."""
FAILED: Final = "session_tokens.failed"
"""Where in a scope stands why the store could not be asked, for a request that goes the whole way after that."""
INTROSPECT: Final = "/introspect"

_LINE = b"POST %b HTTP/1.1\r\n" % INTROSPECT.encode("ascii")
_FORM = re.compile(rb"token=([A-Za-z0-9_]+)")
_BEGINNING = b"".join(b"%b: %b\r\n" % header for header in COMMON) + b"x-request-id: "
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
        name: the digest of its bytes.
        known: what its head means.
        of_token: whether the secret in question is that of a token.
        queries: what it asks the store: for the key, and for the secret.
    """

    name: bytes
    known: _Known
    of_token: bool
    queries: Sequence[Query]


class _Answer:
    """An answer that was given.

    Attributes:
        asked: by what.
        key, value: the records that it was made of.
        until: until when (milliseconds) the same records are told of in the same way.
        state: of the store in which they were found, ``None`` where it cannot tell.
        body: the answer behind its number.
    """

    __slots__ = ("asked", "body", "key", "state", "until", "value")

    def __init__(self, asked: _Asked, key: ServiceKey, value: Sequence[Any], until: int, body: bytes) -> None:
        self.asked = asked
        self.key = key
        self.value = value
        self.until = until
        self.state: object = None
        self.body = body

    def is_of(self, key: ServiceKey | None, value: Sequence[Any]) -> bool:
        """Whether it was made of these very records."""
        return (self.key is key or self.key == key) and (self.value is value or all(map(is_, self.value, value)))


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
        self._answers: dict[bytes, _Answer] = {}
        self._turn = -1
        self._present: tuple[int, object] = 0, None

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
        since_s = time.perf_counter()
        if len(data) > REQUEST_BYTES_MAX or not data.startswith(_LINE) or log.isEnabledFor(logging.DEBUG):
            return None
        name = sha256(data).digest()
        given = self._answers.get(name)
        try:
            now, state = self._store_now()
            if given is None:
                asked = self._asked(name, data)
                if asked is None:
                    return None
            elif given.state is state is not None and now < given.until:
                return self._counted(given.key.id, given.body, since_s)
            else:
                asked = given.asked
            assert isinstance(self._store, BlockingStore), "it waits"
            snapshot = self._store.look_now(asked.queries)
        except SessionTokensError:
            return None
        answer = self._judged(asked, given, snapshot)
        if answer is None:
            return None
        answer.state = state
        return self._counted(answer.key.id, answer.body, since_s)

    def later(self, data: bytes) -> Coroutine[Any, Any, bytes | None] | None:
        """Return what gives the answer, to be awaited; ``None`` where the request goes the whole way from the start.

        It raises ``StoreUnavailable`` where the store cannot be asked.
        """
        since_s = time.perf_counter()
        if len(data) > REQUEST_BYTES_MAX or not data.startswith(_LINE) or log.isEnabledFor(logging.DEBUG):
            return None
        name = sha256(data).digest()
        given = self._answers.get(name)
        asked = self._asked(name, data) if given is None else given.asked
        return None if asked is None else self._answer_later(asked, given, since_s)

    async def _answer_later(self, asked: _Asked, given: _Answer | None, since_s: float) -> bytes | None:
        try:
            snapshot = await self._store.look(asked.queries)
        except UNREADABLE:
            return None
        answer = self._judged(asked, given, snapshot)
        return None if answer is None else self._counted(answer.key.id, answer.body, since_s)

    def _store_now(self) -> tuple[int, object]:
        """Return now and the state of the store, asked for once in a turn of the loop where turns are numbered."""
        turns: Turns | None = getattr(asyncio.get_running_loop(), "turns", None)
        if turns is not None and turns.number == self._turn:
            return self._present
        assert isinstance(self._store, BlockingStore), "it waits"
        self._present = self._store.state_now()
        if turns is not None:
            self._turn = turns.number
        return self._present

    def _asked(self, name: bytes, data: bytes) -> _Asked | None:
        head, _, body = data.partition(b"\r\n\r\n")
        known = self._heads.get(head)
        if known is None or len(body) != known.length:
            return None
        form = _FORM.fullmatch(body)
        if form is None:
            return None
        secret = form[1].decode("ascii")
        queries = verification(self._store.keyring, secret)
        return _Asked(name, known, secret.startswith(TOKEN_SECRET), (known.key, *queries)) if queries else None

    def _judged(self, asked: _Asked, given: _Answer | None, snapshot: Snapshot) -> _Answer | None:
        """Return the answer by what the store found, as it was given where that is the same as then."""
        key: ServiceKey | None = snapshot.found[0].value
        value = snapshot.found[1].value
        if given is not None and snapshot.now < given.until and given.is_of(key, value):
            return given
        known = asked.known
        if key is None or not key.alive(snapshot.now) or not _is_plain(key) or known.id not in (None, key.id):
            return None
        told = _told(asked, Snapshot(snapshot.now, snapshot.found[1:]))
        if told is None:
            return None
        body, until = told
        if key.expires_at is not None:
            until = min(until, key.expires_at)
        answer = _Answer(asked, key, value, until, _sent(body))
        if until > snapshot.now:
            if len(self._answers) >= ANSWERS_MAX:
                self._answers.clear()
            self._answers[asked.name] = answer
        return answer

    def _counted(self, key_id: str, body: bytes, since_s: float) -> bytes:
        self._callers.uses.saw(key_id)
        self._metrics.counted(INTROSPECT, "POST", 200, time.perf_counter() - since_s)
        return b"".join((_BEGINNING, new_request_id().encode("ascii"), body))


def _sent(told: bytes) -> bytes:
    return b"\r\ncontent-length: %d\r\n%b%b" % (len(told), _END, told)


def _told(asked: _Asked, snapshot: Snapshot) -> tuple[bytes, int] | None:
    """Return the body of an answer to a key that may ask, and until when it stays the same (0: not to be kept).

    ``None`` where more is to be read, or written.
    """
    if asked.of_token:
        if is_loan(snapshot):
            return None
        body = told_of_token(token_in(snapshot))
        value: TokenResult = snapshot.found[0].value
        token, session, _ = value.followed()
        return body, 0 if body is INACTIVE or token is None else token_same_until(token, session)
    if use_is_due(asked.queries[1:], snapshot) or is_former_secret(snapshot):
        return None
    verified = session_in(snapshot)
    body = told_of_session(verified)
    return body, 0 if body is INACTIVE or verified is None else same_until(verified, snapshot.now)


def _is_plain(key: ServiceKey) -> bool:
    """Whether a living key may introspect whatever it asks about, from everywhere and as often as it likes."""
    return key.networks is None and key.rate is None and not key.is_bound and may(key.role, "introspect")
