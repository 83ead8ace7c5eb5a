"""`session-tokens store export` and `store import`: all of a store as lines of JSON, into any kind of store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from session_tokens.crypto.secret_form import SECRET_LIKE
from session_tokens.rules.copied_settings import ENDS, setting_moved, within_ends
from session_tokens.stores.backup import Moving
from session_tokens.stores.common.copied_events import log_of
from session_tokens.stores.common.json_lines import LINE_BYTES_MAX
from session_tokens.stores.connect import closing_now, open_anyway_now
from session_tokens.stores.export import export_to_file, import_store
from tests.helpers.command_line import Cli
from tests.helpers.effort import PROVING
from tests.helpers.filled_store import FIRST, Filled, StoreOf, everything, library, listings

pytestmark = pytest.mark.usefixtures("one_key_file")

OK, BAD_INPUT, UNAVAILABLE, CONFLICT = 0, 2, 3, 4
SEALED = "sqlite:///sealed.db"


class BrokenOff(Exception):
    pass


def quiet(done: int, total: int) -> None:
    assert done <= total


def exported(url: str, file: str = "all.jsonl") -> Path:
    export_to_file(url, file, quiet, Moving(setting_moved, ENDS, within_ends))
    return Path(file)


def said_in_events(url: str) -> list[object]:
    with closing_now(open_anyway_now(url)) as store:
        return [event._replace(id="") for event in log_of(store).events]


def is_sealed(url: str) -> bool:
    with closing_now(open_anyway_now(url)) as store:
        return store.keyring.sealer is not None


@pytest.mark.server
def test_what_is_exported_from_any_kind_of_store_goes_into_any(cli: Cli, store_of: StoreOf) -> None:
    """Sealed or in clear: each record, each event and each secret is as it was, and no secret is in a file."""
    assert cli("events", "--on", "--store", FIRST).code == OK
    filled = Filled(FIRST)
    with library(FIRST) as tokens:
        carol = tokens.open_session("carol", data={"note": "  ☂"})
        rotated = tokens.rotate_session(carol.id, grace=3600)
        counted = tokens.issue_token(carol.id, "counted", uses=3, tag="seat")
        tokens.consume_token(counted.id)
        lent = tokens.issue_token(carol.id, "lent")
        loan = tokens.lend_token(lent.id, borrower="dave", until=600)
    key = cli("keys", "create", "--role", "verify", "--json", "--store", FIRST).json
    assert cli("store", "copy", FIRST, SEALED, "--sealed", "yes").code == OK
    expected, listed, events = everything(SEALED), listings(SEALED), said_in_events(SEALED)
    assert len(events) > 10

    way = [
        (SEALED, None), (store_of("postgres"), "no"), (store_of("valkey"), "yes"), (store_of("mariadb"), None),
        (store_of("sqlite"), "no"),
    ]  # fmt: skip
    for number, ((source, _), (target, sealed)) in enumerate(pairwise(way)):
        file = f"{number}.jsonl"
        said = cli("store", "export", file, "--store", source, "--json")
        assert said.code == OK, said.err
        assert (said.json["records"], said.json["events"]) == (len(expected), len(events))
        assert said.json["unsealed"] is is_sealed(source)
        assert SECRET_LIKE.search(Path(file).read_text()) is None
        assert "välue" in Path(file).read_text()
        assert os.stat(file).st_mode & 0o777 == 0o600
        how = ("--sealed", sealed) if sealed else ()
        said = cli("store", "import", file, "--store", target, "--json", *how)

        assert said.code == OK, said.err
        assert said.json == {"records": len(expected), "events": len(events)}
        assert everything(target) == expected
        assert listings(target) == listed
        assert said_in_events(target) == events
        assert is_sealed(target) is (sealed != "no")
        assert cli("store", "check", target).out == "nothing is wrong\n"
        assert cli("audit", "verify", "--store", target, "--json").json["findings"] == []
    for target, _ in way[1:]:  # not before: to ask what holds is to use the store
        filled.must_hold_in(target)
        with library(target) as tokens:
            for secret in (carol.secret, rotated.secret):  # the one before is good for an hour more
                assert tokens.verify_session(secret) is not None
            used, borrowed = tokens.verify_token(counted.secret), tokens.verify_token(loan.secret)
            assert used is not None and (used.uses_left, used.tag) == (2, "seat")
            assert borrowed is not None and borrowed.value == "lent"
        assert cli("keys", "find", "--store", target, stdin=key["secret"].encode()).code == OK


def test_an_export_goes_through_a_pipe_and_another_program(cli: Cli, process: Cli) -> None:
    """As `-`; what writes the same JSON anew, with other spaces and escapes, changes nothing."""
    Filled(FIRST)
    said = process("store", "export", "-", "--store", FIRST)
    assert said.code == OK, said.err
    lines = said.out.splitlines()
    Path("anew.jsonl").write_text("".join(json.dumps(json.loads(line)) + "\n" for line in lines))
    assert {json.loads(line)["kind"] for line in lines} > {"owner", "session", "token", "end", "session-tokens store"}

    said = cli("store", "import", "anew.jsonl", "--store", SEALED, "--sealed", "yes")

    assert said.code == OK, said.err
    assert everything(SEALED) == everything(FIRST)


Damage = Callable[[list[bytes]], list[bytes]]
DAMAGED: dict[str, tuple[Damage, str]] = {
    "an empty file": (lambda lines: [], "was not made by session-tokens store export"),
    "another file": (lambda lines: [b"{}\n"], "was not made by session-tokens store export"),
    "no JSON": (lambda lines: [b"[" * 100_000 + b"\n"], "line 1 of all.jsonl is not as it was written"),
    "another version": (
        lambda lines: [lines[0].replace(b'"version":1', b'"version":7'), *lines[1:]],
        "is of version 7 of the format, and this program knows 1; take the version",
    ),
    "another head": (
        lambda lines: [lines[0].replace(b'"sealed":false', b'"sealed":true'), *lines[1:]],
        "line 1 of all.jsonl is not as it was written; export anew",
    ),
    "a head without what is in it": (
        lambda lines: [b'{"kind":"session-tokens store","record":{"version":1}}\n', *lines[1:]],
        "line 1 of all.jsonl is not as it was written",
    ),
    "another line": (
        lambda lines: [*lines[:3], lines[3].replace(b'"epoch":', b'"epoch":1'), *lines[4:]],
        "line 4 of all.jsonl is not as it was written; export anew",
    ),
    "half of a surrogate pair": (
        lambda lines: [*lines[:3], lines[3].replace(b'"epoch"', b'"\\ud800"'), *lines[4:]],
        "line 4 of all.jsonl is not as it was written",
    ),
    "a line taken out": (lambda lines: lines[:4] + lines[5:], "line 5 of all.jsonl is not as it was written"),
    "a line twice": (lambda lines: lines[:5] + lines[4:], "line 6 of all.jsonl is not as it was written"),
    "no end": (lambda lines: lines[:-1], "is cut off after line"),
    "half a line": (lambda lines: [*lines[:5], lines[5][:20]], "is cut off after line 5, so it holds only a part"),
    "more after the end": (lambda lines: [*lines, b"{}\n"], "goes on after its last line"),
    "a line without end": (
        lambda lines: [*lines[:2], b" " * (LINE_BYTES_MAX + 1)], f"line 3 of all.jsonl is longer than {LINE_BYTES_MAX}"
    ),
}  # fmt: skip


def test_a_file_that_is_not_as_it_was_written_is_refused(cli: Cli, tmp_path: Path) -> None:
    """The line is named and the remedy; nothing was made."""
    with library(FIRST) as tokens:
        for name in "abc":
            tokens.open_session(name)
            tokens.disable_owner(name)
    file = exported(FIRST)
    whole = file.read_bytes().splitlines(keepends=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    for which, (damage, error) in DAMAGED.items():
        file.write_bytes(b"".join(damage(whole)))

        said = cli("store", "import", "all.jsonl", "--store", SEALED)

        assert said.code == BAD_INPUT, which
        assert error in said.err, which
        assert sorted(path.name for path in tmp_path.iterdir()) == before, which


def test_other_keys_are_refused_and_the_remedy_works(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Filled(FIRST)
    exported(FIRST)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE")

    said = cli("store", "import", "all.jsonl", "--store", SEALED)
    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_PEPPER_FILE=<database>.key" in said.err and "sealed.db.key" in said.err
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    said = cli("store", "import", "all.jsonl", "--store", SEALED)
    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_PEPPER_FILE=<database>.key" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    monkeypatch.delenv("SESSION_TOKENS_PEPPER")
    Path("sealed.db.key").write_bytes(Path("first.db.key").read_bytes())
    Path("sealed.db.key").chmod(0o600)
    said = cli("store", "import", "all.jsonl", "--store", SEALED)
    assert said.code == OK, said.err
    assert everything(SEALED) == everything(FIRST)


def test_nothing_is_written_over(cli: Cli, postgres_url: str) -> None:
    Filled(FIRST)
    file = exported(FIRST)
    whole = file.read_bytes()
    with library(postgres_url) as tokens:
        alice = tokens.open_session("alice")
    before = everything(postgres_url)

    for target in (postgres_url, FIRST):
        assert cli("store", "import", "all.jsonl", "--store", target).code == CONFLICT
    assert cli("store", "export", "all.jsonl", "--store", FIRST).code == CONFLICT

    assert everything(postgres_url) == before
    with library(postgres_url) as tokens:
        assert tokens.verify_session(alice.secret) is not None
    assert file.read_bytes() == whole


@pytest.mark.parametrize("kind", ["postgres", "sqlite", *(["valkey"] if PROVING else [])])
def test_an_import_that_was_broken_off_is_begun_anew(cli: Cli, store_of: StoreOf, kind: str, tmp_path: Path) -> None:
    """A part is opened by nobody, and no file of a part is left; another export is not put on top of it."""
    assert cli("events", "--on", "--store", FIRST).code == OK
    Filled(FIRST)
    target = store_of(kind)
    exported(FIRST)
    exported(FIRST, "another.jsonl")
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop(done: int, total: int) -> None:
        if done > 5:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        import_store("all.jsonl", target, stop, setting_moved)

    assert sorted(path.name for path in tmp_path.iterdir()) == before
    if kind != "sqlite":
        assert "store abandon" in cli("sessions", "--store", target).err
        assert cli("store", "import", "another.jsonl", "--store", target).code == CONFLICT
    said = cli("store", "import", "all.jsonl", "--store", target)
    assert said.code == OK, said.err
    assert everything(target) == everything(FIRST)
    assert said_in_events(target) == said_in_events(FIRST)


@pytest.mark.parametrize(
    "words",
    [
        ("export", "new.jsonl", "--store", "memory://"),
        ("export", "new.jsonl", "--store", "sqlite:///not_there.db"),
        ("import", "not_there.jsonl", "--store", "sqlite:///new.db"),
        ("import", "all.jsonl", "--store", "memory://"),
        ("import", "/dev/null", "--store", "sqlite:///new.db"),
    ],
)
def test_what_makes_no_sense_is_bad_input(cli: Cli, words: tuple[str, ...], tmp_path: Path) -> None:
    exported(FIRST)
    before = sorted(path.name for path in tmp_path.iterdir())

    assert cli("store", *words).code == BAD_INPUT
    assert sorted(path.name for path in tmp_path.iterdir()) == before
