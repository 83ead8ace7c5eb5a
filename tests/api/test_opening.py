"""What is no such thing is refused when the API is opened, in words that name what is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens
from session_tokens.events import Event

WRONG = [
    ({"settings": {"max_age": 60}}, "Settings"),
    ({"audit": True}, "Audit"),
    ({"audit": "anchors.jsonl"}, "Audit"),
    ({"sealed": "no"}, "True, False or None"),
    ({"sweep": "no"}, "True or False"),
    ({"clock": 5}, "ManualClock"),
    ({"clock": SimpleNamespace(now=int)}, "raise_to"),
    ({"pepper": "p" * 32}, "key id"),
]


@pytest.mark.parametrize(("given", "remedy"), WRONG)
def test_an_argument_of_another_type_is_refused_before_a_store_is_made(
    tmp_path: Path, given: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(TypeError, match=remedy):
        SessionTokens.open(f"sqlite:///{tmp_path / 's.db'}", **given)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [SessionTokens, AsyncSessionTokens])
def test_a_url_in_the_place_of_a_store_is_told_who_opens_it(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"open\(url\)"):
        kind("memory://")


def test_what_cannot_be_called_or_would_be_awaited_does_not_listen() -> None:
    async def listening(_: Event) -> None:
        """Is never awaited."""

    wrong: Any
    with SessionTokens.open("memory://") as st:
        for wrong in (5, listening):
            with pytest.raises(TypeError, match="follow_events"):
                st.subscribe(wrong)


@pytest.mark.parametrize(("pepper", "error"), [(b"short", InvalidInput), ({}, InvalidInput), ("p" * 32, TypeError)])
def test_memory_needs_no_pepper_and_takes_none_that_no_other_store_would(pepper: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        SessionTokens.open("memory://", pepper=pepper)
    with SessionTokens.open("memory://", pepper=b"p" * 32) as st:
        assert st.verify_session(st.open_session("ann").secret) is not None
