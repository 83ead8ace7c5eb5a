"""A wrong type is told by the client as by the library, and nothing is done by it or sent."""

from __future__ import annotations

from typing import Any

import pytest

from session_tokens import SessionTokens
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
    ],
)
def test_it_is_a_type_error(command: str, given: list[Any], options: dict[str, Any]) -> None:
    nowhere = SessionTokens.connect("http://127.0.0.1:1", key=new_secret("stk_"), retry_for=0.1)
    with nowhere as st, pytest.raises(TypeError):
        getattr(st, command)(*given, **options)
