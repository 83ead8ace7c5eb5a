"""A race between processes on one store, and the judgement over what all of them saw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.races.field import Field
from tests.helpers.races.history import Operation, check_sessions, check_tokens, load
from tests.helpers.races.play import begin
from tests.helpers.races.registers import TokenRegister

ROOT = Path(__file__).parents[3]


def judge(operations: list[Operation], start: dict[str, TokenRegister]) -> None:
    """Raise `BrokenHistory` unless the operations on each token and on each session can be explained."""
    check_tokens([operation for operation in operations if operation.subject.startswith("tok_")], start)
    check_sessions([operation for operation in operations if operation.subject.startswith("ses_")])


def race_of_processes(
    field: Field, count: int, seed: int, folder: Path, moves: int = 24
) -> tuple[list[Operation], dict[str, TokenRegister]]:
    """Let processes of two threads each play at once; answer what all saw, and what the tokens began as."""
    table, start, recorder = begin(field.api(), tokens=2, sessions=2)
    recorder.save(folder / "0.jsonl")
    known = [f"{id}={secrets[0]}" for kept in (table.tokens, table.sessions) for id, secrets in kept.items()]
    workers = [
        subprocess.Popen(
            [
                sys.executable, "-m", "tests.helpers.races.player", str(seed), str(number),
                str(folder / f"{number}.jsonl"),
            ],
            cwd=ROOT, env=os.environ | {"RACE_URL": str(field.url), "RACE_MOVES": str(moves)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write("\n".join([*known, "", ""]))
        worker.stdin.flush()
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n", worker.communicate()[1]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, words = worker.communicate(timeout=120)
        assert worker.returncode == 0, words
    return load(sorted(folder.glob("*.jsonl"))), start
