"""A store on a server belongs to one event loop, and is none the worse for having been asked on another."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from session_tokens import AsyncSessionTokens
from tests.helpers.event_loops import Loop
from tests.helpers.servers.cluster import shared_cluster

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))


@pytest.fixture(params=["valkey", "cluster", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "cluster":
        return f"{shared_cluster().url}?timeout=30&namespace=t{uuid.uuid4().hex[:12]}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def loops() -> Iterator[tuple[Loop, Loop]]:
    own, other = Loop(), Loop()
    yield own, other
    own.close()
    other.close()


@pytest.mark.parametrize("act", ["verify_session", "verify_token", "get_session", "open_session"])
def test_what_another_loop_asks_is_refused_and_harms_nothing(url: str, loops: tuple[Loop, Loop], act: str) -> None:
    own, other = loops
    tokens = own.do(AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False))
    try:
        issued = own.do(tokens.log_in("ann"))
        token = own.do(tokens.issue_token(issued.id, "value"))
        argument = {"verify_token": token.secret, "verify_session": issued.secret}.get(act, issued.id)
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            other.do(getattr(tokens, act)(argument))
        assert own.do(getattr(tokens, act)(argument)) is not None
    finally:
        own.do(tokens.close())
