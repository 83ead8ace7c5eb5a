"""Why something is as it is: the page that explains an id, and what is said of an id that leads to nothing."""

from __future__ import annotations

from starlette.responses import HTMLResponse, Response

from ...crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_ID, is_id
from ...records.explanation import Explanation
from .confirming import forget, said_to
from .happened import timeline
from .html import Child, Html, h
from .layout import document
from .pieces import button_link, card, copy, facts, moment, owner_link, typed
from .view import View, look_of

NOTHING = "Nothing is known under that."


def is_any_id(text: str) -> bool:
    """Whether a text is the id of a session, a token or a service key."""
    return any(is_id(kind, text) for kind in (SESSION_ID, TOKEN_ID, KEY_ID))


def of_what_is_known(explained: Explanation, view: View) -> Html:
    """Return an explanation as a card: its state, since when, and the sentences that say why."""
    known: list[tuple[str, Child]] = [("State", h("span", explained.state, class_=f"badge {explained.state}"))]
    if explained.since is not None:
        known.append(("Since", moment(explained.since, view)))
    if explained.reason is not None:
        known.append(("Reason", explained.reason))
    if explained.owner is not None:
        known.append(("Owner", owner_link(explained.owner)))
    sentences = h("ul", [h("li", sentence) for sentence in explained.because], class_="because")
    return card("Why it is as it is", facts(known), sentences)


async def page(view: View) -> Child | Response:
    """Return the page that explains an id."""
    asked = view.given("id")
    field = typed("id", "Id of a session, token or service key", asked, type="search", maxlength=64, required=True)
    asking = h("form", field, h("button", "Explain"), action="/console/explain", class_="filters")
    if not asked:
        said = h("p", "Type an id to see its state, since when it is so, and why.", class_="muted")
        return h("div", h("h1", "Explain"), card("Which", asking, said))
    if not is_any_id(asked):
        words = "That is no id of a session (ses_…), token (tok_…) or service key (key_…)."
        return h("div", h("h1", "Explain"), card("Which", asking, h("p", words, class_="notice")))
    explained = await view.tokens.explain(asked)
    parts: list[Child] = [card("Which", asking, _way_to(explained))]
    if explained.state == "unknown":
        parts.append(h("p", NOTHING, class_="notice"))
    parts.append(of_what_is_known(explained, view))
    parts.append(card("What happened", await timeline(view, asked)))
    return h("div", h("div", h("h1", "Explain ", h("span", asked, class_="id")), copy(asked), class_="headed"), parts)


def _way_to(explained: Explanation) -> Child:
    if explained.state in ("ended", "unknown") or explained.kind not in ("session", "token"):
        return None
    return h("p", button_link(f"To the {explained.kind}", f"/console/{explained.kind}s/{explained.id}", quiet=True))


async def gone(view: View, id: str) -> Response:
    """Return what is said of an id of which nothing lives: that nothing is known, or what is."""
    inside: list[Child] = []
    if is_any_id(id):
        explained = await view.tokens.explain(id)
        words = NOTHING if explained.state == "unknown" else "Nothing lives under that id."
        inside = [h("p", words, class_="notice")]
        if view.visitor.may("explain"):
            inside.append(of_what_is_known(explained, view))
        inside.append(card("What happened", await timeline(view, id)))
    else:
        inside = [h("p", NOTHING, class_="notice")]
    heading = h("div", h("h1", "Not here ", h("span", id, class_="id")), class_="headed")
    body = h("div", heading, inside)
    return answer(view, "Not here", body, 404)


def answer(view: View, title: str, inside: Child, status: int = 200) -> Response:
    """Return a page, with what is to be said about the act before it."""
    request, visitor = view.request, view.visitor
    said = said_to(request, visitor)
    if said is not None:
        inside = [h("p", said.words, class_="notice done" if said.is_done else "notice", role="status"), inside]
    text = document(title, inside, look=look_of(request), visitor=visitor, path=request.url.path)
    response = HTMLResponse(text, status)
    if said is not None:
        forget(response)
    return response
