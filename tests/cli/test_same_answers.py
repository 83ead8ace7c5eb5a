"""One script of every command, said to each kind of store: the same JSON and exit codes as on SQLite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.cli.arguments import parser
from tests.helpers.command_line import Cli

OURS = re.compile(r"\b(?:ses|tok|key|sts|stt|stk)_[0-9A-Za-z]{20,}")
"""Ids and secrets."""
INSTANTS = ("at", "held_since", "since", "reserved_until", "until")
TIMES = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC")
ELSEWHERE = {"completion", "import", "pepper", "sealed", "serve", "store", "top"}
"""Commands that have tests of their own on each store."""


class Side:
    """One store, spoken to through the command line; ids and secrets go by the names of the steps that made them."""

    def __init__(self, cli: Cli, url: str, folder: Path) -> None:
        self._cli, self._url, self._folder = cli, url, folder
        self._names: dict[str, str] = {}
        self.cursor = ""

    def say(self, made: str, *words: str, stdin: str = "") -> Any:
        """Give a command, of which ``@name`` stands for an id or secret; answer its exit code and what it printed."""
        said = self._cli(*map(self._string, words), "--json", "--store", self._url, stdin=self._string(stdin).encode())
        out = json.loads(said.out) if said.out else None
        if isinstance(out, dict):
            self._learn(made, out)
        return said.code, self._plain(out), self._plain(json.loads(said.err)) if said.code > 1 else None

    def name(self, name: str, string: str) -> None:
        """Give an id or a secret a name, if it has none."""
        self._names.setdefault(string, name)

    def _learn(self, made: str, out: dict[str, Any]) -> None:
        for field, name in (("id", made), ("secret", f"{made} secret")):
            if field in out:
                self.name(name, out[field])
        if out.get("next"):
            self.cursor = out["next"]

    def _string(self, word: str) -> str:
        if word == "@cursor":
            return self.cursor
        if word == "@file":
            return str(self._folder / "secret")
        if word.startswith("@"):
            return next(string for string, name in self._names.items() if name == word[1:])
        return word

    def keep(self, word: str) -> None:
        """Put a secret into the file that ``@file`` stands for."""
        file = self._folder / "secret"
        file.write_text(self._string(word))
        file.chmod(0o600)

    def _plain(self, answer: Any, field: str = "") -> Any:
        """Return it without what depends on chance and on the clock; lists in an order of their own."""
        if isinstance(answer, dict):
            return {name: self._plain(value, name) for name, value in answer.items()}
        if isinstance(answer, list):
            return sorted((self._plain(item) for item in answer), key=repr)
        if isinstance(answer, str):
            if field == "next":
                return "a cursor"
            named = OURS.sub(lambda found: self._names.get(found[0], "an unknown string"), answer)
            return TIMES.sub("some time", named)
        if isinstance(answer, int) and (field in INSTANTS or field.endswith("_at")):
            return "an instant"
        return answer


SCRIPT: list[tuple[str, ...]] = [
    ("alice", "open", "alice", "--label", "phone", "--data", '{"n": [1, null, "ü"]}', "--user-agent", "Agent/1",
     "--address", "::1", "--idle-timeout", "30m", "--max-age", "12h", "--detachable",
     "--detached-timeout", "2h"),
    ("bob", "open", "bob {☂}", "--idempotency-key", "once"),
    ("bob", "open", "bob {☂}", "--idempotency-key", "once"),
    ("", "open", "carol", "--idempotency-key", "once"),
    ("", "open", "orphan"),
    ("", "open", "alice", "--data", "[1]"),
    ("", "verify", "<@alice secret"),
    ("", "verify", "<@alice secret", "--no-touch"),
    ("", "verify", "<sts_nothing"),
    ("", "verify", "<"),
    ("", "sessions", "@alice"),
    ("", "sessions", "ses_00" + "0" * 22),
    ("bound", "issue", "--session", "@alice", "--value-json", '{"may": "read"}', "--timeout", "10m"),
    ("seat", "issue", "--session", "@alice", "--value", "seat 12", "--transferable", "--disownment-timeout", "1h"),
    ("once", "issue", "--session", "@alice", "--value", "x", "--transferable", "--idempotency-key", "issue once"),
    ("once", "issue", "--session", "@alice", "--value", "x", "--transferable", "--idempotency-key", "issue once"),
    ("free", "issue", "--value", "nul\0 and ü"),
    ("", "issue", "--session", "ses_00" + "0" * 22),
    ("", "verify", "<@bound secret"),
    ("", "verify", "<@free secret"),
    ("", "tokens", "@seat"),
    ("", "tokens", "--owner", "alice"),
    ("", "tokens", "--session", "@alice", "--transferable"),
    ("", "tokens", "--no-transferable"),
    ("", "tokens", "--sellable"),
    ("", "transfer", "@bound", "--giver", "alice", "--receiver", "bob {☂}"),
    ("", "transfer", "@seat", "--giver", "carol", "--receiver", "bob {☂}"),
    ("", "transfer", "@seat", "--giver", "alice", "--receiver", "bob {☂}", "--epoch", "7"),
    ("moved", "transfer", "@seat", "--giver", "alice", "--receiver", "bob {☂}", "--epoch", "0"),
    ("", "verify", "<@seat secret"),
    ("", "verify", "<@moved secret"),
    ("parked", "transfer", "@once", "--giver", "alice", "--receiver", "nobody here", "--idempotency-key", "park"),
    ("parked", "transfer", "@once", "--giver", "alice", "--receiver", "nobody here", "--idempotency-key", "park"),
    ("", "claim", "@seat", "--session", "@alice"),
    ("", "end", "@bob"),
    ("", "end", "@bob"),
    ("", "tokens", "--unassigned"),
    ("claimed", "claim", "@seat", "--session", "@alice", "--idempotency-key", "claim"),
    ("claimed", "claim", "@seat", "--session", "@alice", "--idempotency-key", "claim"),
    ("", "claim", "tok_00" + "0" * 22, "--session", "@alice"),
    ("", "verify", "<@claimed secret"),
    ("", "sessions"),
    ("", "sessions", "--owner", "alice", "--no-detached"),
    ("", "sessions", "--detached"),
    ("", "tokens", "--limit", "2"),
    ("", "tokens", "--limit", "500", "--after", "@cursor"),
    ("", "tokens", "--limit", "501"),
    ("rotated session", "rotate", "@alice", "--authenticated", "--idempotency-key", "rotate"),
    ("rotated session", "rotate", "@alice", "--authenticated", "--idempotency-key", "rotate"),
    ("", "verify", "<@alice secret"),
    ("", "verify", "<@rotated session secret"),
    ("", "change", "@alice", "--data", '{"empty": null, "n": 1}', "--remove", "m"),
    ("", "change", "@alice", "--remove", "n", "--remove", "not there"),
    ("", "change", "@alice", "--data", '{"n": 1}', "--remove", "n"),
    ("", "change", "@alice", "--data", "[1]"),
    ("", "change", "@alice", "--data", "{}", "--label", "both"),
    ("", "change", "@alice"),
    ("", "change", "@alice", "--label", "desk", "--idle-timeout", "never", "--max-age", "1d", "--detachable"),
    ("", "change", "@alice", "--label", "late", "--if-version", "1"),
    ("", "change", "@free", "--value-json", "null", "--timeout", "1h"),
    ("", "change", "@free", "--label", "x"),
    ("", "change", "nothing", "--label", "x"),
    ("", "detach", "@alice"),
    ("", "verify", "<@rotated session secret"),
    ("attached", "attach", "@alice", "--idempotency-key", "attach"),
    ("attached", "attach", "@alice", "--idempotency-key", "attach"),
    ("", "attach", "@alice"),
    ("", "verify", "<@attached secret"),
    ("", "offer", "@seat", "--price", "12.50", "--currency", "EUR"),
    ("", "offer", "@bound", "--gift"),
    ("", "tokens", "--sellable"),
    ("", "withdraw", "@seat"),
    ("fresh", "reissue", "@seat", "--owner", "alice", "--idempotency-key", "reissue"),
    ("fresh", "reissue", "@seat", "--owner", "alice", "--idempotency-key", "reissue"),
    ("", "reissue", "@seat", "--owner", "carol"),
    ("", "verify", "<@fresh secret"),
    ("", "offer", "@seat", "--price", "5", "--currency", "EUR", "--to", "dave", "--until", "1h"),
    ("", "accept", "@seat", "--receiver", "carol", "--price", "5", "--currency", "EUR"),
    ("", "accept", "@seat", "--receiver", "dave", "--price", "4"),
    ("sold", "accept", "@seat", "--receiver", "dave", "--price", "5.0", "--currency", "EUR", "--settlement", "paid"),
    ("", "lend", "@seat", "--borrower", "agent"),
    ("loan", "lend", "@seat", "--borrower", "agent", "--until", "10m", "--idempotency-key", "lend"),
    ("", "recall", "@seat", "--borrower", "somebody else"),
    ("", "recall", "@seat"),
    ("", "release", "@seat", "--owner", "carol"),
    ("", "release", "@seat", "--owner", "dave"),
    ("job", "issue", "--value", "job", "--transferable", "--tag", "resize", "--uses", "2"),
    ("claimed job", "claim", "--next", "--tag", "resize", "--session", "@alice"),
    ("", "claim", "--next", "--tag", "resize", "--session", "@alice"),
    ("", "claim", "--tag", "resize", "--session", "@alice"),
    ("", "consume", "@job"),
    ("", "consume", "<@claimed job secret"),
    ("", "consume", "@job"),
    ("", "hand-over", "alice", "--receiver", "erin", "--limit", "1"),
    ("", "hand-over", "alice", "--receiver", "erin"),
    ("", "owners", "disable", "mallory"),
    ("", "owners", "disable", "mallory"),
    ("", "open", "mallory"),
    ("", "log-in", "dora", "--label", "desk", "--remember", "--idempotency-key", "log-in"),
    ("", "owners", "enable", "mallory"),
    ("", "owners", "enable", "mallory"),
    ("", "owners", "list"),
    ("", "owners", "rename", "nobody here", "--to", "somebody"),
    ("", "owners", "rename", "alice", "--to", "somebody"),
    ("", "owners", "rename", "alice"),
    ("", "owners", "rename", "somebody", "--to", "nobody here"),
    ("", "end", "--owner", "alice"),
    ("", "end", "--owner", "alice", "--except", "@alice", "--yes"),
    ("", "end", "--owner", "alice", "--yes", "--reason", "theft"),
    ("", "end", "@free"),
    ("", "end", "nothing"),
    ("", "issue", "--session", "@alice"),
    ("", "verify", "<@alice secret"),
    ("", "verify", "<@bound secret"),
    ("", "sweep", "--limit", "1"),
    ("", "sweep"),
    ("", "sweep"),
    ("", "tokens"),
    ("role", "keys", "create", "--role", "verify", "--label", "ops", "--expires", "30d"),
    ("", "keys", "create", "--role", "operator"),
    ("rotated", "keys", "rotate", "@role", "--overlap", "1h"),
    ("", "keys", "list"),
    ("", "keys", "revoke", "@rotated"),
    ("", "keys", "revoke", "@rotated"),
    ("", "keys", "rotate", "@rotated"),
    ("", "events"),
    ("", "webhooks", "list"),
    ("", "audit", "verify"),
    ("", "audit", "list", "--limit", "500"),
    ("", "explain", "@bob"),
    ("", "explain", "@alice"),
    ("", "explain", "@seat"),
    ("", "explain", "@free"),
    ("", "explain", "@role"),
    ("", "explain", "@rotated"),
    ("", "explain", "nothing"),
    ("", "audit", "list", "--owner", "alice", "--kind", "session_ended"),
    ("", "settings", "set", "max_sessions", "5"),
    ("", "settings", "set", "max_sessions", "none and never"),
    ("", "settings", "list"),
    ("", "settings", "unset", "max_sessions"),
    ("", "check"),
]  # fmt: skip


def played(cli: Cli, url: str, folder: Path) -> list[Any]:
    """Give the whole script to a store that keeps an audit log; answer what came of each step."""
    side = Side(cli, url, folder)
    with SessionTokens.open(url, sweep=False, audit=Audit()) as tokens:
        side.name("first", tokens.open_session("begins the audit log").id)
    answers = []
    for made, *words in SCRIPT:
        stdin = next((word[1:] for word in words if word.startswith("<")), "")
        answers.append((words, side.say(made, *(word for word in words if not word.startswith("<")), stdin=stdin)))
    side.keep("@once secret")
    answers.append((["verify from a file"], side.say("", "verify", "--secret-file", "@file")))
    return answers


@pytest.fixture
def on_sqlite(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the script gets on SQLite."""
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    return played(cli, "sqlite:///script.db", tmp_path)


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_every_command_answers_as_on_sqlite(
    cli: Cli, on_sqlite: list[Any], kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    for expected, answer in zip(on_sqlite, played(cli, url, tmp_path), strict=True):
        assert answer == expected


def test_the_script_means_something(on_sqlite: list[Any]) -> None:
    """Every command is in it, and every exit code; what is to be active is, what is dead is not."""
    commands = next(action.choices for action in parser()._actions if action.dest == "command")
    said = [(" ".join(words), answer) for words, answer in on_sqlite]
    verified = [answer[1]["active"] for words, answer in said if words.startswith("verify")]

    assert {words.partition(" ")[0] for words, _ in said} == set(commands or ()) - ELSEWHERE
    assert {code for _, (code, _, _) in said} == {0, 1, 2, 4, 5}
    assert verified == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert "an unknown string" not in repr(
        [answer for words, answer in said if not words.startswith(("audit", "keys"))]
    )
    assert all(answer[0] < 2 or answer[2]["message"] for _, answer in said)


def test_what_only_one_kind_of_store_can_do_is_refused_by_the_others(
    cli: Cli, postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)

    urls = ("sqlite:///another.db", postgres_url, valkey_url)
    for url in urls:
        SessionTokens.open(url, sweep=False).close()

    def codes(*words: str) -> list[int]:
        return [cli(*words, "--store", url).code for url in urls]

    assert codes("check", "--fix-clock") == [0, 2, 2]
    assert codes("store", "migrate") == [0, 0, 0]
    assert codes("store", "abandon") == [4, 4, 4]
