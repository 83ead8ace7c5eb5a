"""The history checker is shown broken histories, each broken in one way, and right ones that only look odd."""

from __future__ import annotations

import itertools
import random
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.races.history import (
    BrokenHistory,
    Operation,
    Recorder,
    Undecided,
    check_caps,
    check_sessions,
    check_tokens,
    load,
    mark,
    with_replacements,
)


def token_op(kind: str, from_ns: int, to_ns: int, outcome: str = "ok", *, worker: str = "w", **named: Any) -> Operation:
    """Write down one operation on the token `t`: names that an answer has go to the answer, the rest were given."""
    answers = {"epoch", "accepted", "found", "ended"} | ({"owner"} if kind in ("verify", "read") else set())
    answers |= set() if kind == "verify" else {"secret"}
    answers |= {"value"} if kind == "read" else set()
    given = {name: value for name, value in named.items() if name not in answers}
    answered = {name: value for name, value in named.items() if name in answers}
    return Operation("t", kind, worker, from_ns, to_ns, outcome, given, answered)


def session_op(kind: str, from_ns: int, to_ns: int, outcome: str = "ok", *, id: str = "s", **named: Any) -> Operation:
    answers = {"accepted", "found", "ended"} | (set() if kind == "verify" else {"secret"})
    answers |= {"data"} if kind == "read" else set()
    given = {name: value for name, value in named.items() if name not in answers}
    answered = {name: value for name, value in named.items() if name in answers}
    return Operation(id, kind, "w", from_ns, to_ns, outcome, given, answered)


ISSUED = token_op("issue", 0, 1, owner="ann", epoch=0, secret="x0", value="v0")
OPENED = session_op("open", 0, 1, owner="ann", secret="p0")


# Right histories.


def test_one_winner_and_losers_that_were_told_so_are_right() -> None:
    check_tokens([
        ISSUED,
        token_op("transfer", 10, 50, giver="ann", receiver="bob", epoch=1, secret="x1"),
        token_op("transfer", 11, 49, "Conflict", giver="ann", receiver="cyn"),
        token_op("transfer", 12, 60, "NotOwner", giver="ann", receiver="dan"),
        token_op("verify", 70, 80, secret="x0", accepted=False),
        token_op("verify", 70, 80, secret="x1", accepted=True, owner="bob", epoch=1),
    ])  # fmt: skip


def test_a_verify_beside_the_transfer_may_see_either_side() -> None:
    for accepted in (True, False):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 50, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("verify", 20, 30, secret="x0", accepted=accepted, owner="ann", epoch=0),
        ])  # fmt: skip


def test_an_operation_whose_answer_was_not_seen_may_have_happened_or_not() -> None:
    killed = token_op("transfer", 10, 2**63 - 1, "unseen", giver="ann", receiver="bob")

    check_tokens([ISSUED, killed, token_op("read", 20, 30, found=True, owner="ann", epoch=0)])
    check_tokens([ISSUED, killed, token_op("read", 20, 30, found=True, owner="bob", epoch=1)])
    check_tokens([ISSUED, killed, token_op("verify", 20, 30, secret="x1", accepted=True, owner="bob", epoch=1)])


def test_a_token_that_lost_its_session_is_claimed_once() -> None:
    check_tokens([
        ISSUED,
        token_op("unassign", 10, 20, owner="ann"),
        token_op("verify", 21, 22, secret="x0", accepted=False),
        token_op("claim", 30, 50, owner="bob", epoch=1, secret="x1"),
        token_op("claim", 31, 51, "Conflict", owner="cyn"),
        token_op("destroy", 60, 70, ended=True),
        token_op("destroy", 71, 72, ended=False),
    ])  # fmt: skip


def test_a_detach_that_may_have_changed_nothing_may_also_have_detached() -> None:
    check_sessions([
        OPENED,
        session_op("detach", 10, 20),
        session_op("attach", 30, 50, secret="p1"),
        session_op("detach", 40, 60),
        session_op("verify", 70, 80, secret="p1", accepted=False),
    ])  # fmt: skip


def test_a_write_that_may_have_changed_nothing_may_also_have_changed_it_back() -> None:
    check_sessions([
        OPENED,
        session_op("write", 10, 20, changes={"a": 1}),
        session_op("write", 30, 50, changes={"a": 2}),
        session_op("write", 40, 60, changes={"a": 1}),
        session_op("read", 70, 80, found=True, data={"a": 1}),
    ])  # fmt: skip


def test_a_session_that_is_rotated_detached_attached_and_ended_is_right() -> None:
    check_sessions([
        OPENED,
        session_op("rotate", 10, 20, secret="p1"),
        session_op("verify", 15, 16, secret="p0", accepted=True),
        session_op("detach", 30, 40),
        session_op("verify", 41, 42, secret="p1", accepted=False),
        session_op("attach", 50, 60, secret="p2"),
        session_op("attach", 61, 62, "Conflict"),
        session_op("end", 70, 80, ended=True),
        session_op("verify", 75, 79, secret="p2", accepted=True),
        session_op("verify", 81, 82, secret="p2", accepted=False),
    ])  # fmt: skip


def test_a_session_may_have_been_replaced_by_another_opening_of_its_owner() -> None:
    replaced = [
        OPENED,
        session_op("open", 10, 20, id="s2", owner="ann", secret="q0"),
        session_op("verify", 30, 40, secret="p0", accepted=False),
    ]

    check_sessions(with_replacements(replaced))
    with pytest.raises(BrokenHistory):
        check_sessions(replaced)


# Broken histories.


def test_two_winners_of_one_transfer_are_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 50, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("transfer", 11, 49, giver="ann", receiver="cyn", epoch=1, secret="x2"),
        ])  # fmt: skip


def test_two_winners_are_caught_even_where_the_epochs_follow_each_other() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 50, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("transfer", 11, 49, giver="ann", receiver="cyn", epoch=2, secret="x2"),
        ])  # fmt: skip


def test_a_race_that_everybody_loses_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 50, "Conflict", giver="ann", receiver="bob"),
            token_op("transfer", 11, 49, "Conflict", giver="ann", receiver="cyn"),
        ])  # fmt: skip


def test_a_refusal_of_the_true_owner_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([ISSUED, token_op("transfer", 10, 50, "NotOwner", giver="ann", receiver="bob")])


def test_a_lost_transfer_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 20, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("read", 30, 40, found=True, owner="ann", epoch=0),
        ])  # fmt: skip


def test_a_lost_update_of_the_value_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("change", 10, 20, value="v1"),
            token_op("transfer", 15, 30, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("read", 40, 50, found=True, owner="bob", epoch=1, value="v0"),
        ])  # fmt: skip


def test_a_resurrected_token_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("destroy", 10, 20, ended=True),
            token_op("transfer", 30, 40, giver="ann", receiver="bob", epoch=1, secret="x1"),
        ])  # fmt: skip


def test_a_token_that_comes_back_between_two_reads_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("destroy", 10, 100, ended=True),
            token_op("read", 20, 30, found=False),
            token_op("read", 40, 50, found=True, owner="ann", epoch=0),
        ])  # fmt: skip


def test_a_givers_secret_that_still_opens_after_the_transfer_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 20, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("verify", 30, 40, secret="x0", accepted=True, owner="ann", epoch=0),
        ])  # fmt: skip


def test_a_secret_that_opens_an_unassigned_token_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("unassign", 10, 20, owner="ann"),
            token_op("verify", 30, 40, secret="x0", accepted=True),
        ])  # fmt: skip


def test_two_claims_of_one_token_are_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("unassign", 10, 20, owner="ann"),
            token_op("claim", 30, 50, owner="bob", epoch=1, secret="x1"),
            token_op("claim", 31, 51, owner="cyn", epoch=2, secret="x2"),
        ])  # fmt: skip


def test_two_destroyers_that_both_ended_it_are_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([ISSUED, token_op("destroy", 10, 50, ended=True), token_op("destroy", 10, 50, ended=True)])


def test_one_secret_given_out_twice_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([ISSUED, token_op("reissue", 10, 20, owner="ann", secret="x0")])


def test_reads_that_go_back_in_time_are_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens([
            ISSUED,
            token_op("transfer", 10, 100, giver="ann", receiver="bob", epoch=1, secret="x1"),
            token_op("read", 20, 30, found=True, owner="bob", epoch=1),
            token_op("read", 40, 50, found=True, owner="ann", epoch=0),
        ])  # fmt: skip


def test_a_verify_after_an_acknowledged_end_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_sessions([
            OPENED,
            session_op("end", 10, 20, ended=True),
            session_op("verify", 21, 30, secret="p0", accepted=True),
        ])  # fmt: skip


def test_a_write_to_other_fields_that_swallows_one_is_caught() -> None:
    written = [
        OPENED,
        session_op("write", 10, 50, changes={"a": 1}),
        session_op("write", 11, 49, changes={"b": 2}),
    ]

    check_sessions([*written, session_op("read", 60, 70, found=True, data={"a": 1, "b": 2})])
    with pytest.raises(BrokenHistory):
        check_sessions([*written, session_op("read", 60, 70, found=True, data={"b": 2})])


def test_a_session_that_an_attach_brings_back_is_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_sessions([
            OPENED,
            session_op("detach", 10, 20),
            session_op("end", 30, 40, ended=True),
            session_op("attach", 50, 60, secret="p1"),
        ])  # fmt: skip


def test_an_owner_with_more_sessions_than_the_cap_is_caught() -> None:
    operations = [
        session_op("open", 0, 10, id="s1", owner="ann", secret="a"),
        session_op("open", 5, 20, id="s2", owner="ann", secret="b"),
        session_op("verify", 30, 31, id="s1", secret="a", accepted=True),
        session_op("verify", 30, 31, id="s2", secret="b", accepted=True),
    ]

    check_caps(operations, max_sessions=2)
    with pytest.raises(BrokenHistory):
        check_caps(operations, max_sessions=1)


def test_a_refused_verify_does_not_prove_a_session_alive() -> None:
    check_caps(
        [
            session_op("open", 0, 10, id="s1", owner="ann", secret="a"),
            session_op("open", 5, 20, id="s2", owner="ann", secret="b"),
            session_op("verify", 30, 31, id="s1", secret="a", accepted=False),
            session_op("verify", 30, 31, id="s2", secret="b", accepted=True),
        ],
        max_sessions=1,
    )


def test_a_history_too_wide_to_decide_is_never_called_right() -> None:
    wide = [token_op("change", 10, 1000, value=f"v{n}") for n in range(40)]
    impossible = token_op("read", 2000, 2001, found=True, owner="bob", epoch=9)

    with pytest.raises(Undecided):
        check_tokens([ISSUED, *wide, impossible], configurations_max=1000)


# The recorder, on a true register that threads change for real.


class LockedToken:
    """A right token: owner, epoch and secret behind one lock. With `broken` it looks and leaps without it."""

    def __init__(self, broken: bool) -> None:
        self.owner, self.epoch, self.secret, self.broken = "ann", 0, "stt_0", broken
        self.lock = threading.Lock()
        self.looked = threading.Barrier(2)
        self.fresh = itertools.count(1)

    def transfer(self, giver: str, receiver: str) -> tuple[int, str]:
        if self.broken:
            found = (self.owner, self.epoch)
            self.looked.wait(timeout=30)
            return self.write(*found, giver, receiver)
        with self.lock:
            return self.write(self.owner, self.epoch, giver, receiver)

    def write(self, owner: str, epoch: int, giver: str, receiver: str) -> tuple[int, str]:
        if owner != giver:
            raise NotOwner(giver)
        self.owner, self.epoch, self.secret = receiver, epoch + 1, f"stt_{next(self.fresh)}"
        return self.epoch, self.secret


class NotOwner(Exception):
    code = "not_owner"


def race(token: LockedToken, rounds: int) -> list[Operation]:
    recorder = Recorder("process-")
    issued = recorder.begin("issue", "t", owner="ann")
    recorder.finish(issued, epoch=0, secret=mark("stt_0"))

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(rounds):
            giver, receiver = ("ann", "bob") if token.broken or chance.random() < 0.5 else ("bob", "ann")
            recorder.perform(
                "transfer", "t", partial(token.transfer, giver, receiver),
                lambda answer: {"epoch": answer[0], "secret": mark(answer[1])},
                giver=giver, receiver=receiver, worker=f"thread-{seed}",
            )  # fmt: skip

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return recorder.operations


def test_threads_on_a_locked_token_leave_a_right_history(tmp_path: Path) -> None:
    operations = race(LockedToken(broken=False), rounds=300)
    recorder = Recorder()
    recorder.operations = operations
    recorder.save(tmp_path / "history.jsonl")

    assert load([tmp_path / "history.jsonl"]) == operations
    check_tokens(operations)
    assert "stt_" not in (tmp_path / "history.jsonl").read_text()


def test_threads_on_a_token_without_its_lock_are_caught() -> None:
    with pytest.raises(BrokenHistory):
        check_tokens(race(LockedToken(broken=True), rounds=1))


def test_an_unexpected_error_reaches_the_caller_and_leaves_the_operation_open() -> None:
    recorder = Recorder()

    def fail() -> None:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError):
        recorder.perform("destroy", "t", fail, lambda _: {})
    assert recorder.operations[0].outcome == "unseen"
