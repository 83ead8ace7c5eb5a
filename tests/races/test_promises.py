"""What is promised of a store that fails is judged: histories that break it, each in one way, and some that do not."""

from __future__ import annotations

from typing import Any

from tests.helpers.races.history import NEVER_NS, Operation
from tests.helpers.races.promises import AT_THE_END, alive_again, lost, unexplained
from tests.helpers.races.registers import TokenRegister

START = {"tok_t": TokenRegister(born=True, alive=True, owner="ann", secret="x0", value="v0")}


def transfer(from_ns: int, to_ns: int, giver: str, receiver: str, epoch: int, outcome: str = "ok") -> Operation:
    answered = {"epoch": epoch, "secret": f"x{epoch}"} if outcome == "ok" else {}
    return Operation(
        "tok_t", "transfer", "w", from_ns, to_ns, outcome, {"giver": giver, "receiver": receiver}, answered
    )


def verify(
    from_ns: int, secret: str, *, accepted: bool = True, id: str = "tok_t", worker: str = "w", **more: Any
) -> Operation:
    return Operation(
        id, "verify", worker, from_ns, from_ns + 1, "ok", {"secret": secret}, {"accepted": accepted} | more
    )


HANDED_ON = transfer(10, 20, "ann", "bob", 1)


def test_a_former_secret_that_opens_after_the_transfer_was_acknowledged_is_caught() -> None:
    assert len(alive_again([HANDED_ON, verify(21, "x0")])) == 1


def test_a_former_secret_that_opens_beside_the_transfer_is_none() -> None:
    assert alive_again([HANDED_ON, verify(15, "x0"), verify(21, "x1")]) == []


def test_of_two_transfers_beside_each_other_the_epochs_tell_which_was_first() -> None:
    both = [transfer(10, 40, "ann", "bob", 1), transfer(11, 39, "bob", "cyn", 2)]

    assert alive_again([*both, verify(50, "x2")]) == []
    assert len(alive_again([*both, verify(50, "x1")])) == 1


def test_a_transfer_of_which_nobody_knows_ends_nothing() -> None:
    assert alive_again([transfer(10, NEVER_NS, "ann", "bob", 1, "unseen"), verify(30, "x0")]) == []


def test_a_session_that_opens_after_its_end_was_acknowledged_is_caught() -> None:
    opened = Operation("ses_s", "open", "w", 0, 1, "ok", {"owner": "ann"}, {"secret": "p0"})
    ended = Operation("ses_s", "end", "w", 10, 20, "ok", {}, {"ended": True})

    assert alive_again([opened, verify(9, "p0", id="ses_s"), ended]) == []
    assert len(alive_again([opened, ended, verify(21, "p0", id="ses_s")])) == 1


def test_an_acknowledged_transfer_that_is_not_there_at_the_end_is_lost() -> None:
    worker = f"w{AT_THE_END}"
    at_the_end = verify(90, "x0", worker=worker, owner="ann", epoch=0)

    assert len(lost([HANDED_ON, at_the_end], START)) == 1
    assert lost([HANDED_ON, verify(90, "x1", worker=worker, owner="bob", epoch=1)], START) == []
    assert lost([transfer(10, NEVER_NS, "ann", "bob", 1, "unseen"), at_the_end], START) == []


def test_an_acknowledged_transfer_on_which_another_does_not_build_is_lost() -> None:
    assert len(lost([HANDED_ON, transfer(30, 40, "ann", "cyn", 1)], START)) == 1


def test_what_was_read_in_between_and_is_gone_is_not_lost_but_in_no_order() -> None:
    seen = Operation("tok_t", "read", "w", 30, 31, "ok", {}, {"found": True, "owner": "cyn", "epoch": 1})
    history = [
        transfer(10, NEVER_NS, "ann", "cyn", 1, "unseen"), seen,
        Operation("tok_t", "read", f"w{AT_THE_END}", 90, 91, "ok", {}, {"found": True, "owner": "ann", "epoch": 0}),
    ]  # fmt: skip

    assert lost(history, START) == []
    assert len(unexplained(history, START)) == 1
