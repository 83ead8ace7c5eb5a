"""Coming and going: the entrance with a service key, proving it again, and leaving."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...errors import SessionTokensError
from ..callers import Throttle
from ..crew import Crew
from ..exchange import decoded
from . import telling
from .access import Access, drop_cookie, is_same_site, set_cookie
from .forms import fields_of
from .html import h
from .layout import document
from .pieces import button_link, card, form, hidden
from .telling import tell
from .view import View, look_of

PROOF = "proof"
"""The field in which a key is proved again."""
BACK_MAX = 2_000
"""Characters of an address that is kept through a log-in."""


def way_back(given: str) -> str:
    """Return an address of the console that was kept through a log-in; anything else leads to the overview."""
    path = given.partition("?")[0]
    is_ours = path == "/console" or path.startswith("/console/")
    if not is_ours or len(given) > BACK_MAX or not given.isascii() or not given.isprintable():
        return "/console"
    # Browsers go up at dots, also where they are percent-encoded.
    climbs = any(part.lower().replace("%2e", ".") in (".", "..") for part in path.split("/"))
    return "/console" if climbs or "//" in path or "\\" in given or "#" in given else given


def act_of(request: Request) -> str:
    """Return the address of an act as it was sent."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path, query = raw.decode("latin-1").partition("?")[0], request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def asked_for(request: Request) -> str:
    """Return the address that a request asks for, to be gone on with after a log-in."""
    path = act_of(request).partition("?")[0]
    if request.method == "POST":  # of an act, whose page is the one above
        path = path.rpartition("/")[0]
        if path.startswith("/console/keys/"):  # none has a page of its own
            path = "/console/keys"
    query = request.scope["query_string"].decode("latin-1")
    return way_back(f"{path}?{query}" if query else path)


class Entrance:
    """Lets people in.

    Args:
        access: opens and ends their sessions.
        crew: the workers that count failures together.
    """

    def __init__(self, access: Access, crew: Crew) -> None:
        self._access = access
        self._failures = Throttle(tallies=crew.tallies("entrance"))

    def page(
        self, request: Request, *, status: int = 200, words: str | None = None, back: str | None = None
    ) -> Response:
        """Return the entrance, which leads to what was asked for."""
        back = asked_for(request) if back is None else back
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
                    hidden("back", back),
                    h("label", "Secret of the service key", field),
                    h("button", "Enter"),
                    method="post",
                    action="/console/enter",
                ),
                class_="card",
            ),
            class_="enter",
        )
        return HTMLResponse(document("Enter", inside, look=look_of(request)), status)

    async def enter(self, request: Request) -> Response:
        """Let somebody in with a service key, and lead them to what they had asked for.

        Raises:
            SessionTokensError: the store cannot be asked.
        """
        source = self._access.source_of(request)
        if not is_same_site(request):
            tell(request, "enter", telling.FOREIGN_SITE, source)
            return HTMLResponse("another site may not do this", 403)
        try:
            fields = await fields_of(request) or {}
            entered = await self._access.enter(request, fields.get("secret", ""), source)
        except SessionTokensError:
            tell(request, "enter", telling.FAILED, source)
            raise
        back = way_back(fields.get("back", ""))
        if entered is None:
            wait_s = self._failures.failed(source, time.monotonic())
            tell(request, "enter", telling.THROTTLED if wait_s else telling.KEY_REFUSED, source)
            words = "That is no living key of a role that may enter."
            return self._waiting(request, wait_s) if wait_s else self.page(request, status=401, words=words, back=back)
        key, secret = entered
        tell(request, "enter", telling.DONE, source, key.id)
        response = RedirectResponse(back, 303)
        set_cookie(response, secret)
        return response

    def _waiting(self, request: Request, wait_s: int) -> Response:
        """Return somebody who failed too often with a key, at the entrance or when proving it again."""
        words = "Too many failed attempts; wait a minute."
        response = self.page(request, status=429, words=words, back="/console")
        response.headers["Retry-After"] = str(wait_s)
        return response

    async def leave(self, view: View, fields: dict[str, str]) -> Response:
        """End the visitor's session."""
        await self._access.leave(view.visitor)
        response = RedirectResponse("/console", 303)
        drop_cookie(response)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    def prove_first(
        self, view: View, fields: dict[str, str], what: str, *, words: str | None = None, status: int = 403
    ) -> Response:
        """Return the page that asks for the key again, and goes on with the act when it is given.

        Args:
            view: of who asks for the act.
            fields: of its form, which are sent once more with the proof.
            what: what is done then, in words that the id or owner follows.
            words: why it is asked for again.
            status: of the answer.
        """
        request, visitor = view.request, view.visitor
        field = h("input", type="password", name=PROOF, required=True, autocomplete="off", autofocus=True)
        kept = [hidden(name, value) for name, value in fields.items() if name != "csrf"]
        # As it was sent: an owner in it may hold a slash.
        proving = form(
            act_of(request), visitor, kept, h("label", "Secret of your service key", field),
            h("button", "Prove it and go on"), button_link("Do nothing", asked_for(request), quiet=True), class_="act",
        )  # fmt: skip
        said = h("p", "You entered more than five minutes ago. Prove your key again to go on.")
        wrong = None if words is None else h("p", words, class_="notice bad", role="alert")
        inside = h("div", h("h1", "Prove your key"), wrong, card(f"{what} {_subject_of(view)}".rstrip(), said, proving))
        page = document("Prove your key", inside, look=look_of(request), visitor=visitor, path=request.url.path)
        return HTMLResponse(page, status)

    async def proven(self, view: View, fields: dict[str, str], what: str) -> tuple[View, str] | Response:
        """Take the key that a visitor proves again with an act; return them and their new secret, or why not."""
        proved = await self._access.prove_again(view.visitor, fields.pop(PROOF))
        if proved is not None:
            visitor, secret = proved
            return view._replace(visitor=visitor), secret
        wait_s = self._failures.failed(self._access.source_of(view.request), time.monotonic())
        if wait_s:
            return self._waiting(view.request, wait_s)
        return self.prove_first(view, fields, what, words="That is not the secret of your key.", status=401)


def _subject_of(view: View) -> str:
    """Return the id or the owner that an act is about, as its address names it."""
    given = view.request.path_params
    return given.get("id") or decoded(given.get("owner", "")) or view.request.query_params.get("owner", "")
