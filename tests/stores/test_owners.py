"""Lists of owners on every store: each once, page by page, the disabled ones too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import InvalidInput, SessionTokens
from session_tokens.audit.log import Audit

PEPPER = bytes(range(32))
STORES = ("memory", "sqlite", "postgres", "valkey", "mariadb")


@pytest.fixture(params=STORES)
def st(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionTokens]:
    kind: str = request.param
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/store.db"}
    url = urls.get(kind) or request.getfixturevalue(f"{kind}_url")
    with SessionTokens.open(url, pepper=None if kind == "memory" else PEPPER, sweep=False, audit=Audit()) as tokens:
        yield tokens


def disabled_owners(st: SessionTokens, *, limit: int) -> list[str]:
    """Return all of them, page by page: one may be empty and name a next one."""
    owners: list[str] = []
    page = st.list_disabled_owners(limit=limit)
    while page.after is not None:
        owners += [owner.owner for owner in page]
        page = st.list_disabled_owners(after=page.after, limit=limit)
    return owners + [owner.owner for owner in page]


def test_pages_name_each_owner_once(st: SessionTokens) -> None:
    for name in ("ann", "bob", "ann", "carol", "dora", "ann", "eve {☂}"):
        st.open_session(name)
    for name in ("eve {☂}", "fred", "gina"):
        st.disable_owner(name)
    st.enable_owner("gina")
    st.rename_owner("bob", "robert")
    ways: dict[bool, list[tuple[str, int]]] = {False: [], True: []}
    for newest, listed in ways.items():
        after = None
        while True:
            page = st.list_owners(newest=newest, after=after, limit=2)
            listed += [(owner.owner, owner.sessions) for owner in page]
            if (after := page.after) is None:
                break

    assert [("ann", 3), ("carol", 1), ("dora", 1), ("robert", 1)] == sorted(ways[False])
    assert ways[False] == ways[True][::-1]
    assert {"eve {☂}", "fred"} == set(disabled_owners(st, limit=1))
    assert "owner_renamed" == st.list_audit(kind="owner_renamed")[0]["kind"]


@pytest.mark.parametrize("after", ["", "é", "١", "\ud800", "nowhere", "-1", "9" * 21, 5, ["eve"]])
def test_a_place_that_no_page_gave_is_bad_input_or_a_place_and_no_outage(st: SessionTokens, after: Any) -> None:
    st.disable_owner("eve")
    wrong = TypeError if not isinstance(after, str) else InvalidInput
    for listing in (st.list_owners, st.list_audit):
        with pytest.raises(wrong):
            listing(after=after)
    with contextlib.suppress(wrong):  # where owners are in order, each text is a place
        assert st.list_disabled_owners(after=after).after is None

    assert disabled_owners(st, limit=100) == ["eve"]
