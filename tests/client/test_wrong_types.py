"""A wrong type is told by the client as by the library, and nothing is done by it or sent."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from session_tokens import InvalidInput, SessionTokens, SessionTokensError
from session_tokens.client.calls import CALLS
from session_tokens.crypto.minting import new_secret

ID = "ses_00" + "0" * 22


@pytest.mark.parametrize(
    ("command", "given", "options"),
    [
        ("destroy_session", [ID], {"reason": None}),
        ("destroy_sessions", ["ann"], {"reason": None}),
        ("list_sessions", [], {"limit": None}),
        ("list_tokens", [], {"limit": "5"}),
        ("list_owners", [], {"limit": True}),
        ("get_session", [b"x"], {}),
        ("get_token", [{}], {}),
        ("follow_events", [], {"owner": 5}),
        ("follow_events", [], {"after": b"evt"}),
    ],
)
def test_it_is_a_type_error(command: str, given: list[Any], options: dict[str, Any]) -> None:
    nowhere = SessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), retry_for=0.1)
    with nowhere as st, pytest.raises(TypeError):
        getattr(st, command)(*given, **options)


TEXT: list[Any] = [5, b"x", True, ["a"]]
NUMBER: list[Any] = ["5", 1.5, True]
FLAG: list[Any] = [1, "yes"]
WRONG: dict[str, list[Any]] = {
    "str": [*TEXT, None], "str | None": TEXT, "str | None | Unset": TEXT, "int": [*NUMBER, None], "int | None": NUMBER,
    "bool": [*FLAG, None], "bool | None": FLAG, "bool | Unset": [*FLAG, None], "Mapping[str, JSON]": [None, [1], "x"],
    "Mapping[str, JSON] | None": [[1], "x"], "Collection[str]": ["x", 5, [5]], "str | Sequence[str] | None": [5, [5]],
}  # fmt: skip
"""What a parameter does not take, by what the signature says of it."""


def every_wrong_one() -> Iterator[tuple[str, str, object]]:
    for command in CALLS:
        for name, parameter in inspect.signature(getattr(SessionTokens, command)).parameters.items():
            yield from ((command, name, wrong) for wrong in WRONG.get(str(parameter.annotation), []))


def test_whatever_the_library_tells_as_a_wrong_type_is_not_sent() -> None:
    """None is left out where it is the default: what a query does not say is not wrong."""
    nowhere = SessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), retry_for=0.1)
    told = 0
    with nowhere, SessionTokens.open("memory://", sweep=False) as library:
        session = library.open_session("ann", detachable=True)
        token = library.issue_token(session.id, "v", transferable=True)
        right: dict[str, Any] = dict.fromkeys(("owner", "giver", "receiver", "borrower"), "ann")
        right |= {"session_key": session.id, "id": session.id, "name": "max_age", "value": 5, "to": "ben"}
        right |= {"changes": {"a": 1}}
        for command, name, wrong in every_wrong_one():
            needed = inspect.signature(getattr(SessionTokens, command)).parameters.values()
            given = {each.name: right.get(each.name) for each in needed if each.default is each.empty}
            given = {**given, "key": token.id if "token" in command or "offer" in command else session.id, name: wrong}
            given = {each.name: given[each.name] for each in needed if each.name in given}
            try:
                getattr(library, command)(**given)
            except TypeError:
                told += 1
                with pytest.raises(TypeError):
                    getattr(nowhere, command)(**given)
            except SessionTokensError:
                pass  # something else is told first
    assert told > 300


@pytest.mark.parametrize("host", ["tokens..example", "t" * 64, f"{'t' * 64}.example", "tokens." * 40 + "example"])
def test_a_host_that_can_be_none_is_no_address(host: str) -> None:
    with pytest.raises(InvalidInput, match="a host or port that is none"):
        SessionTokens.connect(f"https://{host}", key=new_secret("stk_"))
