"""The overview: what lives, what happened in the last hour, what runs out next."""

from __future__ import annotations

import json

from ..._async.api import AsyncSessionTokens
from ...events import SESSION_ENDED, SESSION_OPENED, TOKEN_ISSUED, TOKEN_TRANSFERRED
from ...rules.reserved import is_anonymous
from .activity import Activity
from .html import Child, Html, h
from .layout import card, id_link, instant, owner_link, state_of, table
from .pages import missing

COUNT_MAX = 500
"""How far things are counted, every few seconds for each viewer: beyond it the overview says so, and reads no more."""


async def overview(tokens: AsyncSessionTokens, activity: Activity) -> Html:
    """Return the part of the overview that is asked for again and again."""
    now_ms = tokens.store.clock.now()
    sessions = await tokens.list_sessions(anonymous=True, limit=COUNT_MAX)
    issued = await tokens.list_tokens(limit=COUNT_MAX)
    plus, token_plus = "" if sessions.after is None else "+", "" if issued.after is None else "+"
    kinds = {kind: sum(token.kind == kind for token in issued) for kind in ("session-bound", "transferable", "free")}
    figures = [
        ("Sessions alive", f"{len(sessions)}{plus}", "/console/sessions"),
        ("of them visitors", f"{sum(is_anonymous(s.owner) for s in sessions)}{plus}", "/console/sessions?visitors=yes"),
        ("of them detached", f"{sum(s.is_detached for s in sessions)}{plus}", "/console/sessions?detached=yes"),
        ("Tokens alive", f"{len(issued)}{token_plus}", "/console/tokens"),
        ("Unassigned, waiting", f"{sum(t.is_unassigned for t in issued)}{token_plus}", "/console/unassigned"),
        ("On offer", f"{sum(t.is_sellable for t in issued)}{token_plus}", "/console/market"),
    ]
    counters = h("div", [_figure(*figure) for figure in figures], class_="figures")
    soon = sorted((s for s in sessions if s.expires_at is not None), key=lambda s: s.expires_at or 0)[:8]
    expiries = table(
        "The next sessions to end" if not plus else f"The next to end of the {COUNT_MAX} that were opened first",
        ("Session", "Owner", "State", "Ends"),
        [
            (id_link("sessions", s.id), owner_link(s.owner), state_of(s), instant(s.expires_at, now_ms=now_ms))
            for s in soon
        ],
        empty="No session has a deadline.",
    )
    opened = activity.per_minute(now_ms // 1000, SESSION_OPENED, SESSION_ENDED)
    moved = activity.per_minute(now_ms // 1000, TOKEN_ISSUED, TOKEN_TRANSFERRED)
    return h(
        "div",
        counters,
        h(
            "div",
            card("Sessions in the last hour", _chart("sessions", ("opened", "ended"), opened)),
            card("Tokens in the last hour", _chart("tokens", ("issued", "transferred"), moved)),
            card("Ended, by reason", _bars(dict(activity.ended_by_reason.most_common()), "Nothing ended yet.")),
            card("Tokens, by kind", _bars(kinds, "No token lives.")),
            class_="grid",
        ),
        card("Next to end", expiries, missing([*sessions.unreadable, *issued.unreadable])),
        h("p", "Charts and reasons count what this process committed since it started.", class_="muted small"),
        id="overview",
        hx_get="/console/overview",
        hx_trigger="every 5s",
        hx_swap="outerHTML",
    )


def _figure(name: str, value: str, address: str) -> Html:
    return h("a", h("strong", value), h("span", name), href=address, class_="figure")


def _chart(id: str, names: tuple[str, ...], counted: tuple[list[int], list[list[int]]]) -> Child:
    at_s, series = counted
    total = [sum(counts) for counts in series]
    summary = ", ".join(f"{count} {name}" for name, count in zip(names, total, strict=True))
    data = json.dumps({"names": names, "data": [at_s, *series]})
    plot = h(
        "div", class_="chart", id=f"chart-{id}", data_chart=data, role="img", aria_label=f"In the last hour: {summary}"
    )
    return [plot, h("p", summary, class_="muted small")]


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
