"""Answers introspections at once whose request begins byte for byte as one did that was answered before.

Theory of operation. A program that introspects sends the same head each time: address, host, service key. The first
request goes the whole way: framing, headers, host, caller. Where that ended well, its head is kept with what it meant.
All that a later one with these very bytes can change is in the store, which is asked for the key and the secret in one
look, and judged by the same functions. Whatever is not plain goes the whole way, as if this were not there: a form of
more than a token, a key that ended or is limited, a use to be written down, a record that cannot be read.

It is for stores that answer without waiting (memory, SQLite): there the request needs no task, no messages between
server and application, and no second turn of the loop.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final, NamedTuple

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get
from ..contract.store import BlockingStore
from ..crypto.minting import TOKEN_SECRET
from ..errors import SessionTokensError
from ..records import ServiceKey
from ..service_keys.roles import may
from .callers import Callers
from .exchange import COMMON, JSON_TYPE, Exchange, new_request_id
from .introspected import told_of_session, told_of_token
from .metrics import Metrics
from .verifying import is_loan, session_in, token_in, use_is_due, verification

log = logging.getLogger("session_tokens.service")

HEADS_MAX: Final = 256
HEAD_BYTES_MAX: Final = 2_048
"""Of a head that is kept, so that all of them take half a megabyte at most."""
RAW_HEAD: Final = "session_tokens.head"
"""Where in a scope the server leaves the head of a request as it came, if it can answer at once by it."""
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


class QuickIntrospection:
    """Introspection by heads that are known.

    Args:
        tokens: the library on its store.
        callers: who knows what a caller presents.
        metrics: what counts the answers.
    """

    def __init__(self, tokens: AsyncSessionTokens, callers: Callers, metrics: Metrics) -> None:
        store = tokens.store
        self._store = store if isinstance(store, BlockingStore) else None
        self._callers = callers
        self._metrics = metrics
        self._heads: dict[bytes, _Known] = {}

    def learn(self, exchange: Exchange, key: ServiceKey) -> None:
        """Keep the head of a request that is being answered, if the next one like it can be answered at once."""
        head: bytes | None = exchange.scope.get(RAW_HEAD)
        length = exchange.fields.get(b"content-length")
        if self._store is None or head is None or length is None or not _is_plain(key) or head in self._heads:
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
        head, _, body = data.partition(b"\r\n\r\n")
        known = self._heads.get(head)
        if known is None or len(body) != known.length or log.isEnabledFor(logging.DEBUG):
            return None
        form = _FORM.fullmatch(body)
        if form is None:
            return None
        began_s = time.perf_counter()
        told = self._told(known, form[1].decode("ascii"))
        if told is None:
            return None
        self._metrics.counted(INTROSPECT, "POST", 200, time.perf_counter() - began_s)
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n%b%b" % (
            _BEGINNING, new_request_id().encode("ascii"), len(told), _END, told
        )  # fmt: skip

    def _told(self, known: _Known, secret: str) -> bytes | None:
        """Return the body of the answer."""
        store = self._store
        assert store is not None, "no head is learnt without one"
        queries = verification(store.keyring, secret)
        if not queries:
            return None
        try:
            snapshot = store.look_now((known.key, *queries))
        except SessionTokensError:
            return None
        key: ServiceKey | None = snapshot.found[0].value
        if key is None or not key.alive(snapshot.now) or not _is_plain(key) or known.id not in (None, key.id):
            return None
        snapshot = snapshot._replace(found=snapshot.found[1:])
        if secret.startswith(TOKEN_SECRET):
            if is_loan(snapshot):
                return None
            told = told_of_token(token_in(snapshot))
        elif use_is_due(queries, snapshot):
            return None
        else:
            told = told_of_session(session_in(snapshot))
        self._callers.uses.saw(key.id)
        return told


def _is_plain(key: ServiceKey) -> bool:
    """Whether a living key may introspect whatever it asks about, from everywhere and as often as it likes."""
    return key.networks is None and key.rate is None and not key.is_bound and may(key.role, "introspect")
