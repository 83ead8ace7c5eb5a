"""What runs the service: its keys, and the audit log."""

from __future__ import annotations

from ...audit.reader import AuditFilter, AuditPage, read, searched
from ...events import KINDS
from ...records import ServiceKey
from ...service_keys.keys import last_used, list_keys
from ...service_keys.networks import networks_of
from .activity import LOOKED_AT, said_of
from .addresses import address
from .explaining import is_any_id
from .html import Child, h
from .lists import SHOWN, exports
from .pieces import (
    button_link,
    card,
    copy,
    counted,
    facts,
    form,
    hidden,
    id_link,
    id_shown,
    instant,
    moment,
    owner_link,
    picked,
    table,
    typed,
)
from .view import View

AUDIT, KEYS = "/console/audit", "/console/keys"


async def keys_page(view: View) -> Child:
    """Return the service keys; they are made and rotated at the command line, where their secret is shown once."""
    keys = await list_keys(view.tokens.store)
    used = await last_used(view.tokens.store, keys)
    rows: list[list[Child]] = []
    for key in sorted(keys, key=lambda key: (-key.created_at, key.id)):
        act: Child = None
        if key.id == view.visitor.key.id:
            act = h("span", "yours", class_="muted")
        elif view.visitor.may("manage_keys"):
            act = form(f"{KEYS}/{key.id}/revoke", view.visitor, h("button", "Revoke …", class_="danger"))
        rows.append(
            [
                h("span", h("span", key.id, class_="id"), copy(key.id), class_="copied"),
                key.role,
                key.label or "",
                ", ".join(map(str, networks_of(key))) or h("span", "everywhere", class_="muted"),
                instant(key.created_at, view),
                instant(used.get(key.id), view),
                instant(key.expires_at, view) if key.alive(view.now_ms) else h("span", "ended", class_="badge ended"),
                act,
            ]
        )
    listed = table(
        "Service keys",
        ("Key", "Role", "Label", "From", "Made", "Last used", "Ends", "Act"),
        rows,
        empty="There is no key.",
    )
    how = h(
        "p",
        "Make or rotate one at the command line: ",
        h("code", "session-tokens keys create --role verify"),
        class_="muted",
    )
    head = h("div", h("span", counted(len(rows), "key"), class_="tally"), class_="over")
    return h("div", h("h1", "Service keys"), card("Programs that may call the service", head, listed, how))


async def asked_before_revoking(view: View, key: ServiceKey) -> Child:
    """Return the page that says which key is to be revoked and asks whether it shall be."""
    used = await last_used(view.tokens.store, [key])
    about = facts(
        [
            ("Key", h("span", key.id, class_="id")),
            ("Role", key.role),
            ("Label", key.label or h("span", "none", class_="muted")),
            ("From", ", ".join(map(str, networks_of(key))) or "everywhere"),
            ("Made", moment(key.created_at, view)),
            ("Last used", moment(used.get(key.id), view)),
        ]
    )
    words = "Whatever uses it is refused from now on, and who entered the console with it is out. Nothing undoes it."
    asking = form(
        f"{KEYS}/{key.id}/revoke", view.visitor, hidden("confirmed", "yes"),
        h("button", "Revoke this key", class_="danger"), button_link("Do nothing", KEYS, quiet=True), class_="acts",
    )  # fmt: skip
    return h(
        "div", h("h1", "Revoke this key?"), card("Which", about, h("p", words, class_="asked"), asking, class_="danger")
    )


def query_of(view: View) -> dict[str, str]:
    """Return what an address narrows the audit log by."""
    kind = view.given("kind")
    return {
        "kind": kind if kind in KINDS else "",
        "owner": view.request.query_params.get("owner", ""),
        "subject": view.given("subject"),
        "actor": view.given("actor"),
    }


async def entries_of(view: View, query: dict[str, str], after: str | None, limit: int, looked_at: int) -> AuditPage:
    """Return entries of the audit log, the newest first."""
    wanted = AuditFilter(**{name: value or None for name, value in query.items()})  # type: ignore[arg-type]  # all texts
    return await read(view.tokens.store, searched(limit, after, wanted, looked_at))


async def audit_page(view: View) -> Child:
    """Return the last entries of the audit log."""
    query = query_of(view)
    page = await entries_of(view, query, view.given("after") or None, SHOWN, LOOKED_AT)
    rows: list[list[Child]] = [
        [
            f"{entry.get('n')} / {entry['chain']}" if entry.get("chain") else entry.get("n"),
            instant(entry.get("at"), view),
            said_of(str(entry.get("kind"))),
            _subject(str(entry.get("subject_id") or "")),
            owner_link(entry.get("owner")),
            entry.get("reason") or "",
            _actor(str(entry.get("actor") or "")),
        ]
        for entry in page.entries
    ]
    columns = ("No.", "When", "What", "Of", "Owner", "Why", "By")
    if not page.is_kept:
        empty = "No audit log is kept: start the service with --audit."
    else:
        empty = "No such entry." if page.next is None else f"None among {page.looked_at:,} entries; look further."
    listed = table("Audit log", columns, rows, empty=empty)
    how = h(
        "p", "Verify it at the command line: ", h("code", "session-tokens audit verify --anchor FILE"), class_="muted"
    )
    kinds = [("", "anything"), *((kind, said_of(kind)) for kind in KINDS)]
    filters = h(
        "form",
        picked("kind", "What", query["kind"], kinds),
        typed("owner", "Owner is", query["owner"], type="search"),
        typed("subject", "Of (an id, an owner, a setting)", query["subject"], type="search", maxlength=200),
        typed("actor", "By (a key, or os: and a user)", query["actor"], type="search", maxlength=200),
        h("button", "Apply"),
        button_link("Reset", AUDIT, quiet=True),
        action=AUDIT,
        class_="filters",
    )
    links: list[Child] = []
    if view.given("after"):
        links.append(button_link("← Newest entries", address(AUDIT, **query), quiet=True, id="previous-page"))
    if page.next is not None:
        words = "Older entries →" if rows else "Look further →"
        links.append(button_link(words, address(AUDIT, **query, after=page.next), quiet=True, id="next-page"))
        if page.looked_at > len(rows):
            links.append(h("span", f"Looked through {page.looked_at:,} entries.", class_="muted small"))
    way = h("div", links, class_="pager") if links else None
    head = h(
        "div", h("span", counted(len(rows), "entry", "entries"), class_="tally"), exports(AUDIT, query), class_="over"
    )
    return h("div", h("h1", "Audit log"), card("State changes, the newest first", filters, head, listed, way, how))


def _subject(subject: str) -> Child:
    place = {"ses_": "sessions", "tok_": "tokens"}.get(subject[:4])
    if place is None or not is_any_id(subject):
        return h("span", subject, class_="id")
    return id_link(place, subject)


def _actor(actor: str) -> Child:
    return id_shown(actor) if is_any_id(actor) else h("span", actor, class_="id")
