"""Processes that use a store while its servers fail, and what all of them saw."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from session_tokens import SessionTokens
from session_tokens.stores.connect import open_store_now
from tests.helpers.project import ROOT
from tests.helpers.races.field import ALL, PEPPER
from tests.helpers.races.history import Operation, load, mark
from tests.helpers.races.registers import TokenRegister

OWNERS = [f"owner {number}" for number in range(12)]
TOKENS = 48
STOP_S = 180


class Endurance:
    """Some processes on one store, each with a thread that hands tokens on and one whose sessions come and go.

    Attributes:
        start: what the tokens begin as.
        hits: how often a near cache answered.
    """

    def __init__(self, url: str, count: int, seed: int, folder: Path, near_s: float) -> None:
        self._folder, self._words_file = folder, folder / "words"
        self._environment = os.environ | {"RACE_URL": url, "RACE_NEAR_S": str(near_s)}
        self.hits = 0
        self.start: dict[str, TokenRegister] = {}
        with self._words_file.open("w") as words:
            self._workers = [self._started(seed, number, words) for number in range(count)]
        lines = self._first_lines(url)
        self._tell("\n".join([*lines, "", ""]))
        self._hear("ready")

    def _started(self, seed: int, number: int, words: IO[str]) -> subprocess.Popen[str]:
        told = [str(seed), str(number), str(self._folder / f"{number}.jsonl")]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.races.enduring", *told],
            cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words,
            text=True,
        )  # fmt: skip

    def _first_lines(self, url: str) -> list[str]:
        with SessionTokens(open_store_now(url, pepper=PEPPER), ALL) as st:
            homes = {owner: st.open_session(owner).id for owner in OWNERS}
            lines = [f"{owner}={id}" for owner, id in homes.items()]
            for number in range(TOKENS):
                owner = OWNERS[number % len(OWNERS)]
                issued = st.issue_token(homes[owner], "at first", transferable=True)
                lines.append(f"{issued.id}={issued.secret}")
                self.start[issued.id] = TokenRegister(
                    born=True, alive=True, owner=owner, secret=mark(issued.secret), value="at first"
                )
        return lines

    def through(self, faults: Callable[[], None]) -> list[Operation]:
        """Let them go on while faults happen; return what all saw, and found at the end."""
        self._tell("go\n")
        faults()
        self._tell("over\n")
        self.hits = sum(int(number) for (number,) in self._hear("still"))
        self._tell("look\n")
        for worker in self._workers:
            assert worker.wait(STOP_S) == 0, self._words()
        return load(sorted(self._folder.glob("*.jsonl")))

    def _tell(self, text: str) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(text)
            worker.stdin.flush()

    def _hear(self, word: str) -> list[list[str]]:
        """Wait until each says a word; return what each says with it."""
        said = []
        for worker in self._workers:
            assert worker.stdout is not None
            first, *more = [*worker.stdout.readline().split(), ""]
            assert first == word, self._words()
            said.append(more[:-1])
        return said

    def _words(self) -> str:
        return self._words_file.read_text()

    def remove(self) -> None:
        """End them."""
        for worker in self._workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


@contextmanager
def endurance_of(url: str, count: int, seed: int, folder: Path, near_s: float = 0) -> Iterator[Endurance]:
    """Start some processes on a store for the length of a block, with near caches of that bound if it is not 0."""
    endurance = Endurance(url, count, seed, folder, near_s)
    try:
        yield endurance
    finally:
        endurance.remove()
