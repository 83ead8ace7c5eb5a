"""Lists that go both ways and are searched: how far they look, and the links to what comes before and after.

Theory of operation. A list is read from a place on, at most ``LOOKED_AT`` records of it, whatever is asked for and
however many there are; what matches among them is shown a page at a time. So a page costs the same over a thousand
records as over a hundred thousand, and says how far it looked. The page before is the same list read the other way,
from the first thing of this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ...records import Page
from ...validation import cursor_of
from .addresses import address
from .html import Child, Html, h
from .pieces import Column, button_link, counted, exact
from .view import View

R = TypeVar("R")

SHOWN = 50
"""Rows of one page."""
READ = 500
"""Records of one read."""
LOOKED_AT = 1_000
"""Records that one page looks at, at the most about."""
ID_PART_MIN = 4
"""Characters of an id that are looked for at least."""
EXPORTED_MAX = 10_000
"""Rows of one export at the most."""

Call = Callable[..., Awaitable[Page[R]]]
NEWEST, OLDEST = "newest", "oldest"


class Window(NamedTuple, Generic[R]):
    """What was read of a list.

    Attributes:
        items: what matches, in the order in which it was read.
        rest: the place where looking stopped; ``None`` where that was all.
        looked_at: how many records were read.
        unreadable: the ids of what is left out because it cannot be read.
    """

    items: list[R]
    rest: str | None
    looked_at: int
    unreadable: list[str]


async def looked_through(
    call: Call[R],
    takes: Callable[[R], bool],
    *,
    after: str | None,
    newest: bool,
    most: int = LOOKED_AT,
    enough: int | None = None,
    at_once: int = READ,
) -> Window[R]:
    """Look through a list from a place on.

    Args:
        call: reads a page of it.
        takes: whether something matches.
        after: the place.
        newest: in which order.
        most: how many records to look at.
        enough: after how many that match to stop.
        at_once: how many records one read asks for.
    """
    items: list[R] = []
    unreadable: dict[str, None] = {}
    looked_at, rest = 0, after
    for _ in range(-(-most // at_once)):
        page = await call(after=rest, newest=newest, limit=at_once)
        items += [item for item in page.items if takes(item)]
        unreadable.update(dict.fromkeys(page.unreadable))
        looked_at, rest = looked_at + len(page.items), page.after
        if rest is None or (enough is not None and len(items) >= enough):
            break
    return Window(items, rest, looked_at, list(unreadable))


class Cut(NamedTuple):
    """A page cut out of a window.

    Attributes:
        items: what is shown.
        first: the number of the first of them in the list, as far as is known.
        known: how many there are, as far as was looked.
        is_all: whether that is all that there are.
        before, after: the addresses of the pages before and after.
        looked: words on how far was looked, where that is not to the end.
        unreadable: the ids of what is left out.
    """

    items: list[Any]
    first: int
    known: int
    is_all: bool
    before: str | None
    after: str | None
    looked: str
    unreadable: Sequence[str]


async def _place_of(item: Any) -> str:
    return cursor_of((item.created_at, item.id))


async def cut(
    view: View,
    path: str,
    query: dict[str, str],
    call: Call[Any],
    takes: Callable[[Any], bool],
    sorted_by: Callable[[Any], Any] | None,
    things: str,
    *,
    place_of: Callable[[Any], Awaitable[str]] = _place_of,
    most: int = LOOKED_AT,
    at_once: int = READ,
) -> Cut:
    """Read a list as an address asks for it, and cut out the page that is shown.

    Args:
        view: who asks; ``after``, ``before`` and ``from`` of its address say where the page begins.
        path: of the list.
        query: what narrows and orders it.
        call: reads it.
        takes: whether something matches.
        sorted_by: the order within what was read, where it is not that of the list.
        things: what they are called.
        place_of: answers the place of something in the list.
        most: how many records are read at the most.
        at_once: how many records one read asks for; where it is less than usual, no more are read than are shown.
    """
    is_newest = query.get("sort", "") != OLDEST
    first = max(1, _number(view.given("from")))
    if sorted_by is not None:
        window = await looked_through(call, takes, after=None, newest=True, most=most, at_once=at_once)
        return _cut_sorted(path, query, window, sorted_by, first, things)
    before, after = view.given("before") or None, view.given("after") or None
    is_back = before is not None
    window = await looked_through(
        call, takes, after=before or after, newest=is_newest is not is_back,
        most=most, enough=None if at_once == READ else SHOWN + 1, at_once=at_once,
    )  # fmt: skip
    items, more = window.items[:SHOWN], len(window.items) > SHOWN
    if is_back:
        items.reverse()
        at_begin = not more and window.rest is None
        first = 1 if at_begin else max(1, first - len(items))
        preceding = None if at_begin else await place_of(items[0]) if items else window.rest
        following = await place_of(items[-1]) if items else before
        return Cut(
            items, first, first - 1 + len(items), False,
            address(path, **query, before=preceding, from_=first) if preceding else None,
            address(path, **query, after=following, from_=first + len(items)),
            "", window.unreadable,
        )  # fmt: skip
    following = await place_of(items[-1]) if more else window.rest
    preceding = None
    if after is not None:
        preceding = await place_of(items[0]) if items else after
    return Cut(
        items, first, first - 1 + len(window.items), window.rest is None,
        address(path, **query, before=preceding, from_=first) if preceding else None,
        address(path, **query, after=following, from_=first + len(items)) if following else None,
        _looked(window, is_newest, things), window.unreadable,
    )  # fmt: skip


def _cut_sorted(
    path: str, query: dict[str, str], window: Window[Any], sorted_by: Callable[[Any], Any], first: int, things: str
) -> Cut:
    ordered = sorted(window.items, key=sorted_by)
    items = ordered[first - 1 : first - 1 + SHOWN]
    looked = _looked(window, is_newest=True, things=things)
    return Cut(
        items, first, len(ordered), window.rest is None,
        address(path, **query, from_=max(1, first - SHOWN)) if first > 1 else None,
        address(path, **query, from_=first + SHOWN) if first - 1 + SHOWN < len(ordered) else None,
        f"{looked} Sorted within these." if looked else "", window.unreadable,
    )  # fmt: skip


def _looked(window: Window[Any], is_newest: bool, things: str) -> str:
    if window.rest is None:
        return ""
    at_ms = int(window.rest.partition(".")[0])
    back = "back to" if is_newest else "up to"
    return f"Looked through {window.looked_at:,} {things}, {back} {exact(at_ms)}."


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


# --- how it is shown ---


def tally(shown: Cut, one: str) -> Html:
    """Return which of how many are shown: ``1-50 of 500+``."""
    plus = "" if shown.is_all else "+"
    if not shown.items:
        words = f"0 of {shown.known:,}{plus}"
    elif shown.first == 1 and len(shown.items) == shown.known and shown.is_all:
        words = counted(shown.known, one)
    else:
        last = shown.first + len(shown.items) - 1
        words = f"{shown.first:,}–{last:,} of {max(last, shown.known):,}{plus}"  # noqa: RUF001  # a range of numbers
    return h("span", words, class_="tally")


def pager(shown: Cut) -> Child:
    """Return the links to the pages before and after, and how far was looked."""
    links: list[Child] = []
    if shown.before is not None:
        links.append(button_link("← Previous page", shown.before, quiet=True, id="previous-page", rel="prev"))
    if shown.after is not None:
        words = "Next page →" if shown.items else "Look further →"
        links.append(button_link(words, shown.after, quiet=True, id="next-page", rel="next"))
    looked = h("span", shown.looked, class_="muted small") if shown.looked else None
    return h("div", links, looked, class_="pager") if links or looked else None


def by_creation(name: str, path: str, query: dict[str, str]) -> Column:
    """Return the column of the instant by which a list is ordered: it turns the order round."""
    is_oldest = query.get("sort") == OLDEST
    turned = address(path, **{**query, "sort": "" if is_oldest else OLDEST})
    sorted_by = {"": "descending", OLDEST: "ascending"}.get(query.get("sort", ""))
    return Column(name, turned, sorted_by)


def by_other(name: str, sort: str, way: str, path: str, query: dict[str, str]) -> Column:
    """Return a column by which what was read can be sorted."""
    return Column(name, address(path, **{**query, "sort": sort}), way if query.get("sort") == sort else None)


def exports(path: str, query: dict[str, str]) -> Html:
    """Return the links that export what a list holds."""
    return h(
        "span",
        h("span", "Export ", class_="muted small"),
        h("a", "CSV", href=address(path + ".csv", **query), download=True),
        " ",
        h("a", "JSON", href=address(path + ".json", **query), download=True),
        class_="exports",
        title=f"At most {EXPORTED_MAX:,} rows",
    )


def has(text: str, texts: Sequence[str | None], ids: Sequence[str | None] = ()) -> bool:
    """Whether one of some texts has a text in it, letters being alike in both cases, or one of some ids as it is.

    Three letters are in many an id by chance; of those, four are asked for at least.
    """
    folded = text.casefold()
    return any(each is not None and folded in each.casefold() for each in texts) or (
        len(text) >= ID_PART_MIN and any(each is not None and text in each for each in ids)
    )
