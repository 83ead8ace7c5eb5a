"""Who is calling: finds the service key in a request, asks what its role may do, and slows down those who guess.

A key comes as Basic (id and secret), as ``client_id`` and ``client_secret`` in a form, or its secret as Bearer; one way
at a time. Guessing is throttled by where it comes from: after 20 failures within a minute a source is answered 429.
A right secret is never throttled: secrets have 256 bits, so letting one through gives a guesser nothing, and nobody can
lock others out by failing in their name.
"""

from __future__ import annotations

import binascii
import logging
import time
from base64 import b64decode
from collections.abc import Sequence
from urllib.parse import unquote_plus

from ..audit.log import acting
from ..contract.queries import Query, Snapshot
from ..contract.store import Store
from ..crypto.secret_form import KEY_SECRET, is_secret
from ..records import ServiceKey
from ..rules.audit import Act
from ..service_keys.keys import Uses, living_key_with
from ..service_keys.networks import may_come_from
from ..service_keys.roles import PERMISSIONS, may
from ..web.addresses import Network, source_of
from .crew import Alone, Crew
from .exchange import Exchange
from .problems import Headers, Problem, bad_request
from .quotas import Quotas
from .tallies import OwnTallies, Tallies, Tally

log = logging.getLogger("session_tokens.service")

REALM = b'realm="session-tokens"'
FAILURES_PER_MINUTE_MAX = 20
LOOKUPS_MAX = 1_000


class Throttle:
    """Counts failures of each source within a minute.

    Args:
        failures_max: after how many a source should wait.
        tallies: the counts; of this process if not given.
    """

    def __init__(self, failures_max: int = FAILURES_PER_MINUTE_MAX, tallies: Tallies | None = None) -> None:
        self.failures_max = failures_max
        self._failures = OwnTallies() if tallies is None else tallies

    def failed(self, source: str, now_s: float) -> int:
        """Count a failure; return for how many seconds the source should wait, 0 while it has tries left."""

        def count(before: Tally | None) -> Tally:
            since_s, failures = before or (now_s, 0)
            return (now_s, 1) if now_s - since_s >= 60 else (since_s, failures + 1)

        since_s, failures = self._failures.change(source, count)
        return 0 if failures <= self.failures_max else max(1, round(60 - (now_s - since_s)))


class Callers:
    """Return who calls.

    Args:
        store: where service keys are kept.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted; nobody's if empty.
        crew: the workers that count together.
    """

    def __init__(self, store: Store, trusted_proxies: Sequence[Network] = (), crew: Crew | None = None) -> None:
        self._store = store
        self._trusted_proxies = tuple(trusted_proxies)
        crew = crew or Alone()
        self.throttle = Throttle(tallies=crew.tallies("failures"))
        self.quotas = Quotas(crew.tallies("rates"), crew.tallies("makings"))
        self.uses = Uses(store)
        self._lookups: dict[str, Sequence[str]] = {}

    def source_of(self, exchange: Exchange) -> str:
        """Return the address that a request comes from: its peer's, or what a trusted proxy says."""
        client = exchange.scope.get("client")
        forwarded = exchange.fields.get(b"x-forwarded-for")
        return source_of(
            client[0] if client else None,
            None if forwarded is None else forwarded.decode("latin-1"),
            self._trusted_proxies,
        )

    async def key_for(self, exchange: Exchange, act: str, form: dict[str, str] | None = None) -> ServiceKey:
        """Return the service key of a request that may do ``act``; see ``key_with``."""
        return (await self.key_with(exchange, act, form, ()))[0]

    async def key_with(
        self, exchange: Exchange, act: str, form: dict[str, str] | None, queries: Sequence[Query]
    ) -> tuple[ServiceKey, Snapshot | None]:
        """Return the service key of a request that may do ``act``, and what queries found in the same read.

        Args:
            exchange: the request.
            act: of ``roles.PERMISSIONS``.
            form: its form, where that may hold the key.
            queries: what the request will ask the store for, so that it is asked once. Their answers are ``None``
                where they are to be asked by themselves, because a record is unreadable.

        Raises:
            Problem: 400 for a key in two places, 401 for none or a wrong one, 403 for a role that may not or a place
                that it may not be used from, 429 after too many failures.
        """
        authorization = exchange.fields.get(b"authorization")
        in_form = form is not None and ("client_secret" in form or "client_id" in form)
        if form is not None and authorization is not None and "client_secret" in form:
            raise bad_request("the service key stands in the header and in the form; send it once")
        if authorization is None and not in_form:
            raise unauthenticated(b"", "send a service key as Basic or Bearer")
        if authorization is not None:
            scheme, id, secret = _of_header(authorization)
        else:
            assert form is not None
            scheme, id, secret = b"", form.get("client_id", ""), form.get("client_secret", "")
        key, snapshot = (None, None) if secret is None else await self._living_key(secret, id, queries)
        if key is None:
            raise self._failure(exchange, scheme)
        if form is not None and form.get("client_id", key.id) != key.id:
            raise bad_request("client_id in the form is another one than that of the key in the header; leave it out")
        exchange.key_id = key.id
        acting.set(Act(key.id, exchange.request_id))
        if key.networks is not None and not may_come_from(key, self.source_of(exchange)):
            raise self._from_elsewhere(exchange)
        if not may(key.role, act):
            raise forbidden(scheme, act)
        self.quotas.asked(key)
        self.uses.saw(key.id)
        return key, snapshot

    def presented(self, exchange: Exchange) -> tuple[str | None, Sequence[str]] | None:
        """Return the id, if one is given, and the look-up keys of the service key in the header of a request."""
        authorization = exchange.fields.get(b"authorization")
        _, id, secret = (b"", None, None) if authorization is None else _of_header(authorization)
        return None if secret is None else (id, self._store.keyring.lookups(secret))

    async def _living_key(
        self, secret: str, id: str | None, queries: Sequence[Query]
    ) -> tuple[ServiceKey | None, Snapshot | None]:
        """Return the key of a secret as the store has it now; only what the secret is looked up by is remembered."""
        lookups = self._lookups.get(secret)
        if lookups is None:
            if not is_secret(KEY_SECRET, secret):
                return None, None
            lookups = self._store.keyring.lookups(secret)
        key, snapshot = await living_key_with(self._store, lookups, id, queries)
        if key is not None and secret not in self._lookups:
            if len(self._lookups) >= LOOKUPS_MAX:
                self._lookups.clear()
            self._lookups[secret] = lookups
        return key, snapshot

    def _from_elsewhere(self, exchange: Exchange) -> Problem:
        log.warning(
            "a service key was used from a place that it is not for",
            extra={
                "event": "wrong_network",
                "source": self.source_of(exchange),
                "key_id": exchange.key_id,
                "request_id": exchange.request_id,
            },
        )
        return Problem(
            403,
            "forbidden",
            "this service key may not be used from this address; session-tokens keys list shows its networks",
            oauth_error="unauthorized_client",
        )

    def _failure(self, exchange: Exchange, scheme: bytes) -> Problem:
        source = self.source_of(exchange)
        wait_s = self.throttle.failed(source, time.monotonic())
        if wait_s:
            log.warning(
                "a source failed to authenticate too often",
                extra={"event": "throttled", "source": source, "request_id": exchange.request_id},
            )
            return Problem(
                429,
                "too_many_failures",
                f"no right service key in {self.throttle.failures_max} attempts from here; wait a minute",
                headers=[(b"retry-after", str(wait_s).encode("ascii"))],
                oauth_error="invalid_client",
            )
        log.warning(
            "a service key was refused",
            extra={"event": "authentication_failed", "source": source, "request_id": exchange.request_id},
        )
        if scheme not in (b"", b"basic", b"bearer"):
            return unauthenticated(scheme, "send a service key as Basic or Bearer: Authorization: Bearer stk_…")
        return unauthenticated(scheme, "that is no living service key; check id and secret, or make a new one")


def _of_header(authorization: bytes) -> tuple[bytes, str | None, str | None]:
    """Return scheme, id and secret of an ``Authorization`` header; no secret where it is malformed."""
    scheme, _, credentials = authorization.partition(b" ")
    scheme = scheme.lower()
    if scheme == b"bearer":
        return scheme, None, credentials.decode("latin-1")
    if scheme != b"basic":
        return scheme, None, None
    try:
        id, colon, secret = b64decode(credentials, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return scheme, None, None
    # RFC 6749 has both form-encoded before they are joined; ours hold nothing that this would change.
    return scheme, unquote_plus(id), unquote_plus(secret) if colon else None


def unauthenticated(scheme: bytes, detail: str) -> Problem:
    """Return the problem of a request without a right service key, with the challenges that fit."""
    basic, bearer = b"Basic " + REALM + b', charset="UTF-8"', b"Bearer " + REALM
    challenges: Headers
    if scheme == b"bearer":
        challenges = [(b"www-authenticate", bearer + b', error="invalid_token"')]
    elif scheme == b"basic":
        challenges = [(b"www-authenticate", basic)]
    else:
        challenges = [(b"www-authenticate", basic), (b"www-authenticate", bearer)]
    return Problem(401, "unauthenticated", detail, headers=challenges, oauth_error="invalid_client")


def forbidden(scheme: bytes, act: str) -> Problem:
    """Return the problem of a key whose role may not do that."""
    roles = sorted(PERMISSIONS.get(act, ()))
    headers: Headers = []
    if scheme == b"bearer":
        scope = " ".join(roles).encode("ascii")
        headers = [(b"www-authenticate", b"Bearer " + REALM + b', error="insufficient_scope", scope="' + scope + b'"')]
    return Problem(
        403,
        "forbidden",
        f"the role of this service key may not do that; it takes {' or '.join(roles)}",
        headers=headers,
        oauth_error="unauthorized_client",
    )
