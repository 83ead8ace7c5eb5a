"""A batch of commits that a server refuses as a whole: one by one, whatever fails later, what is written is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.contract.changes import Changes
from session_tokens.contract.drive import drive_now
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import Get
from session_tokens.errors import StoreUnavailable
from session_tokens.records import Token
from session_tokens.stores.common.retry import Full, NotExecuted
from session_tokens.stores.connect import open_store_now

PEPPER = bytes(range(32))


@pytest.fixture(params=["postgres_url", pytest.param("mariadb_url", marks=pytest.mark.needs_mariadb)])
def tokens(request: pytest.FixtureRequest) -> Iterator[SessionTokens]:
    store = open_store_now(request.getfixturevalue(request.param), pepper=PEPPER)
    with SessionTokens(store) as opened:
        yield opened


def setting(name: str) -> Commit:
    changes = Changes()
    changes.others().settings.append((name, "1"))
    return Commit(changes, {}, 0)


def again(token: Token) -> Commit:
    """Make a token that is there, which no server takes."""
    changes = Changes()
    changes.tokens.append((None, token))
    return Commit(changes, {}, 0)


@pytest.mark.parametrize(
    ("error", "of_the_last"),
    [(NotExecuted("gone"), [False]), (Full("full"), [Full]), (StoreUnavailable("silent"), [StoreUnavailable])],
)
def test_what_is_written_is_not_told_of_who_fails_after_it(
    tokens: SessionTokens, error: StoreUnavailable, of_the_last: list[Any]
) -> None:
    """Else it would be sent again, or its caller told that nothing was done and do it again."""
    store: Any = tokens.store
    taken = tokens.issue_token(None, "1").token
    refused: list[object] = []

    with closing(store.backend.links.connect(5, 5)) as link:

        def ask(step: Any) -> Any:
            if store.read_now([Get("setting", "second")]).found[0].value is not None:
                refused.append(step)
                raise error
            return link.ask(step, 5)

        batch = [setting("first"), setting("second"), again(taken), setting("third")]
        outcomes = drive_now(store.backend.commit(batch), ask)

    assert refused
    assert [True, True] == list(outcomes[:2])
    assert [outcome if outcome is False else type(outcome) for outcome in outcomes[2:3]] == of_the_last
    assert outcomes[3] is False
    assert [answer.value for answer in store.read_now([Get("setting", name) for name in ("first", "third")]).found] == [
        "1",
        None,
    ]
