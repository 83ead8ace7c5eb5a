"""The service as an ASGI application: hot addresses as plain functions, the others through one table and Starlette.

Theory of operation. ``Service`` looks an address up among the hot ones (introspection, forward authentication) and
else asks Starlette's router, whose endpoints are plain ASGI too: one for each address of the table in ``routes``. Every
endpoint runs inside ``Service.run``, which reads the headers, turns whatever goes wrong into a problem, counts and
writes it down. So there is one place where an error becomes an answer, and none where it could become a traceback.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib.metadata import version as version_of
from typing import Any

import msgspec
from msgspec import Struct
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from .._async.api import AsyncSessionTokens
from .._async.token_tables import AsyncTokenTables
from ..crypto.secret_form import holds_secret
from ..errors import UNREADABLE, InvalidInput, SessionTokensError
from ..settings import IDEMPOTENCY_KEY_BYTES_MAX
from ..web.addresses import Network
from . import openapi, shapes
from .callers import Callers
from .calls import Call, Operation, Snapshot
from .counted import Counted
from .crew import Alone, Crew
from .event_stream import EventStreams, asks_for_stream
from .exchange import JSON_TYPE, ClientGone, Exchange, Receive, Scope, Send, as_sent, body_bytes_max_of, decoded
from .forward_auth import ASKED_ONCE, SESSION_COOKIE, ForwardAuth, LogIn
from .framing import FORWARD_AUTH, FORWARD_AUTH_TOKENS, HEADS_ALONE, asked_by_proxies
from .front import front_page
from .identity import PLAIN, Identity
from .logs import log_answer
from .metrics import CONTENT_TYPE, Metrics
from .oauth import OAuth, metadata
from .problems import Problem, bad_request, not_found, problem_of
from .quick import INTROSPECT, QuickIntrospection
from .readiness import Readiness
from .routes import BY_SECRET, EVENTS, OPERATIONS
from .scoping import Scopes
from .strict_json import NotJSON, decode

log = logging.getLogger("session_tokens.service")
alerts = logging.getLogger("session_tokens.alerts")

Work = Callable[[Exchange], Awaitable[None]]

READ_METHODS = ("GET", "HEAD")
IN_ADDRESS = "the address holds what looks like a secret, and addresses are logged by whoever sees them; take it out"
IN_PLACE_OF_ID = f"{IN_ADDRESS}: give the id, or of a session or token {BY_SECRET}, and the secret in the body"
HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
ETAG = re.compile(rb'"([0-9]{1,18})"')
PRINTABLE = re.compile(rb"[!-~]+")
PLAIN_NAME = re.compile(r"[a-z_]{1,32}")
HSTS = b"max-age=31536000; includeSubDomains"
DOCS_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the service behaves towards the network.

    Attributes:
        session_cookie: the cookie that ``/forward-auth`` looks into.
        identity: the headers in which it says who was let in.
        log_in: where it sends browsers without a session; nowhere if ``None``.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted.
        allowed_hosts: names in ``Host`` that are answered, in lower case without port; all where empty.
        tables: opens ``TokenTables`` on the same store, for ``/v1/tables``; not offered if ``None``.
        public_url: how others reach the service, for its metadata; taken from the request where ``None``.
        more_routes: further routes of Starlette, such as a console's.
        crew: the workers of the service.
    """

    session_cookie: str = SESSION_COOKIE
    identity: Identity = PLAIN
    log_in: LogIn | None = None
    trusted_proxies: Sequence[Network] = ()
    allowed_hosts: Sequence[str] = ()
    tables: Callable[[], Awaitable[AsyncTokenTables]] | None = None
    public_url: str | None = None
    more_routes: Sequence[BaseRoute] = field(default=())
    crew: Crew = field(default_factory=Alone)

    @property
    def is_https(self) -> bool:
        """Whether others reach the service by https, though a proxy may speak it."""
        return self.public_url is not None and self.public_url.startswith("https://")


class Service:
    """The ASGI application over one ``AsyncSessionTokens``, which its maker opens and closes.

    Args:
        tokens: the library, on any store.
        options: how it behaves towards the network.

    Attributes:
        answer_at_once: returns the answer to what came over a connection if it needs no waiting, from its first common
            header on, else ``None``; for a server that reads heads as strictly as ``protocol`` does.
        answer_later: the same where the store waits: what gives the answer, or ``None`` by then.
    """

    def __init__(self, tokens: AsyncSessionTokens, options: Options | None = None) -> None:
        self.tokens = tokens
        self.options = options or Options()
        self.callers = Callers(tokens.store, self.options.trusted_proxies, self.options.crew)
        self._readiness = Readiness(tokens)
        self.metrics = Metrics(self.options.crew)
        self.metrics.watch(tokens)
        self.scopes = Scopes(tokens, self.callers.quotas)
        self._streams = EventStreams(self.options.crew.load)
        quick = QuickIntrospection(tokens, self.callers, self.metrics)
        self.answer_at_once = None if quick.waits else quick.answer
        self.answer_later = quick.later if quick.waits else None
        oauth = OAuth(tokens, self.callers, self.scopes, quick)
        forward_auth = ForwardAuth(tokens, self.options.session_cookie, self.options.identity, self.options.log_in)
        self._openapi, self._docs = openapi.published(version_of("session-tokens"))
        self._hot: dict[str, tuple[tuple[str, ...] | None, bool, Work]] = {
            INTROSPECT: (("POST",), True, oauth.introspect),
            # A proxy asks with the page's own method.
            FORWARD_AUTH: (None, False, forward_auth.check),
            FORWARD_AUTH_TOKENS: (None, False, forward_auth.check_with_tokens),
        }
        cold: list[tuple[str, dict[str, Work], bool]] = [
            ("/", {"GET": self._front_page}, False),
            ("/revoke", {"POST": oauth.revoke}, True),
            ("/.well-known/oauth-authorization-server", {"GET": self._metadata}, False),
            ("/openapi.json", {"GET": self._openapi_json}, False),
            ("/docs", {"GET": self._docs_page}, False),
            ("/livez", {"GET": self._livez}, False),
            ("/readyz", {"GET": self._readyz}, False),
            ("/metrics", {"GET": self._metrics}, False),
        ]
        table: dict[str, dict[str, Work]] = {}
        for operation in OPERATIONS:
            table.setdefault(operation.path, {})[operation.method] = partial(self._operate, operation)
        cold += [(path, methods, False) for path, methods in table.items()]
        routes: list[BaseRoute] = [Route(path, _Address(self, path, methods, oauth)) for path, methods, oauth in cold]
        self._framework = Router(
            [*routes, *self._counted(self.options.more_routes, self._check_name)],
            redirect_slashes=False,
            default=_Nowhere(self),
        )

    @property
    def body_bytes_max(self) -> int:
        """How large the body of a request may be; on the hot path it is what it is by default."""
        return body_bytes_max_of(self.tokens.data_bytes_max)

    def apart(self, routes: Sequence[BaseRoute]) -> ASGIApp:
        """Return an application for a listener of its own: these routes, the metrics and how the process is."""
        shared = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        own = [Route(path, _Address(self, path, {"GET": work}, False)) for path, work in shared.items()]
        router = Router([*own, *self._counted(routes)], redirect_slashes=False, default=_Nowhere(self))

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await router(as_sent(scope) if scope["type"] == "http" else scope, receive, send)

        return application

    def _counted(self, routes: Sequence[BaseRoute], check: Callable[[Exchange], None] | None = None) -> list[BaseRoute]:
        return [Counted(route, self.metrics, check) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Return one request."""
        if scope["type"] == "http":
            scope = as_sent(scope)
            path = scope["path"]
            hot = self._hot.get(path)
            if hot is None and (address := asked_by_proxies(path)) is not None:
                path = address
                hot = self._hot[path]
            if hot is not None:
                methods, oauth, work = hot
                exchange = Exchange(scope, receive, send, path, oauth=oauth)
                if methods is not None and scope["method"] not in methods:
                    work = _wrong_method(methods)
                await self.run(exchange, work, logging.DEBUG)
                return
        await self._framework(scope, receive, send)

    async def run(self, exchange: Exchange, work: Work, level: int = logging.INFO) -> None:
        """Do the work of one request; whatever is raised becomes a problem."""
        began_s = time.perf_counter()
        try:
            if exchange.route in HEADS_ALONE:
                exchange.read_headers(ASKED_ONCE)  # all the rest is the page's own, and so are its host and origin
            else:
                exchange.read_headers()
                self._check_host(exchange)
            await work(exchange)
        except ClientGone:
            return
        except Exception as error:
            if exchange.status:
                raise  # an answer is under way already: the server closes the connection
            await exchange.answer_problem(_problem_for(error, exchange))
        duration_s = (exchange.streams_since_s or time.perf_counter()) - began_s
        self.metrics.answered(exchange, duration_s)
        log_answer(exchange, duration_s, level)

    def _check_host(self, exchange: Exchange) -> None:
        self._check_name(exchange)
        if exchange.method not in READ_METHODS:
            host, origin = exchange.fields.get(b"host"), exchange.fields.get(b"origin")
            if origin is not None and (host is None or origin.partition(b"://")[2].lower() != host.lower()):
                raise Problem(403, "foreign_origin", "a page of another origin may not do this")

    def _check_name(self, exchange: Exchange) -> None:
        """Check under which name the service is asked."""
        host = exchange.fields.get(b"host")
        if host is not None and not HOST.fullmatch(host):
            raise bad_request("the header Host is no host")
        if self.options.allowed_hosts:
            named = (host or b"").decode("ascii").lower()
            name, _, port = named.rpartition(":")
            if (name if port.isdigit() and name else named) not in self.options.allowed_hosts:
                raise Problem(421, "wrong_host", "this service does not answer for that host")

    async def _operate(self, operation: Operation, exchange: Exchange) -> None:
        """Do one operation of the table: who asks, what is asked for, the handler, its answer."""
        key = await self.callers.key_for(exchange, operation.act)
        fields = exchange.fields
        conditional = b"if-match" in fields
        if conditional and not operation.conditional:
            raise bad_request("If-Match is not taken here; leave it out")
        subject, body, query = await _asked_for(exchange, operation)
        call = Call(
            self.tokens,
            key,
            subject,
            body,
            query,
            None if operation.method == "GET" else _idempotency_key(exchange, key.id),
            _version(fields[b"if-match"]) if conditional else None,
            self.options.tables,
        )
        instead = await self._within_bounds(operation, call)
        if operation.path == EVENTS and asks_for_stream(exchange):
            await self._streams.answer(exchange, call)
            return
        answer = instead or await operation.handler(call)
        # Instants in answers are of the store's clock; who reckons with them needs to know what it shows.
        headers = [(b"session-tokens-now", b"%d" % self.tokens.store.clock.now())]
        if answer.changed is not None:
            headers.append((b"session-tokens-changed", b"true" if answer.changed else b"false"))
        headers += [] if answer.version is None else [(b"etag", b'"%d"' % answer.version)]
        body = b"" if answer.body is None else msgspec.json.encode(answer.body)
        await exchange.answer(operation.status, body, headers)

    async def _within_bounds(self, operation: Operation, call: Call) -> Snapshot | None:
        """Hold a call to what its key is bound to; most keys are bound to nothing."""
        if call.key.is_bound:
            call.sees = partial(self.scopes.sees, call.key)
        elif call.key.max_age_ms is None and call.key.owner_creations is None:
            return None
        return await self.scopes.hold(operation, call)

    async def _livez(self, exchange: Exchange) -> None:
        _query(exchange, None)
        await exchange.answer(200, b'{"status":"alive"}')

    async def _readyz(self, exchange: Exchange) -> None:
        """Ask the store something small; not ready is 503."""
        _query(exchange, None)
        await exchange.answer(200, await self._readiness.answer())

    async def _metrics(self, exchange: Exchange) -> None:
        _query(exchange, None)
        await self.callers.key_for(exchange, "read_metrics")
        try:
            text = await self.metrics.text_of_all()
        except TimeoutError:  # one worker's counts alone would look like a restart
            raise Problem(
                503,
                "workers_unavailable",
                "the other workers did not say what they counted",
                headers=[(b"retry-after", b"1")],
            ) from None
        await exchange.answer(200, text, content_type=CONTENT_TYPE)

    async def _metadata(self, exchange: Exchange) -> None:
        _query(exchange, None)
        issuer = self.options.public_url
        if issuer is None:
            host = exchange.fields.get(b"host", b"localhost").decode("ascii")
            issuer = f"{exchange.scope.get('scheme', 'http')}://{host}"
        await exchange.answer(200, metadata(issuer))

    async def _openapi_json(self, exchange: Exchange) -> None:
        _query(exchange, None)
        await exchange.answer(200, self._openapi)

    async def _docs_page(self, exchange: Exchange) -> None:
        await self._page(exchange, self._docs)

    async def _front_page(self, exchange: Exchange) -> None:
        """Show a person with a browser what this is and where to go."""
        await self._page(exchange, front_page(has_console=bool(self.options.more_routes)))

    async def _page(self, exchange: Exchange, page: bytes) -> None:
        _query(exchange, None)
        headers = [(b"content-security-policy", DOCS_POLICY)]
        if self.options.is_https or exchange.scope.get("scheme") == "https":
            headers.append((b"strict-transport-security", HSTS))
        await exchange.answer(200, page, headers, b"text/html; charset=utf-8")


class _Address:
    """One address as an endpoint of Starlette: chooses by method."""

    def __init__(self, service: Service, path: str, methods: dict[str, Work], oauth: bool) -> None:
        self._service = service
        self._path = path
        self._oauth = oauth
        self._methods = methods | ({"HEAD": methods["GET"]} if "GET" in methods else {})
        self._level = logging.INFO if path.startswith("/v1/") or oauth else logging.DEBUG

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(
            scope, receive, send, self._path, oauth=self._oauth, body_bytes_max=self._service.body_bytes_max
        )
        work = self._methods.get(scope["method"]) or _wrong_method(tuple(self._methods))
        await self._service.run(exchange, work, self._level)


class _Nowhere:
    """What answers where no address is."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._service.run(Exchange(scope, receive, send, "(none)"), _refuse)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})


async def _refuse(exchange: Exchange) -> None:
    raise not_found()


def _wrong_method(methods: Sequence[str]) -> Work:
    async def refuse(exchange: Exchange) -> None:
        allowed = ", ".join(sorted(methods))
        raise Problem(405, "method_not_allowed", f"send {allowed}", headers=[(b"allow", allowed.encode("ascii"))])

    return refuse


def _problem_for(error: Exception, exchange: Exchange) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, UNREADABLE):
        alerts.error("a request met what cannot be read: %s", error, extra={"request_id": exchange.request_id})
    if isinstance(error, SessionTokensError):
        return problem_of(error, conditional=b"if-match" in exchange.fields)
    log.error(
        "a request failed unexpectedly",
        exc_info=error,
        extra={"event": "internal_error", "request_id": exchange.request_id, "route": exchange.route},
    )
    return Problem(500, "internal_error", "this is our fault; the log has more under the request id")


async def _asked_for(exchange: Exchange, operation: Operation) -> tuple[str, Any, Any]:
    """Return what the address names, the body and the query, with a secret of the body in the place that names it.

    Raises:
        Problem: as ``_body`` and ``_query``; 400 for a secret in the address.
    """
    named = exchange.scope["path_params"]
    subject = decoded(next(iter(named.values()), ""))
    if holds_secret(subject):
        raise bad_request(IN_ADDRESS if "owner" in named else IN_PLACE_OF_ID)
    query = _query(exchange, operation.query)
    in_path = subject == BY_SECRET and "id" in named
    in_query = getattr(query, "except_session", None) == BY_SECRET
    body, secret = await _body(exchange, operation.body, names_subject=in_path or in_query)
    if in_query:
        query = msgspec.structs.replace(query, except_session=secret)
    return secret if in_path and secret is not None else subject, body, query


async def _body(
    exchange: Exchange, shape: type[Struct] | None, *, names_subject: bool = False
) -> tuple[Any, str | None]:
    """Return the decoded body, and the secret in it that the address says is there.

    Raises:
        Problem: 400 for what is no JSON, 422 for what is not of that shape; only names of fields are repeated.
    """
    if shape is None:
        if exchange.has_no_body and not names_subject:  # a type alone is harmless: clients send it with every request
            return None, None
        shape = shapes.NoBody
    secret: str | None = None
    if await exchange.body_is_empty():
        value: Any = {}
    else:
        try:
            value = decode(await exchange.read_body(JSON_TYPE))
        except NotJSON as error:
            raise bad_request(f"the body is refused: {error}") from None
    if names_subject:
        secret = value.pop("secret", None) if isinstance(value, dict) else None
        if not isinstance(secret, str):
            raise Problem(422, InvalidInput.code, f"where the address says {BY_SECRET}, the body has a field secret")
    if isinstance(value, dict):
        unknown = [name for name in value if name not in shape.__struct_fields__]
        if unknown:
            # What looks like a name is repeated; anything else might be a secret.
            named = [name if PLAIN_NAME.fullmatch(name) else "…" for name in unknown[:5]]
            known = ", ".join(shape.__struct_fields__) or "none, options go into the query"
            raise Problem(422, InvalidInput.code, f"unknown fields: {', '.join(named)}; those there are: {known}")
    try:
        return msgspec.convert(value, shape), secret
    except msgspec.ValidationError as error:
        raise Problem(422, InvalidInput.code, f"the body does not fit: {error}") from None


def _query(exchange: Exchange, shape: type[Struct] | None) -> Any:
    """Return the decoded query.

    Raises:
        Problem: 400 for unknown names, 422 for values that do not fit.
    """
    values = exchange.read_query()
    known = {} if shape is None else {one.name: one for one in msgspec.structs.fields(shape)}
    if any(name not in known for name in values):
        names = ", ".join(known) or "none"
        raise bad_request(f"the query has a name that is not taken here (taken are: {names}); secrets never go there")
    if shape is None:
        return None
    if any(map(holds_secret, values.values())):
        raise bad_request(IN_ADDRESS)
    typed: dict[str, object] = dict(values)
    for name, text in values.items():
        kinds = str(known[name].type)
        if "bool" in kinds and text in ("true", "false"):
            typed[name] = text == "true"
        elif "int" in kinds and text.isascii() and text.isdigit() and len(text) < 10:
            typed[name] = int(text)
    try:
        return msgspec.convert(typed, shape)
    except msgspec.ValidationError as error:
        raise Problem(422, InvalidInput.code, f"the query does not fit: {error}") from None


def _idempotency_key(exchange: Exchange, key_id: str) -> str | None:
    """Return the idempotency key within the scope of the service key, the method and the address."""
    sent = exchange.fields.get(b"idempotency-key")
    if sent is None:
        return None
    if len(sent) > IDEMPOTENCY_KEY_BYTES_MAX or not PRINTABLE.fullmatch(sent):
        raise bad_request(f"an Idempotency-Key is 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters")
    scope = f"{key_id}\n{exchange.method} {exchange.route}\n".encode("ascii")
    return sha256(scope + sent).hexdigest()


def _version(if_match: bytes) -> int | None:
    """Return the version of an ``If-Match``; ``*`` is any."""
    if if_match == b"*":
        return None
    match = ETAG.fullmatch(if_match)
    if match is None:
        raise bad_request('If-Match is one ETag as it was answered, such as "3", or *')
    return int(match[1])
