"""The overview: what lives, what happened in the last hour and lately, what runs out next."""

from __future__ import annotations

import json
from typing import Any

from ...events import SESSION_ENDED, SESSION_OPENED, TOKEN_ENDED, TOKEN_ISSUED, TOKEN_TRANSFERRED
from ...records import Page
from ...rules.reserved import is_anonymous
from ..reserved import is_console_owner
from .activity import Charts
from .happened import how_far, latest, latest_listed
from .html import Child, Html, h
from .pieces import card, exact, id_link, instant, missing, owner_link, state_of, table
from .view import View

COUNT_MAX = 500
"""How far things are counted, every few seconds for each viewer: beyond it the overview says so, and reads no more."""


async def overview(view: View) -> Html:
    """Return the part of the overview that is asked for again and again."""
    tokens, now_ms = view.tokens, view.now_ms
    charts = await view.activity.charts()
    page = await tokens.list_sessions(anonymous=True, newest=True, limit=COUNT_MAX)
    detached = await tokens.list_sessions(detached=True, limit=COUNT_MAX)
    issued = await tokens.list_tokens(newest=True, limit=COUNT_MAX)
    waiting = await tokens.list_tokens(unassigned=True, limit=COUNT_MAX)
    offered = await tokens.list_tokens(sellable=True, limit=COUNT_MAX)
    sessions = [session for session in page if not is_console_owner(session.owner)]
    plus = "" if page.after is None else "+"
    kinds = {kind: sum(token.kind == kind for token in issued) for kind in ("session-bound", "transferable", "free")}
    figures = [
        ("Sessions alive", f"{len(sessions)}{plus}", "/console/sessions?who=visitors"),
        (
            f"Visitors among the {COUNT_MAX} opened last" if plus else "Of visitors not logged in",
            f"{sum(is_anonymous(session.owner) for session in sessions)}",
            "/console/sessions?who=visitors",
        ),
        ("Sessions detached", _so_far(detached), "/console/sessions?state=detached"),
        ("Tokens alive", _so_far(issued), "/console/tokens"),
        ("Unassigned, waiting", _so_far(waiting), "/console/unassigned"),
        ("On offer", _so_far(offered), "/console/market"),
    ]
    counters = h("div", [_figure(*figure) for figure in figures], class_="figures")
    far = f"Counted up to {COUNT_MAX}; a plus sign says that there are more."
    soon = sorted((s for s in sessions if s.expires_at is not None), key=lambda s: s.expires_at or 0)[:8]
    expiries = table(
        "The next sessions to end" if not plus else f"The next to end of the {COUNT_MAX} that were opened last",
        ("Session", "Owner", "State", "Ends"),
        [(id_link("sessions", s.id), owner_link(s.owner), state_of(s), instant(s.expires_at, view)) for s in soon],
        empty="No session has a deadline.",
    )
    opened = charts.per_minute(now_ms // 1000, SESSION_OPENED, SESSION_ENDED)
    moved = charts.per_minute(now_ms // 1000, TOKEN_ISSUED, TOKEN_TRANSFERRED, TOKEN_ENDED)
    seen = await latest(view)
    return h(
        "div",
        counters,
        h("p", far, class_="muted small") if plus or issued.after is not None else None,
        h(
            "div",
            card("Sessions in the last hour, by minute", chart("sessions", ("opened", "ended"), opened)),
            card("Tokens in the last hour, by minute", chart("tokens", ("issued", "transferred", "ended"), moved)),
            class_="grid wide",
        ),
        h(
            "div",
            card("Sessions ended, by reason", _bars(dict(charts.ended_by_reason.most_common()), "None ended yet.")),
            card("Tokens, by kind", _bars(kinds, "No token lives.")),
            class_="grid wide",
        ),
        h("p", _counted_since(charts), class_="muted small"),
        h(
            "div",
            card("Recent activity", latest_listed(seen, view), h("p", how_far(seen), class_="muted small")),
            card(
                "Next to end" if not plus else f"Next to end, of the {COUNT_MAX} opened last",
                expiries,
                missing([*page.unreadable, *issued.unreadable]),
            ),
            class_="grid wide",
        ),
        id="overview",
        hx_get="/console/overview",
        hx_trigger="every 5s",
        hx_swap="outerHTML",
    )


def _counted_since(charts: Charts) -> str:
    since = exact(max(charts.since_ms, 0))
    if charts.is_kept:
        return f"Charts and reasons count since {since}: what the audit log says, then what this service commits."
    return (
        f"Charts and reasons count what this service committed since {since}: no audit log is kept, so that a restart "
        "begins anew. Start it with --audit."
    )


def _so_far(page: Page[Any]) -> str:
    return f"{len(page)}{'' if page.after is None else '+'}"


def _figure(name: str, value: str, address: str) -> Html:
    return h("a", h("strong", value), h("span", name), href=address, class_="figure")


def chart(id: str, names: tuple[str, ...], counted: tuple[list[int], list[list[int]]]) -> Child:
    """Return a chart with its legend: a line for each name, how many in all beside it."""
    at_s, series = counted
    totals = [sum(counts) for counts in series]
    summary = ", ".join(f"{count} {name}" for name, count in zip(names, totals, strict=True))
    data = json.dumps({"names": names, "data": [at_s, *series]})
    plot = h(
        "div", class_="chart", id=f"chart-{id}", data_chart=data, role="img", aria_label=f"In the last hour: {summary}"
    )
    legend = [
        h("li", h("span", class_=f"swatch line-{number}"), f"{name} ", h("b", f"{total:,}"))
        for number, (name, total) in enumerate(zip(names, totals, strict=True))
    ]
    return [h("ul", legend, class_="legend"), plot]


def _bars(counts: dict[str, int], empty: str) -> Html:
    shown = {name: count for name, count in counts.items() if count}
    if not shown:
        return h("p", empty, class_="empty")
    most = max(shown.values())
    rows = [
        h("li", h("span", name), h("progress", value=count, max=most, aria_label=f"{name}: {count}"), h("b", count))
        for name, count in shown.items()
    ]
    return h("ul", rows, class_="bars")
