"""kill -9 at random points, again and again on one file: each acknowledged command is there afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.stores.sqlite.store import SqliteStore
from tests.helpers.effort import times

pytestmark = pytest.mark.process

WORKER = Path(__file__).with_name("worker.py")
CYCLES = times(4, proving=40)
ACKNOWLEDGED_MAX = 600

Told = dict[str, dict[str, dict[str, str]]]
"""Owner → step → what was told of it."""


def killed(url: str, way: str, cycle: str, acknowledged: int, errors: Path) -> list[dict[str, str]]:
    """Run the worker until so many commands were acknowledged, kill it; answer all that it had told by then."""
    with errors.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), url, cycle, way], stdout=subprocess.PIPE, stderr=log, bufsize=0
        )
        assert process.stdout is not None
        received = b""
        while received.count(b"\n") < acknowledged:
            more = os.read(process.stdout.fileno(), 65536)
            assert more, f"the worker ended by itself: {errors.read_text()}"
            received += more
        process.send_signal(signal.SIGKILL)
        while more := os.read(process.stdout.fileno(), 65536):
            received += more
        process.stdout.close()
        assert process.wait(60) == -signal.SIGKILL
    return [json.loads(line) for line in received.splitlines() if line.endswith(b"}")]


def losses(tokens: SessionTokens, told: Told) -> list[str]:
    """Return what was acknowledged and is not there. The step after the last one may have happened or not."""
    lost = []
    for owner, steps in told.items():
        session = tokens.verify_session(steps["open"]["secret"])
        if "end" in steps and session is not None:
            lost.append(f"{owner}: its session ended and lives")
        if session is None and "transfer" not in steps:
            lost.append(f"{owner}: its session was opened and is gone")
        if session is None and "end" not in steps and int(owner.rpartition("-")[2]) % 2 == 0:
            lost.append(f"{owner}: its session is gone and nobody ended it")
        if "issue" not in steps:
            continue
        token = tokens.get_token(steps["issue"]["id"])
        if token is None or token.value != owner:
            lost.append(f"{owner}: its token was issued and is gone")
        elif "transfer" not in steps:
            held = tokens.verify_token(steps["issue"]["secret"])
            if (held is None) != (token.owner == f"receiver-{owner}"):
                lost.append(f"{owner}: its token is of {token.owner}, and its first secret answers {held}")
        else:
            moved = tokens.verify_token(steps["transfer"]["secret"])
            if moved is None or moved.owner != f"receiver-{owner}":
                lost.append(f"{owner}: its token was transferred and is not the receiver's")
            if tokens.verify_token(steps["issue"]["secret"]) is not None:
                lost.append(f"{owner}: the giver's secret lives after the transfer")
    return lost


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_what_was_acknowledged_survives_being_killed(way: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    told: Told = {}
    for cycle in range(CYCLES):
        for line in killed(url, way, f"r{cycle}", chance.randint(1, ACKNOWLEDGED_MAX), tmp_path / "errors"):
            told.setdefault(line["owner"], {})[line["step"]] = line
        with SessionTokens.open(url, sweep=False) as tokens:
            assert isinstance(tokens.store, SqliteStore)

            assert losses(tokens, told) == [], f"seed {seed}, cycle {cycle}"
            assert tokens.store.check() == [], f"seed {seed}, cycle {cycle}"


@pytest.mark.parametrize("way", ["threads"])
def test_a_worker_killed_beside_another_process_leaves_it_working(way: str, tmp_path: Path) -> None:
    """The lock of a killed process is free at once, and what the survivor reads is whole."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with SessionTokens.open(url, sweep=False) as tokens:
        mine = tokens.open_session("survivor")
        told: Told = {}
        for line in killed(url, way, "r", 60, tmp_path / "errors"):
            told.setdefault(line["owner"], {})[line["step"]] = line
        rotated = tokens.rotate_session(mine.secret)

        assert tokens.verify_session(rotated.secret) is not None
        assert losses(tokens, told) == []


@pytest.mark.parametrize("step", ["before anything", "after the key file", "after the empty file"])
def test_a_first_process_killed_while_it_makes_the_files_does_not_stop_the_next(step: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    patch = {
        "before anything": "store.make_private_file",
        "after the empty file": "schema.make_key_file",
        "after the key file": "store.prepare",
    }[step]
    script = (
        "import os, sys\n"
        "from session_tokens.stores.sqlite import schema, store\n"
        f"def die(*args, **options): os.kill(os.getpid(), 9)\n{patch} = die\n"
        "store.open_sqlite(sys.argv[1])\n"
    )
    first = subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=False, capture_output=True)
    assert first.returncode == -signal.SIGKILL
    with SessionTokens.open(f"sqlite:///{path}", sweep=False) as tokens:
        issued = tokens.open_session("ann")

        assert tokens.verify_session(issued.secret) is not None
