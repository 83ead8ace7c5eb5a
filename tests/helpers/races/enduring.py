"""One process that uses a store whose servers fail, and goes on: it asks again until it is answered.

Usage: ``python -m tests.helpers.races.enduring SEED NUMBER FILE`` with the store's URL in ``RACE_URL`` and the bound
of a near cache in ``RACE_NEAR_S``, 0 for none; then lines ``id=secret`` of tokens, ``home=id`` of the sessions that
receive them, and an empty line. It answers ``ready``; ``go`` begins, ``over`` ends it; it answers ``still`` when its
last command was answered, with how often a near cache answered, ``look`` lets it try all the secrets that it was ever
given, and its history stands in the file.

A command has an idempotency key, as a caller's has who repeats it: what it answers at last is the one answer, however
often it was asked. A few have none, and are not asked again: they may have been carried out or not.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from session_tokens import Issued, SessionTokens, SessionTokensError, StoreBusy, StoreUnavailable
from tests.helpers.races.field import ALL, PEPPER
from tests.helpers.races.history import Operation, Recorder, mark
from tests.helpers.races.play import of_issued, of_token, of_verified_token
from tests.helpers.races.promises import AT_THE_END

T = TypeVar("T")
PATIENCE_S = 120
PAUSE_S = 0.03
BREATH_S = 0.02
"""Between two rounds: so that a history is of many seconds, and not of many operations in few."""
UNKEYED = 0.1
WATCH_S = 0.005
"""Between two looks of who watches secrets: so that most of them find what is kept near."""
TRIED = 4
"""Secrets that are tried at each look, beside those that opened something at the one before."""
TRIED_AT_THE_END = 12
"""Secrets of one token or session that are tried at the end, the most recent ones."""


class Enduring:
    """One thread of such a process: an API, a history and a name."""

    def __init__(self, st: SessionTokens, recorder: Recorder, name: str, seed: int, homes: dict[str, str]) -> None:
        self.st, self.recorder, self.name, self.homes = st, recorder, name, homes
        self.chance = random.Random(f"{seed} {name}")
        self.known: dict[str, list[str]] = {}
        self.seen: dict[str, Operation] = {}
        self.opening: dict[str, str] = {}
        self._commands = 0

    def key(self) -> str:
        """Return the idempotency key of one more command."""
        self._commands += 1
        return f"{self.name} {self._commands}"

    def ask(
        self,
        kind: str,
        subject: str,
        call: Callable[[], T],
        tell: Callable[[T], dict[str, Any]],
        *,
        is_repeated: bool = True,
        worker: str = "",
        **given: Any,
    ) -> T | None:
        """Return what a call answers at last, ``None`` where it is refused or nobody knows."""
        number = self.recorder.begin(kind, subject, worker=worker or self.name, **given)
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = call()
            except (StoreUnavailable, StoreBusy):
                if not is_repeated:
                    self.recorder.finish(number, "unseen")
                    return None
                if time.monotonic() > until_s:
                    raise
                time.sleep(PAUSE_S)
                continue
            except SessionTokensError as error:
                self.recorder.finish(number, type(error).__name__)
                return None
            break
        self.recorder.finish(number, subject=getattr(answer, "id", subject), **tell(answer))
        if isinstance(answer, Issued):
            self.known.setdefault(answer.id, []).append(str(answer.secret))
        return answer

    # --- tokens that all processes hand on ---

    def hand_on(self) -> None:
        """Make one move with one of the tokens that all have."""
        id = self.chance.choice([known for known in self.known if known.startswith("tok_")])
        token = self.ask("read", id, lambda: self.st.get_token(id), of_token)
        if token is None or token.owner is None:
            return
        giver, receiver = token.owner, self.chance.choice(list(self.homes))
        draw = self.chance.random()
        if draw < 0.5:
            is_keyed = self.chance.random() > UNKEYED
            key = self.key() if is_keyed else None
            self.ask(
                "transfer", id,
                lambda: self.st.transfer_token(id, giver=giver, receiver=receiver, idempotency_key=key),
                of_issued, is_repeated=is_keyed, giver=giver, receiver=receiver,
            )  # fmt: skip
        elif draw < 0.6:
            key = self.key()
            self.ask(
                "reissue", id, lambda: self.st.reissue_token(id, owner=giver, idempotency_key=key), of_issued,
                owner=giver,
            )  # fmt: skip
        elif draw < 0.7:
            key = self.key()
            self.ask(
                "change", id, lambda: self.st.change_token(id, value=key, idempotency_key=key), lambda _: {}, value=key
            )
        else:
            self.verify(id, self.chance.choice(self.known[id][-4:]))

    # --- sessions that begin and end ---

    def come_and_go(self) -> None:
        """Open a session, let it hold a token, end it; let another claim that."""
        owner, keys = self.key(), [self.key() for _ in range(6)]
        opened = self.ask(
            "open", "", lambda: self.st.open_session(owner, idempotency_key=keys[0]), of_issued, owner=owner
        )
        assert opened is not None
        token = self.ask(
            "issue", "",
            lambda: self.st.issue_token(opened.id, owner, transferable=True, idempotency_key=keys[1]), of_issued,
            owner=owner, value=owner,
        )  # fmt: skip
        assert token is not None
        if self.chance.random() < 0.3:
            rotated = self.ask(
                "rotate", opened.id, lambda: self.st.rotate_session(opened.id, idempotency_key=keys[2]), of_issued
            )
            assert rotated is not None
        self.verify_all(opened.id, token.id)
        unassigned = self.recorder.begin("unassign", token.id, worker=self.name, owner=owner)
        self.ask(
            "end", opened.id, lambda: self.st.destroy_session(opened.id, idempotency_key=keys[3]),
            lambda ended: {"ended": ended},
        )  # fmt: skip
        self.recorder.finish(unassigned)
        self.verify_all(opened.id, token.id)
        self.ask("read", token.id, lambda: self.st.get_token(token.id), of_token)
        home = self.chance.choice(list(self.homes))
        self.ask(
            "claim", token.id,
            lambda: self.st.claim_token(token.id, session_key=self.homes[home], idempotency_key=keys[4]), of_issued,
            owner=home,
        )  # fmt: skip
        self.verify_all(token.id)
        if self.chance.random() < 0.5:
            self.ask(
                "destroy", token.id, lambda: self.st.destroy_token(token.id, idempotency_key=keys[5]),
                lambda ended: {"ended": ended},
            )  # fmt: skip
            self.verify_all(token.id)

    # --- looking ---

    def watch(self, lanes: Sequence[Enduring]) -> None:
        """Try once what opened something the last time, and some secrets more; of each, its last such look is kept."""
        secrets = {lane_secrets[-1]: id for lane in lanes for id, lane_secrets in [*lane.known.items()]}
        self.opening |= {secret: secrets[secret] for secret in self.chance.sample([*secrets], min(len(secrets), TRIED))}
        for secret, id in [*self.opening.items()]:
            verify = self.st.verify_token if id.startswith("tok_") else self.st.verify_session
            asked_ns = time.monotonic_ns()
            try:
                verified = verify(secret)
            except (StoreUnavailable, StoreBusy):
                continue
            if verified is None:
                del self.opening[secret]
                continue
            self.seen[secret] = Operation(
                id, "watch", self.name, asked_ns, time.monotonic_ns(), "ok", {"secret": mark(secret)},
                {"accepted": True},
            )  # fmt: skip

    def verify(self, id: str, secret: str, worker: str = "") -> None:
        """Try a secret."""
        if id.startswith("tok_"):
            self.ask(
                "verify", id, lambda: self.st.verify_token(secret), of_verified_token, worker=worker,
                secret=mark(secret),
            )  # fmt: skip
        else:
            self.ask(
                "verify", id, lambda: self.st.verify_session(secret),
                lambda session: {"accepted": session is not None}, worker=worker, secret=mark(secret),
            )  # fmt: skip

    def verify_all(self, *ids: str) -> None:
        """Try all the secrets of some tokens or sessions."""
        for id in ids:
            for secret in self.known[id]:
                self.verify(id, secret)

    def look_at_the_end(self) -> None:
        """Try whatever is known, and read all tokens."""
        worker = f"{self.name}{AT_THE_END}"
        for id, secrets in self.known.items():
            for secret in secrets[-TRIED_AT_THE_END:]:
                self.verify(id, secret, worker)
            if id.startswith("tok_"):
                self.ask("read", id, lambda id=id: self.st.get_token(id), of_token, worker=worker)  # type: ignore[misc]  # bound here


def told() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the tokens and the homes that the standard input tells."""
    tokens, homes = {}, {}
    while line := sys.stdin.readline().strip():
        name, _, word = line.partition("=")
        if name.startswith("tok_"):
            tokens[name] = [word]
        else:
            homes[name] = word
    return tokens, homes


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(seed: int, number: int, path: Path) -> None:
    tokens, homes = told()
    near_s = float(os.environ["RACE_NEAR_S"])
    st = SessionTokens.open(os.environ["RACE_URL"], settings=ALL, pepper=PEPPER, sweep=False, near_cache=near_s)
    near = st.store.near_cache
    recorder = Recorder()
    lanes = [Enduring(st, recorder, f"process {number} {lane}", seed, homes) for lane in ("tokens", "sessions")]
    lanes[0].known |= tokens
    watcher = Enduring(st, recorder, f"process {number} watch", seed, homes)
    over = threading.Event()

    def run(move: Callable[[], None], pause_s: float) -> None:
        while not over.is_set():
            move()
            time.sleep(pause_s)

    moves = [(lanes[0].hand_on, BREATH_S), (lanes[1].come_and_go, BREATH_S)]
    if near_s:
        moves.append((partial(watcher.watch, lanes), WATCH_S))
    threads = [threading.Thread(target=run, args=move) for move in moves]
    say("ready")
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join()
    say(f"still {near.hits if near else 0}")
    sys.stdin.readline()
    time.sleep(near_s)
    for lane in lanes:
        lane.look_at_the_end()
    recorder.operations += watcher.seen.values()
    recorder.save(path)
    st.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
