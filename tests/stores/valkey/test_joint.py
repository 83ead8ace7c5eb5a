"""Commits over several partitions of one server: whole or not at all, at one instant, whoever dies or is late."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import valkey

from session_tokens import StoreError, StoreUnavailable
from session_tokens.clock import NEVER
from session_tokens.stores.common.retry import Full, NotExecuted
from session_tokens.stores.valkey.joint import Call, Outcome
from session_tokens.stores.valkey.library import library_text
from tests.helpers.effort import times
from tests.helpers.partitioned import LIVING, PATIENCE_MS, Partitions, body_of
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = pytest.mark.server

HAT, CAP, ANN, BEN, CAT = "02-hat", "02-cap", "00-ann", "01-ben", "03-cat"
ALL = range(4)
RACERS = 64


class Stop(BaseException):
    """The process of a client died."""


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def parts(valkey_server: ValkeyServer, namespace: str) -> Partitions:
    """Ann holds a hat; Ben and Cat have sessions too."""
    parts = Partitions([valkey_server.port], namespace)
    parts.load(library_text())
    for owner in (ANN, BEN, CAT):
        parts.open_session(owner)
    parts.issue(HAT, ANN)
    return parts


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[valkey.Valkey]:
    with valkey.Valkey(port=valkey_server.port) as client:
        yield client


def another(parts: Partitions, on_call: Callable[[Call, int, bool], None] | None = None) -> Partitions:
    """Return another client of the same partitions."""
    return Partitions(parts._ports, parts._namespace, on_call=on_call)


def stands(client: valkey.Valkey, parts: Partitions) -> dict[bytes, Any]:
    """Return all that stands in the partitions but their last stamps and what is decided."""
    found: dict[bytes, Any] = {}
    for key in client.scan_iter(match=f"{{{parts._namespace}:*", count=1000):
        name = key.partition(b"}:")[2]
        if name != b"n" and not name.startswith((b"d:", b"dq")):
            value = client.get(key) if client.type(key) == b"string" else client.zrange(key, 0, -1, withscores=True)
            found[key] = value, client.ttl(key)
    return found


def stopping_at(function: str, *, is_done: bool, nth: int = 0) -> Callable[[Call, int, bool], None]:
    """Return what stops a client at a call of a function, before it is sent or after it is answered."""
    count = iter(range(100))

    def on_call(call: Call, number: int, was_done: bool) -> None:
        if was_done == is_done and call.words[1] == f"session_tokens_{function}_v1".encode() and next(count) == nth:
            raise Stop

    return on_call


def assert_whole(parts: Partitions, secrets: list[str]) -> str:
    """Assert that just one of all secrets of the hat lives and its owner alone holds it; return the owner."""
    token = parts.token(HAT)
    assert [secret for secret in secrets if parts.leads_to(secret) == HAT] == [token.secret]
    assert [owner for owner in (ANN, BEN, CAT) if HAT in parts.held_by(owner)] == [token.owner]
    return token.owner


def test_a_commit_over_partitions_is_carried_out_in_all_of_them(parts: Partitions, client: valkey.Valkey) -> None:
    first = parts.token(HAT).secret

    second = parts.transfer(HAT, ANN, BEN)

    assert parts.leads_to(first) is None and parts.leads_to(second) == HAT
    assert (parts.held_by(ANN), parts.held_by(BEN)) == ([], [HAT])
    assert not [key for key in stands(client, parts) if key.partition(b"}:")[2].startswith((b"h:", b"hq", b"x:"))]
    assert parts.transfer(HAT, ANN, CAT) == "not owner"


def test_what_is_given_up_leaves_everything_as_it_was(parts: Partitions, client: valkey.Valkey) -> None:
    """The times that keys have left too, and buckets that were not there."""
    client.expire(parts.key(f"s:{BEN}"), 1000)
    before, token = stands(client, parts), parts.token(HAT)
    words = [
        b"p", f"t:{HAT}".encode(), b"0", body_of("x"), b"p", f"T:{BEN[:2]}-new".encode(), b"0", body_of("x"),
        b"d", f"T:{token.secret}".encode(), b"h", HAT.encode(), b"5", ANN.encode(), BEN.encode(), b"x",
    ]  # fmt: skip
    checks = {f"s:{BEN}": parts.session(BEN)[0], f"bo:{BEN}": b"", f"s:{ANN}": parts.session(ANN)[0]}
    seen = []

    def on_call(call: Call, number: int, is_done: bool) -> None:
        if b"decide" in call.words[1] and not is_done:
            seen.append(stands(client, parts))

    outcome = another(parts, on_call).commit({**checks, f"t:{HAT}": b"1" * 16}, words)

    assert outcome.stamp == 0 and outcome.met == []
    assert stands(client, parts) == before != seen[0]
    assert seen[0][parts.key(f"s:{BEN}")][1] > 900


@pytest.mark.parametrize("name", [f"s:{BEN}", f"bh:{BEN}"])
def test_nobody_changes_what_is_held(parts: Partitions, name: str) -> None:
    """Neither what was checked nor what is to be written, whether he who would has looked at it or not."""
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    write = [b"a", b"bh:" + BEN.encode(), b"5", b"02-cap"] if name[0] == "b" else [b"k", name.encode(), body_of("x")]

    refused = parts.commit({}, write)

    assert refused.stamp == 0 and [one.partition for one in refused.met] == [1]
    assert parts.until_committed(lambda: parts.commit({}, write)) == ""
    assert parts.transfer(HAT, ANN, CAT).startswith("03-")
    assert parts.token(HAT).owner == CAT


def test_what_several_need_alike_they_hold_beside_each_other(parts: Partitions, client: valkey.Valkey) -> None:
    """Two tokens for one receiver: neither waits, and who reads sees what is decided of each."""
    other = parts.issue(CAP, CAT)
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    begun = parts.calls

    assert parts.transfer(CAP, CAT, BEN).startswith("01-")
    assert parts.calls - begun == 8
    assert parts.held_by(BEN) == [CAP] and parts.leads_to(other) is None
    assert parts.token(HAT).owner == ANN and parts.session(BEN)[1] == LIVING
    assert float(str(client.zscore(parts.key(f"bh:{BEN}"), "#"))) < 0

    assert parts.end(BEN) == ""
    assert float(str(client.zscore(parts.key(f"bh:{BEN}"), "#"))) > 0
    assert parts.transfer(CAP, BEN, ANN).startswith("00-")
    assert (parts.held_by(ANN), parts.held_by(BEN)) == ([CAP, HAT], [])


def test_of_two_who_hold_the_same_one_may_be_finished_and_one_given_up(
    parts: Partitions, client: valkey.Valkey
) -> None:
    parts.issue(CAP, CAT)
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=True)).transfer(CAP, CAT, BEN)

    assert parts.held_by(BEN) == [CAP]
    assert parts.commit({}, [b"a", f"bh:{BEN}".encode(), b"5", b"02-tie"]).stamp == 0
    time.sleep(PATIENCE_MS / 1000)
    assert parts.sweep(ALL) > 0
    assert parts.commit({}, [b"a", f"bh:{BEN}".encode(), b"5", b"02-tie"]).stamp
    assert (sorted(parts.held_by(BEN)), parts.held_by(ANN), parts.held_by(CAT)) == ([CAP, "02-tie"], [HAT], [])
    assert not [key for key in stands(client, parts) if key.partition(b"}:")[2].startswith((b"h:", b"hq", b"x:"))]


def test_a_commit_over_partitions_does_not_hold_what_another_holds_otherwise(parts: Partitions) -> None:
    parts.issue(CAP, CAT)
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    words = [b"k", f"t:{CAP}".encode(), body_of("x"), b"k", f"s:{BEN}".encode(), body_of("x")]

    refused = parts.commit({f"t:{CAP}": parts.token(CAP).stamp}, words)

    assert refused.stamp == 0 and [one.partition for one in refused.met] == [1]
    assert parts.session(BEN)[1] == LIVING


def test_a_token_that_came_and_was_handed_on_is_finished_in_that_order(parts: Partitions) -> None:
    def hand_on(giver: str, receiver: str, *, finishes: bool) -> Outcome:
        token = parts.token(HAT)
        words = [b"p", f"t:{HAT}".encode(), b"0", body_of(receiver, token.secret, token.epoch + 1)]
        words += [b"h", HAT.encode(), b"5", giver.encode(), receiver.encode(), b"x"]
        return parts.commit({f"t:{HAT}": token.stamp}, words, finishes=finishes)

    assert hand_on(ANN, BEN, finishes=False).stamp
    assert parts.until_committed(lambda: hand_on(BEN, CAT, finishes=True)) == ""

    assert [parts.held_by(owner) for owner in (ANN, BEN, CAT)] == [[], [], [HAT]]


def test_many_tokens_change_hands_at_once_to_one_receiver(parts: Partitions, client: valkey.Valkey) -> None:
    for number in range(16):
        parts.issue(f"02-cap{number}", CAT)
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda number: another(parts).transfer(f"02-cap{number}", CAT, BEN), range(16)))

    assert all(said.startswith("01-") for said in told)
    assert len(parts.held_by(BEN)) == 16 and parts.held_by(CAT) == []
    assert not [key for key in stands(client, parts) if key.partition(b"}:")[2].startswith((b"h:", b"hq", b"x:"))]


def test_what_was_read_while_it_was_held_is_no_ground_for_a_commit(parts: Partitions, client: valkey.Valkey) -> None:
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    held: Any = client.get(parts.key(f"s:{BEN}"))

    assert held[:1].isalpha()
    assert parts.commit({f"s:{BEN}": held[:16]}, [b"k", f"s:{BEN}".encode(), body_of("x")]).stamp == 0


def test_a_reader_sees_what_is_undecided_as_it_was_and_does_not_wait(parts: Partitions) -> None:
    first = parts.token(HAT).secret
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    begun = parts.calls

    assert parts.token(HAT).owner == ANN
    assert parts.leads_to(first) == HAT
    assert (parts.held_by(ANN), parts.held_by(BEN)) == ([HAT], [])
    assert parts.session(BEN)[1] == "living"
    assert parts.calls - begun < 16


def test_a_reader_finishes_what_is_decided(parts: Partitions) -> None:
    first = parts.token(HAT).secret
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=True)).transfer(HAT, ANN, BEN)

    assert parts.leads_to(first) is None
    assert parts.held_by(BEN) == [HAT]
    assert parts.leads_to(parts.token(HAT).secret) == HAT
    assert parts.held_by(ANN) == []


def test_an_end_after_the_decision_stays(parts: Partitions) -> None:
    """What is finished late does not bring back what the held session was."""
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=True)).transfer(HAT, ANN, BEN)

    assert parts.end(BEN) == ""
    assert parts.sweep(ALL) >= 0
    assert parts.session(BEN)[1] == "ended" and parts.held_by(BEN) == [HAT]


def test_a_late_decision_finds_that_it_was_given_up(parts: Partitions) -> None:
    """By a committer who needs what is held; the sleeper's holds are gone, and he is told that nothing was written."""
    asleep, wake = threading.Event(), threading.Event()

    def on_call(call: Call, number: int, is_done: bool) -> None:
        if b"decide" in call.words[1] and not is_done and not asleep.is_set():
            asleep.set()
            wake.wait(30)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(another(parts, on_call).transfer, HAT, ANN, BEN)
        asleep.wait(30)
        assert parts.end(BEN) == ""
        wake.set()

        assert slow.result(30) == "no session"
    assert assert_whole(parts, [parts.token(HAT).secret]) == ANN


def test_two_give_it_up_at_once(parts: Partitions) -> None:
    with pytest.raises(Stop):
        another(parts, stopping_at("decide", is_done=False)).transfer(HAT, ANN, BEN)
    time.sleep(PATIENCE_MS / 1000)

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda _: another(parts).end(BEN), range(8)))

    assert ends.count("") == 1 and set(ends) == {"", "ended before"}
    assert assert_whole(parts, [parts.token(HAT).secret]) == ANN


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize(
    ("function", "nth"),
    [("hold", 0), ("hold", 1), ("decide", 0), ("finish", 0), ("finish", 1), ("decision", 0), ("release", 0)],
)
def test_wherever_an_answer_is_lost_it_was_whole_or_not_at_all(
    parts: Partitions, monkeypatch: pytest.MonkeyPatch, function: str, nth: int, *, is_done: bool
) -> None:
    """Whether what was asked was carried out or not; who is told that nothing was written is told the truth."""
    first = parts.token(HAT).secret
    client, name, count = another(parts), f"session_tokens_{function}_v1".encode(), iter(range(100))
    sent = client._ask_once

    def lossy(call: Call) -> Any:
        if call.words[1] != name or next(count) != nth:
            return sent(call)
        if is_done:
            sent(call)
        return StoreUnavailable("the server did not answer")

    monkeypatch.setattr(client, "_ask_once", lossy)
    if function == "release":
        parts.end(BEN)
    try:
        second = client.transfer(HAT, ANN, BEN)
    except StoreError as error:
        second = "" if isinstance(error, NotExecuted) else "unknown"
        assert function == "hold"

    time.sleep(PATIENCE_MS / 1000)
    parts.sweep(ALL)
    owner = assert_whole(parts, list({first, parts.token(HAT).secret}))
    assert (owner == BEN) == second.startswith("01-")


def test_a_decision_that_nobody_can_tell_of_is_an_unknown_outcome(
    parts: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = another(parts)
    sent = client._ask_once

    def lossy(call: Call) -> Any:
        answer = sent(call)
        return StoreUnavailable("no answer") if b"deci" in call.words[1] else answer

    monkeypatch.setattr(client, "_ask_once", lossy)
    with pytest.raises(StoreUnavailable, match="no answer") as raised:
        client.transfer(HAT, ANN, BEN)

    assert not isinstance(raised.value, NotExecuted)
    assert assert_whole(parts, [parts.token(HAT).secret]) == BEN


def test_a_call_that_was_not_carried_out_leaves_nothing_held(
    parts: Partitions, client: valkey.Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stands(client, parts)
    refused = another(parts)
    sent = refused._ask_once
    for function in (b"hold", b"decide"):

        def refuses(call: Call, function: bytes = function) -> Any:
            return NotExecuted("elsewhere") if function in call.words[1] and call.partition != 0 else sent(call)

        monkeypatch.setattr(refused, "_ask_once", refuses)
        with pytest.raises(NotExecuted):
            refused.transfer(HAT, ANN, BEN)
        assert stands(client, parts) == before


def test_nothing_is_written_after_what_was_judged_alive_has_died(parts: Partitions, client: valkey.Valkey) -> None:
    before, token = stands(client, parts), parts.token(HAT)
    time_there: Any = client.time()
    seconds, microseconds = time_there
    soon = seconds * 1000 + microseconds // 1000 + 100

    def slow(call: Call, number: int, is_done: bool) -> None:
        if b"decide" in call.words[1] and not is_done:
            time.sleep(0.15)

    words = [b"k", f"t:{HAT}".encode(), body_of("x"), b"k", f"s:{BEN}".encode(), body_of("x")]
    late = another(parts, slow)

    assert late.commit({f"t:{HAT}": token.stamp}, words, not_after=soon).stamp == 0
    assert stands(client, parts) == before
    assert late.commit({f"t:{HAT}": token.stamp}, words, not_after=soon).stamp == 0
    assert parts.commit({f"t:{HAT}": token.stamp}, words, not_after=NEVER).stamp


def test_of_many_at_once_one_wins(parts: Partitions) -> None:
    """As many as want the same token, each for somebody in another partition."""
    first, receivers = parts.token(HAT).secret, (BEN, CAT)
    with ThreadPoolExecutor(RACERS) as pool:
        told = list(pool.map(lambda number: another(parts).transfer(HAT, ANN, receivers[number % 2]), range(RACERS)))

    won = [said for said in told if said[:2] in ("01", "03")]
    assert len(won) == 1 and set(told) == {won[0], "not owner"}
    assert assert_whole(parts, [first, *won]) in receivers


def test_tokens_change_hands_while_sessions_are_read_and_clients_die(parts: Partitions) -> None:
    """Each epoch is given out once; what a reader sees never goes back, and no secret lives beside another."""
    rounds = times(25, proving=500)
    secrets: list[tuple[int, str]] = [(0, parts.token(HAT).secret)]
    is_over, seen = threading.Event(), list[str]()

    def hands_on(number: int) -> None:
        for turn in range(rounds):
            mine = another(parts, stopping_at(("decide", "finish")[turn % 2], is_done=bool(number % 2)))
            if turn % 4:
                mine = another(parts)
            token = mine.token(HAT)
            receiver = (ANN, BEN, CAT)[(number + turn) % 3]
            try:
                said = mine.transfer(HAT, token.owner, receiver)
            except Stop:
                continue
            if "-" in said:
                secrets.append((0, said))

    def reads() -> None:
        mine, last = another(parts), -1
        while not is_over.is_set():
            token = mine.token(HAT)
            if token.epoch < last:
                seen.append(f"epoch {token.epoch} after {last}")
            last = token.epoch
            found = mine.leads_to(token.secret)
            if found is None and mine.token(HAT).epoch == token.epoch:
                seen.append(f"epoch {token.epoch} has no living secret")

    readers = [threading.Thread(target=reads) for _ in range(2)]
    for reader in readers:
        reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hands_on, range(4)))
    is_over.set()
    for reader in readers:
        reader.join()

    time.sleep(PATIENCE_MS / 1000)
    parts.sweep(ALL)
    assert seen == []
    assert parts.token(HAT).epoch >= rounds
    assert_whole(parts, list({secret for _, secret in secrets} | {parts.token(HAT).secret}))


def test_a_full_server_ends_things_over_partitions_and_refuses_others(
    private_valkey: Callable[..., ValkeyServer], namespace: str
) -> None:
    server = private_valkey()
    parts = Partitions([server.port], namespace)
    parts.load(library_text())
    for owner in (ANN, BEN):
        parts.open_session(owner)
    parts.issue(HAT, ANN)
    token = parts.token(HAT)
    words = [b"d", f"t:{HAT}".encode(), b"d", f"T:{token.secret}".encode()]
    with valkey.Valkey(port=server.port) as client:
        with pytest.raises(Stop):
            another(parts, stopping_at("decide", is_done=True)).transfer(HAT, ANN, BEN)
        client.config_set("maxmemory", 1)

        assert parts.token(HAT).owner == BEN and parts.held_by(BEN) == [HAT]  # it is finished though there is no room
        with pytest.raises(Full):
            parts.transfer(HAT, BEN, ANN)
        token = parts.token(HAT)
        words = [b"d", f"t:{HAT}".encode(), b"d", f"T:{token.secret}".encode()]
        assert parts.commit({f"t:{HAT}": token.stamp}, words, though_full=True).stamp
        assert parts.leads_to(token.secret) is None
