"""The console's addresses: who may see or do what, and what every answer carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from ..._async.api import AsyncSessionTokens
from ...errors import InvalidInput, SessionTokensError, StoreError
from ...web.addresses import Network
from ..app import HSTS
from ..crew import Alone, Crew
from ..quotas import Quotas
from . import acts, explaining, exporting, operating, owners, sessions, telling, tokens
from .access import Access, TooFast, Visitor, has_token, is_same_site, set_cookie
from .activity import Activity
from .confirming import Confirmed
from .entrance import PROOF, Entrance, asked_for
from .finding import find
from .forms import fields_of, static_files
from .html import Child, h
from .layout import document
from .overview import overview
from .telling import tell
from .view import View, look_of

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

PageHandler = Callable[[View], Awaitable[Child | Response]]
FormHandler = Callable[[View, dict[str, str]], Awaitable[Response]]
Answer = Callable[[Request], Awaitable[Response]]


class Console:
    """The console over one ``AsyncSessionTokens``; ``routes`` go to a router.

    Args:
        tokens: the library.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted.
        is_https: whether browsers reach it by https, though a proxy may speak it.
        crew: the workers of the service.
    """

    def __init__(
        self,
        tokens: AsyncSessionTokens,
        trusted_proxies: Sequence[Network] = (),
        *,
        is_https: bool = False,
        crew: Crew | None = None,
    ) -> None:
        crew = crew or Alone()
        self.tokens = tokens
        self._is_https = is_https
        self.access = Access(tokens, trusted_proxies, Quotas(crew.tallies("rates")))
        self.activity = Activity(tokens, crew)
        self.entrance = Entrance(self.access, crew)
        self._static = static_files()

    @property
    def routes(self) -> list[BaseRoute]:
        """The addresses of the console."""
        page = self._page
        seen = {
            "": page("Overview", "read_sessions", self._overview),
            "/overview": self._overview_part,
            "/find": page("Find", "read_sessions", find),
            "/sessions": page("Sessions", "read_sessions", sessions.list_page),
            "/sessions/{id}": page("Session", "read_sessions", sessions.session_page),
            **{f"/{which}": page(tokens.TITLES[which], "read_tokens", _tokens(which)) for which in tokens.TITLES},
            "/tokens/{id}": page("Token", "read_tokens", tokens.token_page),
            "/owners": page("Owners", "read_owners", owners.owners),
            "/owners/{owner:path}": page("Owner", "read_owners", owners.owner_page),
            "/explain": page("Explain", "explain", explaining.page),
            "/audit": page("Audit", "read_audit", operating.audit_page),
            "/keys": page("Keys", "read_keys", operating.keys_page),
            "/static/{name:path}": self._static_file,
        }
        files = {
            f"/{name}.{kind}": page("Export", act, _export(work, kind))
            for kind in ("csv", "json")
            for name, act, work in (
                ("sessions", "read_sessions", exporting.export_sessions),
                *((which, "read_tokens", _exported_tokens(which)) for which in tokens.TITLES),
                ("owners", "read_owners", exporting.export_owners),
                ("audit", "read_audit", exporting.export_audit),
            )
        }
        routes = [
            *(Route("/console" + path, work, methods=["POST"]) for path, work in self._acts().items()),
            *(Route("/console" + path, work, methods=["GET"]) for path, work in {**files, **seen}.items()),
        ]
        return [*routes, Route("/console{rest:path}", _Elsewhere(self, routes))]

    def _acts(self) -> dict[str, Answer]:
        act = self._act
        of_owners = {
            "end": act("end_session", acts.end_all, destructive="End all sessions of"),
            "disable": act("disable_owner", acts.disable, destructive="Disable"),
            "enable": act("enable_owner", acts.enable),
            "forget": act("forget_owner", acts.forget, destructive="Forget"),
            "hand-over": act("hand_over", acts.hand_over, destructive="Hand over all tokens of"),
        }
        return {
            "/enter": self._enter,
            "/leave": act("read_sessions", self.entrance.leave),
            "/sessions/end": act("end_session", acts.end_many, destructive="End the sessions that were chosen"),
            "/sessions/{id}/end": act("end_session", acts.end_session, destructive="End the session"),
            "/sessions/{id}/detach": act("detach_session", acts.detach),
            "/sessions/{id}/attach": act("attach_session", acts.attach),
            "/tokens/{id}/end": act("destroy_token", acts.end_token, destructive="End the token"),
            "/tokens/{id}/withdraw": act("move_token", acts.withdraw),
            "/tokens/{id}/recall": act("lend_token", acts.recall),
            "/tokens/{id}/release": act("release_token", acts.release, destructive="Put back the token"),
            **{f"{at}/{name}": work for at in ("/owners", "/owners/{owner:path}") for name, work in of_owners.items()},
            "/keys/{id}/revoke": act("manage_keys", acts.revoke, destructive="Revoke the key"),
        }

    # --- frames ---

    def _page(self, title: str, act: str, work: PageHandler) -> Answer:
        async def answer(request: Request) -> Response:
            try:
                visitor = await self.access.visitor(request)
                if visitor is None:
                    return self._finish(request, self.entrance.page(request))
                view = self._view(request, visitor)
                if not visitor.may(act):
                    return self._finish(request, acts.said(view, 403, "Your role may not see this."))
                inside = await work(view)
                if isinstance(inside, Response):
                    return self._finish(request, inside)
                return self._finish(request, explaining.answer(view, title, inside))
            except SessionTokensError as error:
                return self._finish(request, self._failed(request, error))

        return answer

    def _act(self, act: str, work: FormHandler, *, destructive: str | None = None) -> Answer:
        """Return what answers an act; what it does in words, where it ends something and so asks for a recent proof."""

        async def answer(request: Request) -> Response:
            source = self.access.source_of(request)
            visitor: Visitor | None = None
            try:
                if not is_same_site(request):
                    tell(request, work.__name__, telling.FOREIGN_SITE, source)
                    return self._finish(request, HTMLResponse("another site may not do this", 403))
                visitor = await self.access.visitor(request)
                if visitor is None:
                    tell(request, work.__name__, telling.NOT_ENTERED, source)
                    return self._finish(request, self.entrance.page(request, status=401))
                outcome, response = await self._judged(request, visitor, act, work, destructive=destructive)
            except SessionTokensError as error:
                outcome, response = telling.FAILED, self._failed(request, error)
            tell(request, work.__name__, outcome, source, None if visitor is None else visitor.key.id)
            return self._finish(request, response)

        return answer

    async def _judged(
        self, request: Request, visitor: Visitor, act: str, work: FormHandler, *, destructive: str | None
    ) -> tuple[str, Response]:
        """Do what a visitor asks for, if they may; return how that went, and what they are shown."""
        fields = await fields_of(request)
        view = self._view(request, visitor)
        if fields is None or not has_token(visitor, request, fields):
            return telling.CSRF_REFUSED, acts.said(view, 403, "The form is stale; load the page again.")
        if not visitor.may(act):
            return telling.ROLE_REFUSED, acts.said(view, 403, "Your role may not do this.")
        if destructive is not None and not visitor.is_recent:
            if PROOF not in fields:
                return telling.PROOF_ASKED, self.entrance.prove_first(view, fields, destructive)
            proven = await self.entrance.proven(view, fields, destructive)
            response = proven if isinstance(proven, Response) else await self._with_proof(*proven, work, fields)
        else:
            response = await work(view, fields)
        if response.status_code == 200:
            return telling.ASKED_FIRST, response
        if isinstance(response, Confirmed) and not response.is_done:
            return telling.NOTHING_TO_DO, response
        if response.status_code < 400:
            return telling.DONE, response
        outcomes = {401: telling.KEY_REFUSED, 429: telling.THROTTLED, 503: telling.FAILED}
        return outcomes.get(response.status_code, telling.NOT_DONE), response

    async def _with_proof(self, view: View, secret: str, work: FormHandler, fields: dict[str, str]) -> Response:
        """Do what a visitor who proved their key again asks for; however it goes, they get their new secret."""
        try:
            response = await work(view, fields)
        except SessionTokensError as error:
            response = self._failed(view.request, error)
        set_cookie(response, secret)
        return response

    def _view(self, request: Request, visitor: Visitor) -> View:
        now_ms = self.tokens.store.clock.now()
        return View(request, visitor, self.tokens, self.activity, now_ms, look_of(request).times)

    def _failed(self, request: Request, error: SessionTokensError) -> Response:
        status = 503 if isinstance(error, StoreError) else 422 if isinstance(error, InvalidInput) else 409
        headers = None
        if isinstance(error, TooFast):
            status, headers = 429, {"Retry-After": "1"}
        inside = h(
            "main",
            h("h1", "Not done"),
            h("p", str(error), class_="notice bad"),
            h("a", "Back", href=asked_for(request) if request.method == "POST" else "/console"),
            class_="page",
        )
        return HTMLResponse(document("Not done", inside, look=look_of(request)), status, headers)

    def nowhere(self, request: Request, methods: list[str]) -> Response:
        """Return a request for what is not there, or for what is there with other ``methods``."""
        if methods:
            headers = {"Allow": ", ".join(methods)}
            return self._finish(request, Response("not a method of this address", 405, headers, "text/plain"))
        inside = h("main", h("h1", "Not here"), h("a", "To the overview", href="/console"), class_="page")
        return self._finish(request, HTMLResponse(document("Not here", inside, look=look_of(request)), 404))

    def _finish(self, request: Request, response: Response) -> Response:
        response.headers.update(HEADERS)
        if self._is_https or request.url.scheme == "https":
            response.headers["Strict-Transport-Security"] = HSTS.decode("ascii")
        return response

    # --- what is of no other module ---

    async def _enter(self, request: Request) -> Response:
        try:
            return self._finish(request, await self.entrance.enter(request))
        except SessionTokensError as error:
            return self._finish(request, self._failed(request, error))

    async def _overview(self, view: View) -> Child:
        return [h("h1", "Overview"), await overview(view)]

    async def _overview_part(self, request: Request) -> Response:
        try:
            # The page asks by itself: an operator who went away must not be kept in by it.
            visitor = await self.access.visitor(request, touch=False)
            if visitor is None:
                return self._finish(request, Response(status_code=401, headers={"HX-Redirect": "/console"}))
            return self._finish(request, HTMLResponse(await overview(self._view(request, visitor))))
        except SessionTokensError as error:
            return self._finish(request, self._failed(request, error))

    async def _static_file(self, request: Request) -> Response:
        found = self._static.get(request.path_params["name"])
        if found is None:
            return self._finish(request, Response("not here", 404, media_type="text/plain"))
        content, kind, tag = found
        known = request.headers.get("if-none-match") == tag
        response = self._finish(request, Response(b"" if known else content, 304 if known else 200, media_type=kind))
        response.headers.update({"Cache-Control": "public, max-age=300", "ETag": tag})
        return response


def _tokens(which: str) -> PageHandler:
    async def page(view: View) -> Child:
        return await tokens.list_page(view, which)

    return page


def _export(work: Callable[[View, str], Awaitable[Response]], kind: str) -> PageHandler:
    async def page(view: View) -> Response:
        return await work(view, kind)

    return page


def _exported_tokens(which: str) -> Callable[[View, str], Awaitable[Response]]:
    async def work(view: View, kind: str) -> Response:
        return await exporting.export_tokens(view, kind, which)

    return work


class _Elsewhere:
    """What answers under ``/console`` where no page or act is, with the headers that every answer has."""

    def __init__(self, console: Console, routes: list[Route]) -> None:
        self._console, self._routes = console, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        partial = [route.methods or () for route in self._routes if route.matches(scope)[0] is Match.PARTIAL]
        response = self._console.nowhere(Request(scope), sorted({method for methods in partial for method in methods}))
        await response(scope, receive, send)
