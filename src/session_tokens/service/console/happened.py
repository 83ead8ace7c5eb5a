"""What is told of what happened: the timeline of a record, and the latest on the overview."""

from __future__ import annotations

from collections.abc import Sequence

from ...audit.reader import AuditFilter, read, searched
from .activity import (
    EVENTS_OF_SUBJECT_MAX,
    LOOKED_AT,
    OF_OPERATORS,
    RECENT_MAX,
    SHOWN,
    Happening,
    Seen,
    of_entry,
    said_of,
)
from .addresses import address
from .html import Child, Html, h
from .pieces import exact, instant, owner_link
from .view import View


async def latest(view: View) -> Seen:
    """Return what happened last, whatever it was."""
    page = await read(view.tokens.store, searched(RECENT_MAX, None, AuditFilter(), RECENT_MAX))
    if not page.is_kept:
        seen = await view.activity.recent()
        return seen._replace(happened=seen.happened[:SHOWN])
    shown = [each for each in map(of_entry, page.entries) if not each.is_ours and _may_see(view, each)]
    return Seen(shown[:SHOWN], True, True)


async def seen_of(view: View, subject: str, *, is_owner: bool = False) -> Seen:
    """Return what happened to a session, token or owner."""
    wanted = AuditFilter(owner=subject) if is_owner else AuditFilter(subject=subject)
    page = await read(view.tokens.store, searched(EVENTS_OF_SUBJECT_MAX, None, wanted, LOOKED_AT))
    if not page.is_kept:
        return await view.activity.timeline(subject, is_owner=is_owner)
    shown = [each for each in map(of_entry, page.entries) if _may_see(view, each)]
    return Seen(shown, True, page.next is None or len(page.entries) == EVENTS_OF_SUBJECT_MAX)


def _may_see(view: View, happening: Happening) -> bool:
    return happening.kind.startswith(OF_OPERATORS) or view.visitor.may("read_audit")


async def timeline(view: View, subject: str, seen: Seen | None = None, *, is_owner: bool = False) -> Child:
    """Return what happened to a session, token or owner, the newest first, and how far that goes."""
    seen = await seen_of(view, subject, is_owner=is_owner) if seen is None else seen
    shown = _listed(seen.happened[:SHOWN], view, names_subject=is_owner)
    all_of_it: Child = None
    if len(seen.happened) > SHOWN and seen.is_kept and view.visitor.may("read_audit"):
        where = address("/console/audit", **{"owner" if is_owner else "subject": subject})
        all_of_it = h("a", "All of it in the audit log", href=where)
    return [shown, h("p", how_far(seen), " ", all_of_it, class_="muted small")]


def how_far(seen: Seen) -> str:
    """Return in words where happenings come from, and how far back they go."""
    if not seen.is_kept:
        since = exact(seen.since_ms)
        return (
            f"No audit log is kept: this is what this service saw since it started at {since}. Start it with --audit."
        )
    if not seen.is_whole:
        return f"From the last {LOOKED_AT:,} entries of the audit log; session-tokens audit list looks further."
    return "From the audit log."


def latest_listed(seen: Seen, view: View) -> Html:
    """Return happenings of all kinds, each with what it happened to."""
    return _listed(seen.happened, view, names_subject=True)


def _listed(happened: Sequence[Happening], view: View, *, names_subject: bool) -> Html:
    if not happened:
        return h("p", "Nothing is known to have happened.", class_="empty")
    return h("ol", [_line(each, view, names_subject=names_subject) for each in happened], class_="timeline")


def _line(happening: Happening, view: View, *, names_subject: bool) -> Html:
    subject = happening.subject_id
    of_what: Child = None
    if names_subject and subject != happening.owner:
        of_what = h("span", subject[:10] + "…" + subject[-4:] if len(subject) > 18 else subject, class_="id")
        place = {"ses_": "sessions", "tok_": "tokens"}.get(subject[:4])
        if place is not None:
            of_what = h("a", of_what, href=f"/console/{place}/{subject}")
    given = happening.previous_owner is not None and happening.owner is not None
    to_owner: Child = None
    if happening.owner is not None and (names_subject or given):
        word = " to " if given else " of " if of_what is not None else ""
        to_owner = [word, owner_link(happening.owner)]
    reason = f" ({happening.reason})" if happening.reason else None
    return h(
        "li", h("strong", said_of(happening.kind)), " ", of_what, to_owner, reason, " ",
        h("span", instant(happening.at, view), class_="muted"),
    )  # fmt: skip
