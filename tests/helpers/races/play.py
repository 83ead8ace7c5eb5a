"""Players that command a few tokens and sessions at once, at random from a seed, and write down what they saw.

A move is drawn once and played on either API, so threads, tasks and processes run the same race.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from session_tokens import AsyncSessionTokens, Issued, SessionTokens
from tests.helpers.races.history import UNSEEN, Recorder, mark
from tests.helpers.races.registers import TokenRegister

OWNERS = ("ann", "bob", "cyn")


@dataclass
class Table:
    """What the players play with; they share what they learn, so that they try each other's secrets.

    Attributes:
        tokens, sessions: ids → the secrets that were ever seen for them.
        homes: the session in which each owner holds tokens, while it lives.
    """

    tokens: dict[str, list[str]] = field(default_factory=dict)
    sessions: dict[str, list[str]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    def learn(self, issued: Issued) -> None:
        known = self.tokens if issued.id.startswith("tok_") else self.sessions
        known.setdefault(issued.id, []).append(issued.secret)


@dataclass(frozen=True)
class Move:
    """One call: its name and arguments, what it is called in the history, and what of its answer belongs there."""

    call: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    kind: str
    subject: str
    given: dict[str, Any]
    tell: Callable[[Any], dict[str, Any]]


def of_issued(issued: Issued) -> dict[str, Any]:
    epoch = {"epoch": issued.record.epoch} if issued.id.startswith("tok_") else {}  # type: ignore[union-attr]
    return {"secret": mark(issued.secret)} | epoch


def of_token(token: Any) -> dict[str, Any]:
    if token is None:
        return {"found": False}
    return {"found": True, "owner": token.owner, "epoch": token.epoch, "value": token.value}


def of_verified_token(token: Any) -> dict[str, Any]:
    if token is None:
        return {"accepted": False}
    return {"accepted": True, "owner": token.owner, "epoch": token.epoch}


def of_session(session: Any) -> dict[str, Any]:
    return {"found": session is not None} | ({} if session is None else {"data": session.data})


def token_moves(script: random.Random, table: Table, player: str) -> Iterator[Move]:
    """Draw moves on tokens without end: transfers above all, from owners who may or may not own them."""
    while True:
        id = script.choice(list(table.tokens))
        giver, receiver = script.choice(OWNERS), script.choice(OWNERS)
        match script.randrange(20):
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                named = {"giver": giver, "receiver": receiver}
                yield Move("transfer_token", (id,), named, "transfer", id, named, of_issued)
            case 7 | 8:
                named = {"owner": giver}
                yield Move("reissue_token", (id,), named, "reissue", id, named, of_issued)
            case 9 | 10:
                value = f"{player} {script.randrange(10**6)}"
                yield Move("change_token", (id,), {"value": value}, "change", id, {"value": value}, lambda _: {})
            case 11:
                if script.random() < 0.2:
                    yield Move("destroy_token", (id,), {}, "destroy", id, {}, lambda ended: {"ended": ended})
            case 12 | 13 | 14:
                yield Move("get_token", (id,), {}, "read", id, {}, of_token)
            case _:
                secret = script.choice(table.tokens[id][-4:])
                yield Move("verify_token", (secret,), {}, "verify", id, {"secret": mark(secret)}, of_verified_token)


def session_moves(script: random.Random, table: Table, player: str) -> Iterator[Move]:
    """Draw moves on sessions without end, by id and by secrets that may be dead."""
    while True:
        id = script.choice(list(table.sessions))
        secret = script.choice(table.sessions[id][-3:])
        by_secret = script.random() < 0.4
        key, given = (secret, {"secret": mark(secret)}) if by_secret else (id, {})
        match script.randrange(16):
            case 0 | 1 | 2:
                yield Move("rotate_session", (key,), {}, "rotate", id, given, of_issued)
            case 3:
                yield Move("detach_session", (key,), {}, "detach", id, given, lambda _: {})
            case 4 | 5:
                yield Move("attach_session", (id,), {}, "attach", id, {}, of_issued)
            case 6 | 7 | 8:
                changes = {f"field {script.randrange(4)}": f"{player} {script.randrange(10**6)}"}
                yield Move(
                    "update_session_data", (key, changes), {}, "write", id, given | {"changes": changes}, lambda _: {}
                )
            case 9:
                if script.random() < 0.2:
                    yield Move("destroy_session", (key,), {}, "end", id, given, lambda ended: {"ended": ended})
            case 10 | 11 | 12:
                yield Move("get_session", (id,), {}, "read", id, {}, of_session)
            case _:
                yield Move(
                    "verify_session", (secret,), {"touch": script.random() < 0.5}, "verify", id,
                    {"secret": mark(secret)}, lambda session: {"accepted": session is not None},
                )  # fmt: skip


def outcome_of(error: Exception) -> str:
    """Return what an error is called in a history; one that is not of the library is raised."""
    if not hasattr(error, "code"):
        raise error
    name = type(error).__name__
    return "unseen" if name in UNSEEN else name


def play(st: SessionTokens, recorder: Recorder, table: Table, moves: Iterator[Move], count: int, player: str) -> None:
    """Play ``count`` moves, one after the other, on the API for threads."""
    for move, _ in zip(moves, range(count), strict=False):
        number = recorder.begin(move.kind, move.subject, worker=player, **move.given)
        try:
            answer = getattr(st, move.call)(*move.arguments, **move.named)
        except Exception as error:
            recorder.finish(number, outcome_of(error))
            continue
        recorder.finish(number, **move.tell(answer))
        if isinstance(answer, Issued):
            table.learn(answer)


async def play_async(
    st: AsyncSessionTokens, recorder: Recorder, table: Table, moves: Iterator[Move], count: int, player: str
) -> None:
    """The same on the API for asyncio."""
    for move, _ in zip(moves, range(count), strict=False):
        number = recorder.begin(move.kind, move.subject, worker=player, **move.given)
        try:
            answer = await getattr(st, move.call)(*move.arguments, **move.named)
        except Exception as error:
            recorder.finish(number, outcome_of(error))
            continue
        recorder.finish(number, **move.tell(answer))
        if isinstance(answer, Issued):
            table.learn(answer)


def begin(st: SessionTokens, tokens: int, sessions: int) -> tuple[Table, dict[str, TokenRegister], Recorder]:
    """Open what is played with; answer it, the registers that the tokens begin with, and the history so far."""
    table, recorder = Table(), Recorder()
    start: dict[str, TokenRegister] = {}
    for owner in OWNERS:
        table.homes[owner] = st.open_session(owner, max_age=None).id
    for _ in range(tokens):
        issued = st.issue_token(table.homes["ann"], "at first", transferable=True)
        table.learn(issued)
        start[issued.id] = TokenRegister(
            born=True, alive=True, owner="ann", secret=mark(issued.secret), value="at first"
        )
    for _ in range(sessions):
        number = recorder.begin("open", "", owner="dan")
        opened = st.open_session("dan", detachable=True, max_age=None, detached_timeout=None)
        recorder.finish(number, subject=opened.id, secret=mark(opened.secret))
        table.learn(opened)
    return table, start, recorder
