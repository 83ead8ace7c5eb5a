"""The owners: who has sessions, who is disabled, and the page of one."""

from __future__ import annotations

from starlette.responses import Response

from ...contract.queries import Count, Get
from ...records import OwnerSummary, Page
from ..addresses import decoded
from ..reserved import is_console_owner
from . import sessions, tokens
from .addresses import address
from .explaining import NOTHING, answer
from .happened import seen_of, timeline
from .html import Child, Html, h
from .lists import exports, has
from .pieces import (
    button_link,
    card,
    copy,
    counted,
    facts,
    form,
    instant,
    missing,
    moment,
    owner_address,
    owner_link,
    picked,
    table,
    typed,
)
from .view import View

PATH = "/console/owners"
WHICH = (("", "with living sessions"), ("disabled", "disabled"))


def owner_in(view: View) -> str:
    """Return the owner that an address names, in its path or its query.

    Raises:
        InvalidInput: the path is not percent-encoded UTF-8.
    """
    request = view.request
    return decoded(request.path_params.get("owner", "")) or request.query_params.get("owner", "")


def query_of(view: View) -> dict[str, str]:
    """Return what an address narrows a list of owners by."""
    return {"q": view.given("q"), "which": view.one_of("which", "", "disabled")}


async def page_of(view: View, query: dict[str, str], after: str | None, limit: int) -> Page[OwnerSummary]:
    """Return a page of owners, those of the console left out."""
    if query["which"] == "disabled":
        page = await view.tokens.list_disabled_owners(after=after, limit=limit)
    else:
        page = await view.tokens.list_owners(after=after, limit=limit)
    text = query["q"]
    shown = [each for each in page if not is_console_owner(each.owner) and (not text or has(text, (each.owner,)))]
    return Page(shown, page.after, page.unreadable)


async def owners(view: View) -> Child | Response:
    """Return the list of owners, or the page of the one that the query names."""
    if "owner" in view.request.query_params:
        return await owner_page(view)
    query = query_of(view)
    page = await page_of(view, query, view.given("after") or None, 50)
    rows: list[list[Child]] = [
        [
            owner_link(each.owner),
            _state(each.disabled_at),
            each.sessions,
            instant(each.since, view, never="none lives"),
            instant(each.disabled_at, view, never=""),
        ]
        for each in page
    ]
    is_disabled = query["which"] == "disabled"
    empty = "No owner is disabled." if is_disabled else "No owner has a living session."
    if query["q"] or page.after is not None:
        empty = "None in this part of the list." if page.after is None else "None in this part of the list; go on."
    listed = table("Owners", ("Owner", "State", "Sessions", "Oldest opened", "Disabled since"), rows, empty=empty)
    filters = h(
        "form",
        typed("q", "Owner has", query["q"], type="search", maxlength=200),
        picked("which", "Which", query["which"], WHICH),
        h("button", "Apply"),
        button_link("Reset", PATH, quiet=True),
        action=PATH,
        class_="filters",
    )
    following = None
    if page.after is not None:
        words = h("span", "A page looks at about 1,000 sessions.", class_="muted small")
        link = button_link("Next page →", address(PATH, **query, after=page.after), quiet=True, id="next-page")
        following = h("div", link, words, class_="pager")
    tally = h("span", counted(len(rows), "owner") + (" on this page" if page.after is not None else ""), class_="tally")
    head = h("div", tally, exports(PATH, query), class_="over")
    said = "Disabled: nothing is opened for them" if is_disabled else "By the opening of their oldest session"
    return h("div", h("h1", "Owners"), card(said, filters, head, listed, missing(page.unreadable), following))


def _state(disabled_at: int | None) -> Html:
    word, look = ("active", "attached") if disabled_at is None else ("disabled", "ended")
    return h("span", word, class_=f"badge {look}")


async def known(view: View, owner: str) -> OwnerSummary | None:
    """Return what the store knows of an owner; ``None`` where it knows nothing: no session, no entry, no token."""
    _, (entry, count) = await view.tokens.store.read([Get("entry", owner), Count("sessions_of", owner)])
    disabled_at = None if entry.value is None else entry.value.disabled_at
    if count.value or entry.value is not None or (await view.tokens.list_tokens(owner=owner, limit=1)).items:
        return OwnerSummary(owner, count.value, None, disabled_at)
    return None


async def owner_page(view: View) -> Child | Response:
    """Return the page of one owner; of whom nothing is known, that it is so."""
    owner = owner_in(view)
    if not owner:
        return answer(view, "Not here", h("div", h("h1", "Not here"), h("p", NOTHING, class_="notice")), 404)
    summary = await known(view, owner)
    seen = await seen_of(view, owner, is_owner=True)
    if summary is None and not seen.happened:
        looked = "No living session or token is theirs, they are not disabled, and nothing is known to have happened."
        link = h("a", "Find what has that in it", href=address("/console/find", q=owner))
        inside = [h("h1", "Owner ", owner), h("p", NOTHING, class_="notice"), h("p", looked, " ", link)]
        return answer(view, "Not here", h("div", inside), 404)
    summary = summary or OwnerSummary(owner, 0, None, None)
    is_disabled = summary.disabled_at is not None
    about = facts(
        [
            ("State", _state(summary.disabled_at)),
            ("Disabled since", moment(summary.disabled_at, view, never="not disabled")),
            ("Sessions", summary.sessions),
        ]
    )
    mark = h("span", "disabled", class_="badge ended") if is_disabled else None
    return h(
        "div",
        h("div", h("h1", "Owner ", owner), copy(owner), mark, class_="headed"),
        card("What they are", about),
        card("Sessions", await sessions.some(view, owner)),
        card("Tokens", await tokens.some(view, owner=owner)),
        _acts(view, owner, is_disabled=is_disabled),
        card("What happened", await timeline(view, owner, seen, is_owner=True)),
    )


def _acts(view: View, owner: str, *, is_disabled: bool) -> Html:
    """Return what the visitor may do to an owner: of disabling and enabling the one that changes something."""
    visitor = view.visitor
    shown: list[Child] = []
    if visitor.may("end_session"):
        field = typed("typed", "Type the owner to end all their sessions", required=True)
        button = h("button", "End all sessions", class_="danger")
        shown.append(form(owner_address(owner, "end"), visitor, field, button, class_="act"))
    if is_console_owner(owner):
        pass  # a service key in the console; it is revoked instead
    elif is_disabled and visitor.may("enable_owner"):
        said = h("p", "Sessions may be opened for them again; what ended stays ended.", class_="muted small")
        button = h("button", "Enable again", class_="quiet")
        shown.append(form(owner_address(owner, "enable"), visitor, said, button, class_="act"))
    elif not is_disabled and visitor.may("disable_owner"):
        field = typed("typed", "Type the owner to disable them: all their sessions end, none is opened", required=True)
        button = h("button", "Disable", class_="danger")
        shown.append(form(owner_address(owner, "disable"), visitor, field, button, class_="act"))
    if not is_console_owner(owner) and visitor.may("forget_owner"):
        words = "Type the owner to forget them: all of theirs ends, and a pseudonym stands for them, for ever"
        button = h("button", "Forget", class_="danger")
        shown.append(
            form(owner_address(owner, "forget"), visitor, typed("typed", words, required=True), button, class_="act")
        )
    return card(
        "Acts", h("div", shown or h("p", "Your role only looks.", class_="muted"), class_="acts"), class_="danger"
    )
