"""Lists of owners on every store: each once, page by page, the disabled ones too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens import SessionTokens
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
    disabled: list[str] = []
    after = None
    while True:
        page = st.list_disabled_owners(after=after, limit=1)
        disabled += [owner.owner for owner in page]
        if (after := page.after) is None:
            break

    assert [("ann", 3), ("carol", 1), ("dora", 1), ("robert", 1)] == sorted(ways[False])
    assert ways[False] == ways[True][::-1]
    assert {"eve {☂}", "fred"} == set(disabled)
    assert "owner_renamed" == st.list_audit(kind="owner_renamed")[0]["kind"]
