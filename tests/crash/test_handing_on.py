"""kill -9 at every point of a commit over partitions: it was whole or not at all, and what it held is free again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import uuid

import pytest
import valkey

from session_tokens.stores.valkey.library import library_text
from tests.crash.handing_on import HAT, OWNERS
from tests.helpers.effort import times
from tests.helpers.partitioned import PATIENCE_MS, Partitions
from tests.helpers.project import ROOT
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = [pytest.mark.process, pytest.mark.server]

CALLS = 8
"""What one transfer over three partitions asks: two reads, two holds, a decision, twice to finish, once to settle."""
CYCLES = times(8, proving=300)
WORKERS = 3


def worker(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.handing_on", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def partitions(server: ValkeyServer) -> Partitions:
    """Return partitions in which Ann holds the hat, and Ben and Cat have sessions too."""
    parts = Partitions([server.port], f"t{uuid.uuid4().hex[:12]}")
    parts.load(library_text())
    for owner in OWNERS:
        parts.open_session(owner)
    parts.issue(HAT, OWNERS[0])
    return parts


def living_secrets(parts: Partitions, port: int, id: str) -> list[str]:
    """Return all secrets that lead to a token, as they stand there."""
    with valkey.Valkey(port=port) as client:
        keys = client.scan_iter(match=f"{{{parts._namespace}:*}}:T:*", count=1000)
        secrets = [key.partition(b"}:T:")[2].decode() for key in keys]
    return [secret for secret in secrets if parts.leads_to(secret) == id]


def assert_whole(parts: Partitions, port: int, id: str) -> str:
    """Assert that a token has one living secret, and is held by its owner alone; return the owner."""
    token = parts.token(id)
    assert living_secrets(parts, port, id) == [token.secret]
    assert [owner for owner in OWNERS if id in parts.held_by(owner)] == [token.owner]
    return token.owner


def test_a_process_may_die_before_and_after_every_call(valkey_server: ValkeyServer) -> None:
    all_parts = [partitions(valkey_server) for _ in range(2 * CALLS)]
    secrets = [parts.token(HAT).secret for parts in all_parts]
    names = [parts._namespace for parts in all_parts]

    told = worker("at", str(valkey_server.port), *names).communicate(timeout=60)[0].split()

    assert told == ["killed"] * (2 * CALLS)
    moved = []
    for parts, secret in zip(all_parts, secrets, strict=True):
        owner = parts.token(HAT).owner
        moved.append(owner == OWNERS[1])
        assert (parts.leads_to(secret) is None) == moved[-1]
        assert parts.transfer(HAT, owner, OWNERS[2])[:3] == "03-"  # needs all that was held
        assert parts.end(OWNERS[1]) == ""
        assert assert_whole(parts, valkey_server.port, HAT) == OWNERS[2]
    assert moved == [False] * 9 + [True] * 7  # the fifth call decides


def acknowledged(told: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return whose sessions were ended, and the ids and secrets of what was issued, as whole lines tell of them."""
    acts = [line.split() for line in told if line.strip()]
    ended = [words[1] for words in acts if words[0] == "ended" and len(words[1]) == 15]
    caps = [(words[1], words[2]) for words in acts if words[0] == "cap" and len(words) == 3 and len(words[2]) == 15]
    return ended, caps


def test_processes_die_at_any_time_and_the_others_go_on(valkey_server: ValkeyServer) -> None:
    """What was acknowledged is there, and what was ended does not come back."""
    parts, port = partitions(valkey_server), str(valkey_server.port)
    told, running = list[str](), [worker("on", port, parts._namespace, f"seed {number}") for number in range(WORKERS)]
    for cycle in range(CYCLES):
        assert running[0].stdout is not None
        for _ in range(random.randrange(2, 12)):
            told.append(running[0].stdout.readline())
        running[0].send_signal(signal.SIGKILL)
        told += running.pop(0).communicate(timeout=60)[0].splitlines()
        running.append(worker("on", port, parts._namespace, f"cycle {cycle}"))
    for process in running:
        while min(len(each) for each in acknowledged(told)) <= CYCLES:  # by luck, those who died may have done little
            assert process.stdout is not None
            told.append(process.stdout.readline())
            assert told[-1], "it ended by itself"
        process.send_signal(signal.SIGKILL)
        told += process.communicate(timeout=60)[0].splitlines()

    time.sleep(PATIENCE_MS / 1000)
    parts.sweep(range(4))
    ended, caps = acknowledged(told)
    assert {parts.session(owner)[1] for owner in ended} == {"ended"}
    assert_whole(parts, valkey_server.port, HAT)
    for id, secret in caps:
        assert (parts.token(id).secret, parts.leads_to(secret)) == (secret, id)
        assert_whole(parts, valkey_server.port, id)
    with valkey.Valkey(port=valkey_server.port) as client:
        held = list(client.scan_iter(match=f"{{{parts._namespace}:*}}:[hx]:*", count=1000))
    assert held == []
