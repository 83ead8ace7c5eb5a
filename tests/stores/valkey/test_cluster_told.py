"""What one process was told of a store in partitions all see at once, and who dies or hears nothing breaks nothing."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from session_tokens import Issued, NotOwner, SessionTokens, Settings, StoreBusy, StoreUnavailable
from session_tokens.stores.valkey.joint import Call
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.effort import times
from tests.helpers.servers.cluster import shared_cluster

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
TIMEOUT_S = 1
HANDS = times(48, proving=2_000)
LANES = 4
LOST = 0.08
Opening = Callable[[], SessionTokens]


@pytest.fixture
def opening() -> Iterator[Opening]:
    """Return what opens one more handle to the same store."""
    opened: list[SessionTokens] = []
    url = f"{shared_cluster().url}?namespace=t{uuid.uuid4().hex[:12]}&timeout={TIMEOUT_S}"

    def another() -> SessionTokens:
        opened.append(SessionTokens(open_valkey_blocking(url, pepper=PEPPER), Settings(max_sessions=None)))
        return opened[-1]

    yield another
    for tokens in opened:
        tokens.close()


def asked_through(tokens: SessionTokens, fate: Callable[[Callable[[Sequence[Call]], list[Any]], Any], Any]) -> None:
    """Let what a handle asks of nodes go through ``fate``, which is given what asks them, and the calls."""
    nodes: Any = tokens.store._nodes  # type: ignore[attr-defined]  # that of a cluster has them
    ask = nodes.ask
    nodes.ask = lambda calls: fate(ask, calls)


def ids_of(tokens: SessionTokens, owner: str) -> list[str]:
    return [token.id for token in tokens.list_tokens(owner=owner).items]


def test_a_transfer_that_was_answered_is_seen_by_everybody(opening: Opening) -> None:
    """Whoever has seen what was before: by secret, by id, in lists, as giver."""
    one, other = opening(), opening()
    sessions = [one.open_session(f"owner {number}") for number in range(4)]
    issued = one.issue_token(sessions[0].id, "v", transferable=True)
    at = 0
    for turn in range(HANDS):
        to = (at + 1 + turn % 3) % 4
        giver, receiver, former = f"owner {at}", f"owner {to}", issued
        assert other.verify_token(former.secret) is not None
        issued = one.transfer_token(issued.id, giver=giver, receiver=receiver)
        looks: tuple[Callable[[], bool], ...] = (
            lambda former=former: other.verify_token(former.secret) is None,  # type: ignore[misc]  # bound here, all
            lambda issued=issued, to=receiver: other.verify_token(issued.secret).owner == to,  # type: ignore[misc,union-attr]
            lambda issued=issued, giver=giver: issued.id not in ids_of(other, giver),  # type: ignore[misc]
            lambda issued=issued, to=receiver: issued.id in ids_of(other, to),  # type: ignore[misc]
            lambda issued=issued, to=receiver: other.get_token(issued.id).owner == to,  # type: ignore[misc,union-attr]
        )
        assert looks[turn % len(looks)](), turn
        with pytest.raises(NotOwner):
            other.transfer_token(issued.id, giver=giver, receiver=receiver)
        at = to


@pytest.mark.parametrize(("function", "is_done"), [("hold", True), ("decide", False), ("decide", True)])
def test_a_process_that_dies_in_the_midst_holds_nobody_up_for_longer_than_the_time_out(
    opening: Opening, function: str, *, is_done: bool
) -> None:
    class Dead(BaseException):
        """The process has died."""

    def dies(ask: Callable[[Sequence[Call]], list[Any]], calls: Sequence[Call]) -> list[Any]:
        if not any(function.encode() in call.words[1] for call in calls):
            return ask(calls)
        if is_done:
            ask(calls)
        raise Dead

    living, dying = opening(), opening()
    sessions = [living.open_session(f"owner {number}") for number in range(6)]
    tokens = [living.issue_token(session.id, "v", transferable=True) for session in sessions]
    asked_through(dying, dies)
    for number in range(5):  # of so many some lie in two partitions
        try:
            dying.transfer_token(tokens[number].id, giver=f"owner {number}", receiver="owner 5")
        except Dead:
            break
    else:
        raise AssertionError("all lie in one partition")

    moved = function == "decide" and is_done
    found = living.get_token(tokens[number].id)
    assert found is not None and found.owner == ("owner 5" if moved else f"owner {number}")
    assert (living.verify_token(tokens[number].secret) is None) == moved
    assert living.verify_session(sessions[5].secret) == sessions[5].session
    assert living.destroy_session(sessions[5].id)
    assert living.verify_session(sessions[5].secret) is None
    time.sleep(TIMEOUT_S)
    living.sweep()
    assert living.store.check_now() == []  # type: ignore[attr-defined]  # a store on a server has it


def test_commands_with_lost_answers_and_idempotency_keys_are_applied_exactly_once(opening: Opening) -> None:
    """Of each call that writes the answer may be lost, carried out or not: holds, decisions and all that follows."""
    lost = [0]

    def loses(chance: random.Random) -> Callable[[Callable[[Sequence[Call]], list[Any]], Sequence[Call]], list[Any]]:
        def fate(ask: Callable[[Sequence[Call]], list[Any]], calls: Sequence[Call]) -> list[Any]:
            drawn = [chance.random() / LOST if call.writes else 1 for call in calls]
            sent = [call for call, each in zip(calls, drawn, strict=True) if each > 0.5]
            replies = iter(ask(sent) if sent else ())
            answers: list[Any] = [next(replies) if each > 0.5 else None for each in drawn]
            lost[0] += sum(each < 1 for each in drawn)
            return [
                answer if each >= 1 else StoreUnavailable("lost") for answer, each in zip(answers, drawn, strict=True)
            ]

        return fate

    def until_answered(command: Callable[[], Issued]) -> Issued:
        while True:
            try:
                return command()
            except (StoreUnavailable, StoreBusy):
                pass

    plain, handles = opening(), [opening() for _ in range(2)]
    sessions = [plain.open_session(f"owner {number}") for number in range(4)]
    for seed, handle in enumerate(handles):
        asked_through(handle, loses(random.Random(seed)))

    def hands_on(lane: int) -> list[str]:
        issued, at = plain.issue_token(sessions[0].id, lane, transferable=True), 0
        secrets = [str(issued.secret)]
        for turn in range(HANDS // LANES):
            to = (at + 1 + turn % 3) % 4
            key, giver, receiver = f"{lane} {turn}", f"owner {at}", f"owner {to}"
            issued = until_answered(
                lambda turn=turn, key=key, giver=giver, receiver=receiver, id=issued.id: handles[  # type: ignore[misc]  # bound here
                    turn % 2
                ].transfer_token(id, giver=giver, receiver=receiver, idempotency_key=key)
            )
            assert issued.token.epoch == turn + 1
            secrets.append(str(issued.secret))
            at = to
        return secrets

    with ThreadPoolExecutor(LANES) as pool:
        all_secrets = list(pool.map(hands_on, range(LANES)))

    assert lost[0] > 0
    for secrets in all_secrets:
        assert [secret for secret in secrets if plain.verify_token(secret)] == secrets[-1:]
    time.sleep(TIMEOUT_S)
    plain.sweep()
    assert plain.store.check_now() == []  # type: ignore[attr-defined]  # a store on a server has it
