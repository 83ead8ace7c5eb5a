"""The audit log on each server: a whole chain, and whoever edits, takes away or swaps entries there is noticed."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import valkey

from session_tokens import SessionTokens
from session_tokens.audit import Audit
from session_tokens.cli.main import main
from session_tokens.rules.audit import HEAD_SETTING, entry_name
from tests.servers.postgres import _postgres_url
from tests.servers.valkey import _valkey_url

__all__ = ["_postgres_url", "_valkey_url"]

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
        self._prefix = "{" + parse_qs(urlsplit(url).query)["prefix"][0] + ":00}:c:"
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
    """Answer exit code and findings of the command that verifies."""
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
