"""The console's addresses: who may see or do what, and what every answer carries."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from ..._async.api import AsyncSessionTokens
from ...audit.reader import latest, read
from ...crypto.minting import SECRET_BEGINNINGS, SESSION_ID, TOKEN_ID, is_id
from ...errors import InvalidInput, SessionTokensError, StoreError
from ...service_keys.keys import list_keys, revoke_key
from ...service_keys.last_use import last_used
from ...web.addresses import Network
from ...web.cookies import Cookie
from ..addresses import decoded
from ..app import HSTS
from ..callers import Throttle
from ..reserved import refuse_to_disable
from . import pages, telling
from .access import Access, Visitor, drop_cookie, has_token, is_same_site, set_cookie
from .activity import Activity
from .html import Child, Html, h
from .layout import card, document, form, owner_address
from .overview import overview
from .telling import tell

FORM_BYTES_MAX = 8_192
THEME = Cookie("console-theme")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Vary": "Cookie",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # no-referrer would make the Origin of our own forms null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}

PageHandler = Callable[[Request, Visitor], Awaitable[Child | Response]]
FormHandler = Callable[[Request, Visitor, dict[str, str]], Awaitable[Response]]


class Console:
    """The console over one ``AsyncSessionTokens``; ``routes`` go to a router.

    Args:
        tokens: the library.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted.
        is_https: whether browsers reach it by https, though a proxy may speak it.
    """

    def __init__(
        self, tokens: AsyncSessionTokens, trusted_proxies: Sequence[Network] = (), *, is_https: bool = False
    ) -> None:
        self.tokens = tokens
        self._is_https = is_https
        self.access = Access(tokens, trusted_proxies)
        self.activity = Activity(tokens)
        self._failures = Throttle()
        self._static = _static_files()

    @property
    def routes(self) -> list[BaseRoute]:
        """The addresses of the console."""
        page, act = self._page, self._act
        seen = {
            "": page("Overview", "read_sessions", self._overview),
            "/overview": self._overview_part,
            "/find": page("Find", "read_sessions", self._find),
            "/sessions": page("Sessions", "read_sessions", self._sessions),
            "/sessions/{id}": page("Session", "read_sessions", self._session),
            "/tokens": page("Tokens", "read_tokens", self._tokens("tokens")),
            "/market": page("Market", "read_tokens", self._tokens("market")),
            "/unassigned": page("Unassigned", "read_tokens", self._tokens("unassigned")),
            "/tokens/{id}": page("Token", "read_tokens", self._token),
            "/owners": page("Owner", "read_sessions", self._owner),
            "/owners/{owner:path}": page("Owner", "read_sessions", self._owner),
            "/audit": page("Audit", "read_keys", self._audit),
            "/keys": page("Keys", "read_keys", self._keys),
            "/static/{name:path}": self._static_file,
        }
        done = {
            "/enter": self._enter,
            "/leave": act("read_sessions", self._leave),
            "/prove": act("read_sessions", self._prove),
            "/sessions/{id}/end": act("end_session", self._end_session, destructive=True),
            "/sessions/{id}/detach": act("detach_session", self._detach),
            "/sessions/{id}/attach": act("attach_session", self._attach),
            "/tokens/{id}/end": act("destroy_token", self._end_token, destructive=True),
            **{
                f"{owner}/{name}": work
                for owner in ("/owners", "/owners/{owner:path}")
                for name, work in (
                    ("end", act("end_session", self._end_all, destructive=True)),
                    ("disable", act("disable_owner", self._disable, destructive=True)),
                    ("enable", act("enable_owner", self._enable)),
                )
            },
            "/keys/{id}/revoke": act("manage_keys", self._revoke, destructive=True),
        }
        routes = [
            *(Route("/console" + path, work, methods=["POST"]) for path, work in done.items()),
            *(Route("/console" + path, work, methods=["GET"]) for path, work in seen.items()),
        ]
        return [*routes, Route("/console{rest:path}", _Elsewhere(self, routes))]

    # --- frames ---

    def _page(self, title: str, act: str, work: PageHandler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                visitor = await self.access.visitor(request)
                if visitor is None:
                    return self._finish(request, self._entrance(request))
                if not visitor.may(act):
                    return self._finish(request, self._said(request, visitor, 403, "Your role may not see this."))
                inside = await work(request, visitor)
                if isinstance(inside, Response):
                    return self._finish(request, inside)
                return self._finish(request, self._document(request, title, inside, visitor))
            except SessionTokensError as error:
                return self._finish(request, self._failed(request, error))

        return answer

    def _act(
        self, act: str, work: FormHandler, *, destructive: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        name = work.__name__.lstrip("_")

        async def answer(request: Request) -> Response:
            source = self.access.source_of(request)
            visitor: Visitor | None = None
            try:
                if not is_same_site(request):
                    tell(request, name, telling.FOREIGN_SITE, source)
                    return self._finish(request, HTMLResponse("another site may not do this", 403))
                visitor = await self.access.visitor(request)
                if visitor is None:
                    tell(request, name, telling.NOT_ENTERED, source)
                    return self._finish(request, self._entrance(request, status=401))
                outcome, response = await self._judged(request, visitor, act, work, destructive=destructive)
            except SessionTokensError as error:
                outcome, response = telling.FAILED, self._failed(request, error)
            tell(request, name, outcome, source, None if visitor is None else visitor.key.id)
            return self._finish(request, response)

        return answer

    async def _judged(
        self, request: Request, visitor: Visitor, act: str, work: FormHandler, *, destructive: bool
    ) -> tuple[str, Response]:
        """Do what a visitor asks for, if they may; return how that went, and what they are shown."""
        fields = await _form_of(request)
        if fields is None or not has_token(visitor, request, fields):
            return telling.CSRF_REFUSED, self._said(request, visitor, 403, "The form is stale; load the page again.")
        if not visitor.may(act):
            return telling.ROLE_REFUSED, self._said(request, visitor, 403, "Your role may not do this.")
        if destructive and not visitor.is_recent:
            return telling.PROOF_ASKED, self._prove_first(request, visitor)
        response = await work(request, visitor, fields)
        if response.status_code < 400:
            return telling.DONE, response
        outcomes = {401: telling.KEY_REFUSED, 429: telling.THROTTLED}
        return outcomes.get(response.status_code, telling.NOT_DONE), response

    def _document(self, request: Request, title: str, inside: Child, visitor: Visitor, status: int = 200) -> Response:
        here = request.url.path + ("?detached=yes" if request.query_params.get("detached") == "yes" else "")
        return HTMLResponse(document(title, inside, theme=_theme(request), visitor=visitor, path=here), status)

    def _said(self, request: Request, visitor: Visitor, status: int, words: str) -> Response:
        inside = h("div", h("h1", "Not done" if status != 404 else "Not here"), h("p", words, class_="notice"))
        return self._document(request, "Not done", inside, visitor, status)

    def _failed(self, request: Request, error: SessionTokensError) -> Response:
        status = 503 if isinstance(error, StoreError) else 422 if isinstance(error, InvalidInput) else 409
        inside = h(
            "main",
            h("h1", "Not done"),
            h("p", str(error), class_="notice bad"),
            h("a", "Back", href="/console"),
            class_="page",
        )
        return HTMLResponse(document("Not done", inside, theme=_theme(request)), status)

    def nowhere(self, request: Request, methods: list[str]) -> Response:
        """Return a request for what is not there, or for what is there with other ``methods``."""
        if methods:
            headers = {"Allow": ", ".join(methods)}
            return self._finish(request, Response("not a method of this address", 405, headers, "text/plain"))
        inside = h("main", h("h1", "Not here"), h("a", "To the overview", href="/console"), class_="page")
        return self._finish(request, HTMLResponse(document("Not here", inside, theme=_theme(request)), 404))

    def _finish(self, request: Request, response: Response) -> Response:
        response.headers.update(HEADERS)
        if self._is_https or request.url.scheme == "https":
            response.headers["Strict-Transport-Security"] = HSTS.decode("ascii")
        return response

    # --- coming and going ---

    def _entrance(self, request: Request, *, status: int = 200, words: str | None = None) -> Response:
        field = h(
            "input", type="password", name="secret", required=True, autocomplete="off", autofocus=True, id="secret"
        )
        inside = h(
            "main",
            h(
                "section",
                h("h1", "Console"),
                h("p", "Enter with a service key of the role operator, audit or admin.", class_="muted"),
                None if words is None else h("p", words, class_="notice bad", role="alert"),
                h(
                    "form",
                    h("label", "Secret of the service key", field),
                    h("button", "Enter"),
                    method="post",
                    action="/console/enter",
                ),
                class_="card",
            ),
            class_="enter",
        )
        return HTMLResponse(document("Enter", inside, theme=_theme(request)), status)

    async def _enter(self, request: Request) -> Response:
        source = self.access.source_of(request)
        if not is_same_site(request):
            tell(request, "enter", telling.FOREIGN_SITE, source)
            return self._finish(request, HTMLResponse("another site may not do this", 403))
        try:
            fields = await _form_of(request) or {}
            entered = await self.access.enter(request, fields.get("secret", ""), source)
        except SessionTokensError as error:
            tell(request, "enter", telling.FAILED, source)
            return self._finish(request, self._failed(request, error))
        if entered is None:
            wait_s = self._failures.failed(source, time.monotonic())
            tell(request, "enter", telling.THROTTLED if wait_s else telling.KEY_REFUSED, source)
            words = "That is no living key of a role that may enter."
            refused = self._entrance(request, status=401, words=words)
            return self._finish(request, self._waiting(request, wait_s) if wait_s else refused)
        key, secret = entered
        tell(request, "enter", telling.DONE, source, key.id)
        response = RedirectResponse("/console", 303)
        set_cookie(response, secret)
        return self._finish(request, response)

    def _waiting(self, request: Request, wait_s: int) -> Response:
        """Return somebody who failed too often with a key, at the entrance or when proving it again."""
        response = self._entrance(request, status=429, words="Too many failed attempts; wait a minute.")
        response.headers["Retry-After"] = str(wait_s)
        return response

    async def _leave(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        await self.access.leave(visitor)
        response = RedirectResponse("/console", 303)
        drop_cookie(response)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    def _prove_first(self, request: Request, visitor: Visitor) -> Response:
        back = request.url.path.rpartition("/")[0] + (f"?{request.url.query}" if request.url.query else "")
        field = h("input", type="password", name="secret", required=True, autocomplete="off", autofocus=True)
        proving = form(
            "/console/prove",
            visitor,
            h("input", type="hidden", name="back", value=back),
            h("label", "Secret of your service key", field),
            h("button", "Go on"),
            class_="acts",
        )
        said = h(
            "p", "You entered more than five minutes ago. Prove your key again, then repeat what you wanted to do."
        )
        return self._document(
            request,
            "Prove your key",
            h("div", h("h1", "Prove your key"), card("For this act", said, proving)),
            visitor,
            403,
        )

    async def _prove(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        secret = await self.access.prove_again(visitor, fields.get("secret", ""))
        if secret is None:
            wait_s = self._failures.failed(self.access.source_of(request), time.monotonic())
            if wait_s:
                return self._waiting(request, wait_s)
            return self._said(request, visitor, 401, "That is not the secret of your key.")
        back = fields.get("back", "")
        response = RedirectResponse(back if back.startswith("/console/") and "//" not in back else "/console", 303)
        set_cookie(response, secret)
        return response

    # --- pages ---

    async def _overview(self, request: Request, visitor: Visitor) -> Child:
        return [h("h1", "Overview"), await overview(self.tokens, self.activity)]

    async def _overview_part(self, request: Request) -> Response:
        try:
            # The page asks by itself: an operator who went away must not be kept in by it.
            visitor = await self.access.visitor(request, touch=False)
            if visitor is None:
                return self._finish(request, Response(status_code=401, headers={"HX-Redirect": "/console"}))
            return self._finish(request, HTMLResponse(await overview(self.tokens, self.activity)))
        except SessionTokensError as error:
            return self._finish(request, self._failed(request, error))

    async def _find(self, request: Request, visitor: Visitor) -> Child | Response:
        asked = request.query_params.get("q", "").strip()
        if is_id(SESSION_ID, asked):
            return RedirectResponse(f"/console/sessions/{asked}", 303)
        if is_id(TOKEN_ID, asked):
            return RedirectResponse(f"/console/tokens/{asked}", 303)
        if asked.startswith(SECRET_BEGINNINGS):
            return self._said(
                request,
                visitor,
                422,
                "That looks like a secret. Search for ids or owners; secrets belong nowhere here.",
            )
        return RedirectResponse(owner_address(asked) if asked else "/console", 303)

    async def _sessions(self, request: Request, visitor: Visitor) -> Child:
        detached = True if request.query_params.get("detached") == "yes" else None
        visitors = request.query_params.get("visitors") == "yes"
        return await pages.sessions_page(self.tokens, detached, request.query_params.get("after"), visitors=visitors)

    def _tokens(self, which: str) -> PageHandler:
        async def page(request: Request, visitor: Visitor) -> Child:
            return await pages.tokens_page(self.tokens, which, request.query_params.get("after"))

        return page

    async def _session(self, request: Request, visitor: Visitor) -> Child | Response:
        session = await self.tokens.get_session(request.path_params["id"])
        if session is None:
            return self._gone(request, visitor, request.path_params["id"])
        return await pages.session_page(self.tokens, self.activity, visitor, session)

    async def _token(self, request: Request, visitor: Visitor) -> Child | Response:
        token = await self.tokens.get_token(request.path_params["id"])
        if token is None:
            return self._gone(request, visitor, request.path_params["id"])
        shown = request.query_params.get("value") == "shown"
        return await pages.token_page(self.tokens, self.activity, visitor, token, shown)

    def _gone(self, request: Request, visitor: Visitor, id: str) -> Response:
        events = self.activity.timeline(id)
        seen: Html | None = None
        if events:
            seen = card("What this process saw", pages.timeline(events, self.tokens.store.clock.now()))
        inside = h("div", h("h1", "Not here"), h("p", "Nothing lives under that id.", class_="notice"), seen)
        return self._document(request, "Not here", inside, visitor, 404)

    async def _owner(self, request: Request, visitor: Visitor) -> Child:
        return await pages.owner_page(self.tokens, self.activity, visitor, _owner_in(request))

    async def _audit(self, request: Request, visitor: Visitor) -> Child:
        before = request.query_params.get("before") or None
        return pages.audit_page(await read(self.tokens.store, latest(pages.LIMIT, before)))

    async def _keys(self, request: Request, visitor: Visitor) -> Child:
        keys = await list_keys(self.tokens.store)
        used = await last_used(self.tokens.store, keys)
        return pages.keys_page(keys, used, visitor, self.tokens.store.clock.now())

    # --- acts ---

    async def _end_session(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        await self.tokens.destroy_session(request.path_params["id"], reason="revoked")
        return RedirectResponse(f"/console/sessions/{quote(request.path_params['id'])}", 303)

    async def _detach(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        session = await self.tokens.detach_session(request.path_params["id"])
        return RedirectResponse(f"/console/sessions/{session.id}", 303)

    async def _attach(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        issued = await self.tokens.attach_session(request.path_params["id"])  # nobody is shown the secret
        return RedirectResponse(f"/console/sessions/{issued.id}", 303)

    async def _end_token(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        await self.tokens.destroy_token(request.path_params["id"])
        return RedirectResponse(f"/console/tokens/{quote(request.path_params['id'])}", 303)

    async def _end_all(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        return await self._for_owner(
            request, visitor, fields, lambda owner: self.tokens.destroy_sessions(owner, reason="revoked")
        )

    async def _disable(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        refuse_to_disable(_owner_in(request))
        return await self._for_owner(request, visitor, fields, self.tokens.disable_owner)

    async def _for_owner(
        self, request: Request, visitor: Visitor, fields: dict[str, str], act: Callable[[str], Awaitable[Any]]
    ) -> Response:
        owner = _owner_in(request)
        if fields.get("typed") != owner:
            return self._said(request, visitor, 422, "The owner was not typed as it is written; nothing was done.")
        await act(owner)
        return RedirectResponse(owner_address(owner), 303)

    async def _enable(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        owner = _owner_in(request)
        await self.tokens.enable_owner(owner)
        return RedirectResponse(owner_address(owner), 303)

    async def _revoke(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> Response:
        await revoke_key(self.tokens.store, request.path_params["id"], audit=self.tokens.audit)
        return RedirectResponse("/console/keys", 303)

    async def _static_file(self, request: Request) -> Response:
        found = self._static.get(request.path_params["name"])
        if found is None:
            return self._finish(request, Response("not here", 404, media_type="text/plain"))
        content, kind, tag = found
        known = request.headers.get("if-none-match") == tag
        response = self._finish(request, Response(b"" if known else content, 304 if known else 200, media_type=kind))
        response.headers.update({"Cache-Control": "public, max-age=300", "ETag": tag})
        return response


class _Elsewhere:
    """What answers under ``/console`` where no page or act is, with the headers that every answer has."""

    def __init__(self, console: Console, routes: list[Route]) -> None:
        self._console, self._routes = console, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        partial = [route.methods or () for route in self._routes if route.matches(scope)[0] is Match.PARTIAL]
        response = self._console.nowhere(Request(scope), sorted({method for methods in partial for method in methods}))
        await response(scope, receive, send)


def _owner_in(request: Request) -> str:
    """Return the owner that an address names, in its path or its query."""
    return decoded(request.path_params.get("owner", "")) or request.query_params.get("owner", "")


def _theme(request: Request) -> str | None:
    theme = THEME.value_of(request.scope["headers"])
    return theme.decode("ascii") if theme in (b"light", b"dark") else None


async def _form_of(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; ``None`` for what is none, is too large or names a field twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=16
        )
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def _static_files() -> dict[str, tuple[bytes, str, str]]:
    """Return the files that pages load: content, type and tag by name."""
    root = files(__package__) / "static"
    found: dict[str, tuple[bytes, str, str]] = {}
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for file in folder.iterdir():
            kind = TYPES.get("." + file.name.rpartition(".")[2])
            if file.is_file() and kind is not None:
                content = file.read_bytes()
                found[prefix + file.name] = (content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found
