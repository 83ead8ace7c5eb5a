"""The API for threads and the one for asyncio are one API: same names, same arguments, same answers."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import session_tokens
from session_tokens import AsyncSessionTokens, AsyncTokenTables, SessionTokens, Settings, TokenTables
from session_tokens.testing import ManualClock

TWINS = [(SessionTokens, AsyncSessionTokens), (TokenTables, AsyncTokenTables)]
NOT_AWAITED = {"follow_events", "subscribe"}


def public_names(api: type) -> list[str]:
    return [name for name, member in inspect.getmembers(api) if not name.startswith("_") and callable(member)]


CALLS = [(sync, twin, name) for sync, twin in TWINS for name in public_names(twin)]


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_have_the_same_names(sync: type, twin: type) -> None:
    assert public_names(twin) == public_names(sync)


@pytest.mark.parametrize(("sync", "twin", "name"), CALLS)
def test_a_call_takes_the_same_arguments_on_both(sync: type, twin: type, name: str) -> None:
    ours, theirs = inspect.signature(getattr(sync, name)), inspect.signature(getattr(twin, name))

    assert list(theirs.parameters.values()) == list(ours.parameters.values())


@pytest.mark.parametrize(("sync", "twin", "name"), CALLS)
def test_a_call_answers_the_same_on_both_and_is_awaited_on_one(sync: type, twin: type, name: str) -> None:
    ours, theirs = getattr(sync, name), getattr(twin, name)

    if name == "connect":  # what it returns is known to type checkers alone
        assert theirs.__annotations__["return"] == f"Async{ours.__annotations__['return']}"
    else:
        named = re.sub(r"_async\.(\w+)\.Async", r"_sync.\1.Sync", str(get_type_hints(theirs)["return"]))
        assert named == str(get_type_hints(ours)["return"])
    assert not inspect.iscoroutinefunction(ours)
    if name not in NOT_AWAITED:
        assert inspect.iscoroutinefunction(theirs)


@pytest.mark.parametrize(("sync", "twin", "name"), CALLS)
def test_a_call_is_described(sync: type, twin: type, name: str) -> None:
    for api in (sync, twin):
        assert len(inspect.getdoc(getattr(api, name)) or "") > 20


@pytest.mark.parametrize("name", public_names(SessionTokens))
def test_after_the_first_two_arguments_all_are_named(name: str) -> None:
    parameters = list(inspect.signature(getattr(SessionTokens, name)).parameters.values())
    by_place = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]

    assert len(by_place) <= 2


MUTATING = re.compile(r"(open|rotate|detach|attach|change|update|destroy|disable|enable|issue|transfer|claim|reissue"
                      r"|offer|withdraw|accept|release|lend|recall|consume|hand)_")  # fmt: skip


@pytest.mark.parametrize("name", [name for name in public_names(SessionTokens) if MUTATING.match(name)])
def test_every_mutating_call_takes_an_idempotency_key(name: str) -> None:
    parameter = inspect.signature(getattr(SessionTokens, name)).parameters["idempotency_key"]

    assert (None, parameter.KEYWORD_ONLY) == (parameter.default, parameter.kind)


AGREED = """
open close open_session verify_session rotate_session detach_session attach_session change_session update_session_data
destroy_session destroy_sessions disable_owner enable_owner get_session list_sessions issue_token verify_token
transfer_token claim_token reissue_token offer_token withdraw_token change_token destroy_token get_token list_tokens
sweep accept_offer lend_token recall_token consume_token release_token claim_next_token hand_over
""".split()


def test_every_agreed_name_is_there() -> None:
    assert set(AGREED) <= set(public_names(SessionTokens))


def test_every_public_name_is_exported_once_and_can_be_had() -> None:
    names = list(session_tokens.__all__)

    assert sorted(set(names)) == sorted(names)
    assert all(getattr(session_tokens, name) is not None for name in names)
    assert set(names) <= set(dir(session_tokens))


def script(st: Any, call: Callable[[Any], Any]) -> list[Any]:
    """Run one script of commands; answer what can be compared of its answers."""
    opened = call(st.open_session("ann", detachable=True, data={"a": 1}))
    token = call(st.issue_token(opened.id, [1], transferable=True))
    given = call(st.transfer_token(token.id, giver="ann", receiver="bob"))
    told: list[Any] = []
    st.subscribe(lambda event: told.append(event.kind))
    answers = [
        call(st.verify_session(opened.secret)).data, call(st.verify_token(token.secret)),
        call(st.verify_token(given.secret)).value, call(st.update_session_data(opened.id, {"b": 2})).data,
        call(st.detach_session(opened.id)).is_detached, call(st.list_sessions(detached=True)).after,
        call(st.offer_token(token.id, price=1)).price, len(call(st.list_tokens(sellable=True)).items),
        call(st.destroy_sessions("ann")), call(st.sweep()), call(st.disable_owner("bob")),
        call(st.get_session(opened.id)),
    ]  # fmt: skip
    call(st.close())
    call(st.close())
    return [*answers, told]


def test_one_script_gets_the_same_answers_from_both(tmp_path: Path) -> None:
    settings, answers = Settings(max_sessions=None), []
    for number, url in enumerate(("memory://", "sqlite:///{}")):
        at = url.format(tmp_path / f"sync{number}.db")
        sync = SessionTokens.open(at, settings=settings, pepper=bytes(32), clock=ManualClock(), sweep=False)
        answers.append(script(sync, lambda answer: answer))

        with asyncio.Runner() as runner:
            at = url.format(tmp_path / f"async{number}.db")
            opening = AsyncSessionTokens.open(at, settings=settings, pepper=bytes(32), clock=ManualClock(), sweep=False)
            answers.append(script(runner.run(opening), runner.run))

    assert answers[0] == answers[1] == answers[2] == answers[3]
