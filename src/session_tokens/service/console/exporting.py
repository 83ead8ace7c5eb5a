"""Exports of what a list holds, as CSV for a spreadsheet or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from ...records import OwnerSummary, Page
from . import operating, owners, sessions, tokens
from .lists import EXPORTED_MAX, OLDEST, Call, looked_through
from .view import View

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")  # noqa: RUF001  # spreadsheets take wide ones too
"""How a cell begins that a spreadsheet would calculate or take apart: it is put behind an apostrophe."""


def cell(value: object) -> str:
    """Return a value as a cell of CSV that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    shown = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{shown}" if text.startswith(FORMULAS) else shown


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV (RFC 4180) with their names in the first line."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def answered(name: str, rows: list[dict[str, Any]], kind: str, *, is_whole: bool) -> Response:
    """Return rows as a file; its name, and JSON itself, says where it does not hold all of them."""
    file = name if is_whole else f"{name}-first-{len(rows)}"
    if kind == "csv":
        text, media = as_csv(rows), "text/csv; charset=utf-8"
    else:
        text, media = json.dumps({name: rows, "complete": is_whole}, ensure_ascii=False), "application/json"
    # A lone surrogate cannot be in what is kept; whatever else is text is UTF-8.
    headers = {"Content-Disposition": f'attachment; filename="{file}.{kind}"'}
    return Response(text.encode("utf-8", "replace"), 200, headers, media)


async def export_sessions(view: View, kind: str) -> Response:
    """Return the sessions of a list."""
    query = sessions.query_of(view)
    call, takes = sessions.listing_of(view, query)
    newest = query["sort"] != OLDEST
    window = await looked_through(call, takes, after=None, newest=newest, most=EXPORTED_MAX)
    order = sessions.sorted_by(query["sort"])
    items = sorted(window.items, key=order) if order is not None else window.items
    return answered("sessions", [sessions.as_row(item) for item in items], kind, is_whole=window.rest is None)


async def export_tokens(view: View, kind: str, which: str) -> Response:
    """Return the tokens of a list."""
    query = tokens.query_of(view)
    call, takes = tokens.listing_of(view, which, query)
    newest = query["sort"] != OLDEST
    window = await looked_through(call, takes, after=None, newest=newest, most=EXPORTED_MAX)
    order = tokens.sorted_by(query["sort"])
    items = sorted(window.items, key=order) if order is not None else window.items
    return answered(which, [tokens.as_row(item) for item in items], kind, is_whole=window.rest is None)


async def export_owners(view: View, kind: str) -> Response:
    """Return the owners of a list."""
    query = owners.query_of(view)
    call: Call[OwnerSummary] = view.tokens.list_owners
    if query["which"] == "disabled":
        call = _in_one_order(view.tokens.list_disabled_owners)
    newest = query["sort"] != OLDEST
    window = await looked_through(call, owners.takes_of(query), after=None, newest=newest, most=EXPORTED_MAX)
    order = owners.sorted_by(query["sort"])
    items = sorted(window.items, key=order) if order is not None else window.items
    return answered("owners", [each._asdict() for each in items], kind, is_whole=window.rest is None)


def _in_one_order(call: Call[OwnerSummary]) -> Call[OwnerSummary]:
    """Return a list that goes one way alone, whichever is asked for."""

    async def read(*, after: str | None, newest: bool, limit: int) -> Page[OwnerSummary]:
        return await call(after=after, limit=limit)

    return read


async def export_audit(view: View, kind: str) -> Response:
    """Return entries of the audit log."""
    query = operating.query_of(view)
    page = await operating.entries_of(view, query, None, EXPORTED_MAX, EXPORTED_MAX)
    return answered("audit", page.entries, kind, is_whole=page.next is None)
