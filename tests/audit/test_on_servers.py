"""The audit log on each server: a whole chain, and whoever edits, takes away or swaps entries there is noticed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import valkey

from session_tokens import AsyncSessionTokens, Session, SessionTokens
from session_tokens.audit.log import Audit, read_anchors
from session_tokens.audit.reader import AuditFilter, latest, read, read_now, searched, verifying
from session_tokens.cli.main import main
from session_tokens.rules.audit import HEAD_SETTING, entry_name, head_name

ENTRIES = 10


class Vandal(ABC):
    """Somebody who can write to the server, and has no pepper."""

    @abstractmethod
    def edit(self, name: str, text: str, other: str) -> None:
        """Put another text into what the log keeps under a name."""

    @abstractmethod
    def take_away(self, name: str) -> None:
        """Delete what the log keeps under a name."""

    @abstractmethod
    def close(self) -> None:
        """Go away."""

    @abstractmethod
    def swap(self, one: str, other: str) -> None:
        """Let two change places, as they are."""


class VandalOnPostgres(Vandal):
    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def _run(self, query: str, *words: str) -> None:
        cursor = self._connection.execute(query.replace("{settings}", "session_tokens.settings").encode(), words)
        assert cursor.rowcount == 1

    def edit(self, name: str, text: str, other: str) -> None:
        self._run("UPDATE {settings} SET text = replace(text, %s, %s) WHERE name = %s", text, other, name)

    def take_away(self, name: str) -> None:
        self._run("DELETE FROM {settings} WHERE name = %s", name)

    def swap(self, one: str, other: str) -> None:
        for before, after in ((one, "elsewhere"), (other, one), ("elsewhere", other)):
            self._run("UPDATE {settings} SET name = %s WHERE name = %s", after, before)


class VandalOnValkey(Vandal):
    def __init__(self, url: str) -> None:
        self._prefix = "{" + parse_qs(urlsplit(url).query)["namespace"][0] + ":00}:c:"
        self._client = valkey.Valkey.from_url(url.partition("?")[0])

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]  # the driver has no types

    def _get(self, name: str) -> bytes:
        value = self._client.get(self._prefix + name)
        assert isinstance(value, bytes)
        return value

    def edit(self, name: str, text: str, other: str) -> None:
        value = self._get(name)
        assert text.encode() in value
        self._client.set(self._prefix + name, value.replace(text.encode(), other.encode()))

    def take_away(self, name: str) -> None:
        assert self._client.delete(self._prefix + name) == 1

    def swap(self, one: str, other: str) -> None:
        values = self._get(one), self._get(other)
        for name, value in zip((other, one), values, strict=True):
            self._client.set(self._prefix + name, value)


@pytest.fixture(params=["postgres", "valkey"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "anchor.jsonl"


@pytest.fixture
def vandal(url: str, anchor: Path) -> Iterator[Vandal]:
    """Somebody at a store with an audit log of ten entries."""
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=4)) as tokens:
        for number in range(1, ENTRIES + 1):
            tokens.open_session(f"owner-{number}")
    one = VandalOnPostgres(url) if url.startswith("postgresql") else VandalOnValkey(url)
    yield one
    one.close()


def verified(url: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    """Return exit code and findings of the command that verifies."""
    capsys.readouterr()
    code = main(["audit", "verify", "--json", "--store", url, *options])
    answer = json.loads(capsys.readouterr().out)
    return code, answer["findings"]


def test_a_log_that_nobody_touched_is_whole(
    url: str, anchor: Path, vandal: Vandal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verified(url, capsys) == verified(url, capsys, "--anchor", str(anchor)) == (0, [])
    assert main(["audit", "list", "--json", "--store", url]) == 0
    assert [entry["owner"] for entry in json.loads(capsys.readouterr().out)["items"]] == [
        f"owner-{number}" for number in range(ENTRIES, 0, -1)
    ]


def test_an_entry_that_was_edited_is_noticed(url: str, vandal: Vandal, capsys: pytest.CaptureFixture[str]) -> None:
    vandal.edit(entry_name(4), "owner-4", "owner-X")

    code, findings = verified(url, capsys)

    assert code == 4 and findings[0].startswith("entry 4 was edited")


@pytest.mark.parametrize("number", [1, 5, ENTRIES])
def test_an_entry_that_was_taken_away_is_noticed(
    url: str, vandal: Vandal, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    vandal.take_away(entry_name(number))

    code, findings = verified(url, capsys)

    assert code == 4 and any(f"entry {number} is missing" in finding for finding in findings)


def test_entries_that_changed_places_are_noticed(url: str, vandal: Vandal, capsys: pytest.CaptureFixture[str]) -> None:
    vandal.swap(entry_name(4), entry_name(5))

    code, findings = verified(url, capsys)

    assert code == 4 and [finding[:8] for finding in findings[:2]] == ["entry 4 ", "entry 5 "]


def test_a_head_that_was_edited_or_taken_away_is_noticed(
    url: str, vandal: Vandal, capsys: pytest.CaptureFixture[str]
) -> None:
    vandal.edit(HEAD_SETTING, f"{ENTRIES}:", "7:")
    edited = verified(url, capsys)
    vandal.take_away(HEAD_SETTING)
    gone = verified(url, capsys)

    assert edited == (4, ["the head was edited"])
    assert gone[0] == 4 and gone[1][0].startswith("entry 1 stands after the head")


def test_a_chain_that_was_cut_behind_its_anchor_is_noticed(
    url: str, anchor: Path, vandal: Vandal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is taken away, and the log begun anew: whole in itself, and shorter than what was anchored."""
    for name in (HEAD_SETTING, *map(entry_name, range(1, ENTRIES + 1))):
        vandal.take_away(name)
    with SessionTokens.open(url, sweep=False, audit=Audit()) as tokens:
        tokens.open_session("begun anew")

    assert verified(url, capsys) == (0, [])
    code, findings = verified(url, capsys, "--anchor", str(anchor))
    assert code == 4 and any("it was cut" in finding for finding in findings)


async def test_commands_side_by_side_do_not_wait_for_one_end_of_the_log(url: str, anchor: Path) -> None:
    """Of 64 tasks on owners of their own hardly one meets another, with a log as without; each chain is whole."""
    async with await AsyncSessionTokens.open(url, sweep=False, audit=Audit(anchor, every=50)) as tokens:

        async def work(name: int) -> None:
            for number in range(10):
                session = await tokens.open_session(f"owner-{name}-{number}")
                await tokens.change_session(session.id, label="desk")
                await tokens.destroy_session(session.id)

        await asyncio.gather(*map(work, range(64)))
        conflicts = tokens.store.conflicts  # type: ignore[attr-defined]  # of a server's store
        verdict = await read(tokens.store, verifying(tokens.store.keyring, read_anchors(anchor), lambda number: None))
        entries = await read(tokens.store, latest(5_000))

    assert conflicts < 64
    assert verdict.findings == [] and verdict.entries == 64 * 10 * 3
    assert len({entry["chain"] for entry in entries}) <= 64
    assert sorted((entry["chain"], entry["n"]) for entry in entries) == sorted(
        {(entry["chain"], entry["n"]) for entry in entries}
    )
    assert len(entries) == verdict.entries
    assert [entry["at"] for entry in entries] == sorted((entry["at"] for entry in entries), reverse=True)


def test_an_anchor_is_over_all_chains_whoever_added_to_them(url: str, tmp_path: Path) -> None:
    """What processes without an anchor file add is anchored by the one that has one; a cut of any chain is noticed."""
    anchor = tmp_path / "anchor.jsonl"
    with (
        SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=1_000)) as anchoring,
        SessionTokens.open(url, sweep=False, audit=Audit()) as other,
    ):
        for number in range(4):  # by turns, so that each learns that the other uses the first chain, and leaves it
            anchoring.open_session(f"owner-{number}")
            other.open_session(f"other-{number}")
    anchors = read_anchors(anchor)
    with SessionTokens.open(url, sweep=False) as reading:
        entries = read_now(reading.store, latest(100))
        verdict = read_now(reading.store, verifying(reading.store.keyring, anchors, lambda number: None))

    assert verdict == (8, 1, [])
    assert sum(head.number for head in anchors[0].heads.values()) == 8
    assert len({entry["chain"] for entry in entries}) >= 2


def test_a_chain_that_was_taken_away_whole_is_noticed(
    url: str, anchor: Path, vandal: Vandal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several chains one goes, head and entries: the others are whole, and the anchor names what is not there."""
    others = Audit(anchor, every=1_000)
    others.take(side_by_side=True)  # the first chain is taken by somebody
    with SessionTokens.open(url, sweep=False, audit=others) as tokens:
        tokens.open_session("elsewhere")
        chain = read_now(tokens.store, latest(1))[0]["chain"]
    assert chain != 0 and verified(url, capsys, "--anchor", str(anchor)) == (0, [])
    vandal.take_away(entry_name(1, chain))
    vandal.take_away(head_name(chain))

    assert verified(url, capsys) == (0, [])
    code, findings = verified(url, capsys, "--anchor", str(anchor))
    assert code == 4
    assert findings == [f"the chain {chain} ends at entry 0, but entry 1 was anchored: it was cut"]


KILLED = """
import asyncio, os, sys
from session_tokens import AsyncSessionTokens
from session_tokens.audit.log import Audit

async def main(url, anchor):
    tokens = await AsyncSessionTokens.open(url, audit=Audit(anchor, every=20))

    async def work(name):
        number = 0
        while True:
            session = await tokens.open_session(f"{os.getpid()}-{name}-{number}")
            os.write(1, session.session.id.encode() + b"\\n")
            number += 1

    await asyncio.gather(*map(work, range(24)))

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_killed_in_the_middle_leave_whole_chains(url: str, anchor: Path) -> None:
    """Two processes with 24 commands under way each are killed: no gap, and an entry for each that was acknowledged."""
    workers = [
        subprocess.Popen([sys.executable, "-c", KILLED, url, str(anchor)], stdout=subprocess.PIPE, bufsize=0)
        for _ in range(2)
    ]
    told: list[bytes] = [b"", b""]
    try:
        for place, worker in enumerate(workers):
            assert worker.stdout is not None
            while told[place].count(b"\n") < 300:
                more = os.read(worker.stdout.fileno(), 65536)
                assert more
                told[place] += more
    finally:
        for worker in workers:
            worker.kill()
    for place, worker in enumerate(workers):
        assert worker.stdout is not None
        with worker.stdout:
            told[place] += worker.stdout.read()
        worker.wait(60)
    acknowledged = {line.decode() for text in told for line in text.splitlines() if len(line) == 28}
    with SessionTokens.open(url, sweep=False) as reading:
        verdict = read_now(reading.store, verifying(reading.store.keyring, read_anchors(anchor), lambda number: None))
        logged = {entry["subject_id"] for entry in read_now(reading.store, latest(50_000))}
        living = {session.id for session in every_session(reading)}

    assert verdict.findings == [] and verdict.anchors >= 1
    assert acknowledged <= logged
    assert logged == living


def every_session(tokens: SessionTokens) -> Iterator[Session]:
    """Return all living sessions."""
    after = None
    while True:
        page = tokens.list_sessions(after=after, limit=500)
        yield from page
        after = page.after
        if after is None:
            return


def test_pages_of_the_log_follow_one_another_without_gap(url: str, anchor: Path) -> None:
    audit = Audit(anchor)
    with SessionTokens.open(url, sweep=False, audit=audit) as tokens:
        for number in range(30):
            held = [audit.take(side_by_side=True) for _ in range(number % 5)]
            tokens.open_session(f"owner-{number}")
            for chain in reversed(held):
                audit.gave_up(chain, side_by_side=True)
        whole = read_now(tokens.store, latest(100))
        page = read_now(tokens.store, searched(7, None, AuditFilter()))
        pages = page.entries
        while page.next is not None:
            page = read_now(tokens.store, searched(7, page.next, AuditFilter()))
            pages += page.entries

    assert len(whole) == 30 and len({entry["chain"] for entry in whole}) == 5
    assert pages == whole
    assert [entry["at"] for entry in whole] == sorted((entry["at"] for entry in whole), reverse=True)
