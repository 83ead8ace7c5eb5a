"""Many at once for one thing: the cap is never passed, one transfer wins, an acknowledged end is seen everywhere."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from session_tokens import Conflict, Issued, LimitReached, NotOwner, Settings
from tests.helpers.at_once import at_once
from tests.helpers.races.field import Field
from tests.helpers.races.history import Recorder, check_caps, mark

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
CALLERS, CAP = 64, 5


def test_64_threads_that_open_never_pass_a_cap_that_replaces(racing: Field) -> None:
    settings = Settings(max_sessions=CAP)
    apis = [racing.api(settings) for _ in range(4)]
    recorder = Recorder()

    def open_and_verify(caller: int) -> Issued:
        number = recorder.begin("open", "", owner="ann")
        opened = apis[caller % 4].open_session("ann")
        recorder.finish(number, subject=opened.id, secret=mark(opened.secret))
        number = recorder.begin("verify", opened.id, secret=mark(opened.secret))
        recorder.finish(number, accepted=apis[(caller + 1) % 4].verify_session(opened.secret) is not None)
        return opened

    opened, refused = at_once(CALLERS, open_and_verify)
    living = [issued for issued in opened if apis[0].verify_session(issued.secret) is not None]

    assert (CALLERS, []) == (len(opened), refused)
    assert CAP == len(living) == len(apis[1].list_sessions("ann").items)
    check_caps(recorder.operations, CAP)


def test_64_threads_that_open_never_pass_a_cap_that_refuses(racing: Field) -> None:
    settings = Settings(max_sessions=CAP, session_policy="refuse")
    apis = [racing.api(settings) for _ in range(4)]
    opened, refused = at_once(CALLERS, lambda caller: apis[caller % 4].open_session("ann"))

    assert CAP == len(opened)
    assert {LimitReached} == {type(error) for error in refused}
    assert {issued.id for issued in opened} == {session.id for session in apis[0].list_sessions("ann").items}


async def test_64_tasks_that_open_never_pass_the_cap(racing: Field) -> None:
    settings = Settings(max_sessions=CAP, session_policy="refuse")
    apis = [await racing.async_api(settings) for _ in range(2)]
    try:
        done = await asyncio.gather(
            *(apis[caller % 2].open_session("ann") for caller in range(CALLERS)), return_exceptions=True
        )
        listed = await apis[0].list_sessions("ann")
    finally:
        for api in apis:
            await api.close()

    assert CAP == sum(isinstance(outcome, Issued) for outcome in done) == len(listed.items)
    assert CALLERS - CAP == sum(isinstance(outcome, LimitReached) for outcome in done)


def test_tokens_issued_at_once_never_pass_the_cap_of_their_session(racing: Field) -> None:
    apis = [racing.api(Settings(max_tokens_per_session=CAP)) for _ in range(2)]
    opened = apis[0].open_session("ann")
    issued, refused = at_once(32, lambda caller: apis[caller % 2].issue_token(opened.id))

    assert CAP == len(issued) == len(apis[0].list_tokens(session=opened.id).items)
    assert {LimitReached} == {type(error) for error in refused}


def test_of_32_threads_that_transfer_in_rounds_one_wins_each_round(racing: Field) -> None:
    apis = [racing.api() for _ in range(4)]
    token = apis[0].issue_token(apis[0].open_session("owner 0").id, transferable=True)

    def transfer(giver: str | None, epoch: int, caller: int) -> Issued:
        return apis[caller % 4].transfer_token(token.id, giver=giver, receiver=f"owner {caller + 1}", epoch=epoch)

    for epoch in range(3):
        owner = apis[0].get_token(token.id)
        assert owner is not None
        given, refused = at_once(32, functools.partial(transfer, owner.owner, epoch))

        assert 1 == len(given)
        assert {type(error) for error in refused} <= {Conflict, NotOwner}
        assert (given[0].record, epoch + 1) == (apis[1].verify_token(given[0].secret), given[0].token.epoch)


# Processes.


@pytest.fixture
def other_process(shared: Field) -> Iterator[Callable[..., Any]]:
    """Ask another process to do something with the same store; it has been there since before."""
    words = [sys.executable, "-m", "tests.helpers.races.other"]
    environment = os.environ | {"RACE_URL": str(shared.url)}
    shared.api().open_session("someone")  # the store is there before two processes open it
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        output, answers = process.stdin, process.stdout

        def ask(command: str, *arguments: str) -> str:
            output.write(" ".join([command, *arguments]) + "\n")
            output.flush()
            return answers.readline().strip()

        yield ask
        output.close()
        assert process.wait(30) == 0


def test_an_acknowledged_end_is_refused_in_another_process(shared: Field, other_process: Callable[..., str]) -> None:
    st = shared.api()
    for number in range(20):
        opened = st.open_session("ann")
        token = st.issue_token(opened.id)
        assert ["True", "True"] == [
            other_process("verify_session", opened.secret), other_process("verify_token", token.secret),
        ]  # fmt: skip
        if number % 2 == 0:
            assert st.destroy_session(opened.id) is True
        else:
            assert "True" == other_process("destroy_session", opened.id)
            assert st.verify_session(opened.secret) is None

        assert ["False", "False"] == [
            other_process("verify_session", opened.secret), other_process("verify_token", token.secret),
        ]  # fmt: skip


def test_a_givers_secret_is_refused_in_another_process(shared: Field, other_process: Callable[..., str]) -> None:
    st = shared.api()
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    owners = ("ann", "bob")
    for turn in range(10):
        given = st.transfer_token(token.id, giver=owners[turn % 2], receiver=owners[1 - turn % 2])

        assert "False" == other_process("verify_token", token.secret)
        assert "True" == other_process("verify_token", given.secret)
        token = given


def test_a_disabled_owner_is_out_in_another_process(shared: Field, other_process: Callable[..., str]) -> None:
    st = shared.api()
    opened = st.open_session("ann")
    assert "True" == other_process("verify_session", opened.secret)
    st.disable_owner("ann")

    assert "False" == other_process("verify_session", opened.secret)
    assert "OwnerDisabled" == other_process("open_session", "ann")


@pytest.mark.process
def test_of_32_transfers_from_four_processes_one_wins(shared: Field) -> None:
    st = shared.api()
    token = st.issue_token(st.open_session("ann").id, transferable=True)
    words = [sys.executable, "-m", "tests.helpers.races.other", token.id, "8"]
    environment = os.environ | {"RACE_URL": str(shared.url)}
    processes = [
        subprocess.Popen(
            [*words, f"process {number}"], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    done = [process.communicate("go\n", timeout=60)[0].split() for process in processes]
    outcomes = [outcome for lines in done for outcome in lines]
    kept = st.get_token(token.id)

    assert [0] * 4 == [process.returncode for process in processes]
    assert (32, 1) == (len(outcomes), outcomes.count("Issued"))
    assert set(outcomes) <= {"Issued", "Conflict", "NotOwner"}
    assert kept is not None
    assert 1 == kept.epoch
