"""What every page is made of: who asks for it, in which words and clock, and what it may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import Request

from ..._async.api import AsyncSessionTokens
from ...contract.queries import Get
from ...web.cookies import Cookie
from .access import Visitor

if TYPE_CHECKING:
    from .activity import Activity

THEME = Cookie("console-theme")
TIMES = Cookie("console-times")
AGO, UTC_TIMES, LOCAL = "ago", "utc", "local"
QUERY_MAX = 200
"""Characters of what somebody searches for; no owner, label or address that is kept is compared beyond them."""


class Look(NamedTuple):
    """How a browser wants pages to look.

    Attributes:
        theme: ``light`` or ``dark``; ``None`` as its system has it.
        times: how instants are written: ``ago``, ``utc`` or ``local``.
    """

    theme: str | None
    times: str


def look_of(request: Request) -> Look:
    """Return the look that a browser's cookies ask for."""
    headers = request.scope["headers"]
    theme, times = THEME.value_of(headers), TIMES.value_of(headers)
    return Look(
        theme.decode("ascii") if theme in (b"light", b"dark") else None,
        times.decode("ascii") if times in (b"utc", b"local") else AGO,
    )


class View(NamedTuple):
    """Somebody's request for a page.

    Attributes:
        request: that of the browser.
        visitor: who entered.
        tokens: the library.
        activity: what this process saw.
        now_ms: the store's now.
        times: how instants are written.
    """

    request: Request
    visitor: Visitor
    tokens: AsyncSessionTokens
    activity: Activity
    now_ms: int
    times: str

    def given(self, name: str) -> str:
        """Return what the address says under a name; empty where it says nothing."""
        return self.request.query_params.get(name, "").strip()[:QUERY_MAX]

    def one_of(self, name: str, *words: str) -> str:
        """Return what the address says under a name where it is one of these words, else the first of them."""
        given = self.request.query_params.get(name, "")
        return given if given in words else words[0]


async def disabled_among(tokens: AsyncSessionTokens, owners: set[str]) -> dict[str, int]:
    """Return which of some owners are disabled, and since when (milliseconds), in one read."""
    asked = sorted(owners)
    if not asked:
        return {}
    _, found = await tokens.store.read([Get("entry", owner) for owner in asked])
    entries = {owner: result.value for owner, result in zip(asked, found, strict=True)}
    return {
        owner: entry.disabled_at
        for owner, entry in entries.items()
        if entry is not None and entry.disabled_at is not None
    }
