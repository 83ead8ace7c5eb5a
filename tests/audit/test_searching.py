"""Searching the audit log: filters, pages that end, and the bound on how much one page looks at."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import InvalidInput, SessionTokens
from session_tokens._sync import auditing
from session_tokens.audit.log import Audit, acting
from session_tokens.audit.reader import AuditFilter, read_now, searched, verifying
from session_tokens.contract.drive import drive_now
from session_tokens.contract.queries import Get, Result, Snapshot
from session_tokens.contract.transaction import Transaction, reads
from session_tokens.rules.audit import Act, entry_name, head_name
from session_tokens.testing import ManualClock
from tests.helpers.command_line import Cli

USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def st(clock: ManualClock) -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", clock=clock, sweep=False, audit=Audit()) as tokens:
        yield tokens


def fill(st: SessionTokens, clock: ManualClock) -> list[str]:
    """Open and end sessions of three owners, one each second, for two service keys; return the ids."""
    ids = []
    for number in range(9):
        acting.set(Act(f"key_{number % 2}", f"req_{number}"))
        ids.append(st.open_session(("ann", "bob", "carol")[number % 3]).id)
        clock.advance(1)
    st.destroy_session(ids[0], reason="theft")
    acting.set(Act())
    return ids


def pages(ask: Callable[..., Any], **given: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while True:
        page = ask(**given)
        entries += page.items
        if page.after is None:
            return entries
        given["after"] = page.after


def test_filters_answer_what_a_look_at_every_entry_would(st: SessionTokens, clock: ManualClock) -> None:
    began = clock.now()
    ids = fill(st, clock)
    everything = pages(st.list_audit, limit=3)
    choices: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
        ({"owner": "ann"}, lambda entry: entry["owner"] == "ann"),
        ({"kind": "session_ended"}, lambda entry: entry["kind"] == "session_ended"),
        ({"subject": ids[0]}, lambda entry: entry["subject_id"] == ids[0]),
        ({"actor": "key_1"}, lambda entry: entry["actor"] == "key_1"),
        ({"since": began + 3000}, lambda entry: entry["at"] >= began + 3000),
        ({"until": began + 3000}, lambda entry: entry["at"] <= began + 3000),
        ({"owner": "ann", "actor": "key_0", "until": began + 1}, lambda entry: entry["subject_id"] == ids[0]),
    ]

    assert 10 == len(everything)
    assert sorted(everything, key=lambda entry: (-entry["at"], -entry["n"])) == everything
    for given, wanted in choices[:-1]:
        assert [entry for entry in everything if wanted(entry)] == pages(st.list_audit, limit=2, **given), given
    assert [ids[0]] == [entry["subject_id"] for entry in pages(st.list_audit, **choices[-1][0])]


def test_a_page_looks_at_a_bounded_number_and_names_where_it_goes_on(
    st: SessionTokens, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(st, clock)
    monkeypatch.setattr(auditing, "LOOKED_AT_MAX", 4)
    first = st.list_audit(subject=ids[2])

    assert ([], True) == (list(first), first.after is not None)
    assert [ids[2]] == [entry["subject_id"] for entry in pages(st.list_audit, subject=ids[2])]


@pytest.mark.parametrize("numbers", [[7], [5, 6, 7], [10], [1], [9, 10]])
@pytest.mark.parametrize("stored", [None, "junk"])
def test_what_cannot_be_read_hides_nothing_that_is_older(
    st: SessionTokens, clock: ManualClock, numbers: list[int], stored: str | None
) -> None:
    began = clock.now()
    fill(st, clock)
    for number in numbers:
        st.store.run_now(overwritten, entry_name(number), stored)

    for limit in (1, 2, 4, 100):
        for given in ({}, {"since": began}, {"until": clock.now()}):
            listed = [entry["n"] for entry in pages(st.list_audit, limit=limit, **given)]
            assert list(range(10, 0, -1)) == listed, (limit, given)
    assert numbers[::-1] == [entry["n"] for entry in pages(st.list_audit, limit=1, kind="unreadable")]


@pytest.mark.parametrize("gone", [(0, 4), (1, 3), (2, 5), (1, 5), (0, 1)])
def test_what_cannot_be_read_has_one_place_among_many_chains(gone: tuple[int, int]) -> None:
    """Three chains side by side, in each of which a stretch is wiped: every page goes on where the one before ended."""
    chains = {chain: [10 * (number // 2) + chain % 2 for number in range(1, 7)] for chain in range(3)}
    texts = {}
    for chain, instants in chains.items():
        for number, at in enumerate(instants, 1):
            wiped = gone[0] + chain <= number <= gone[1] + chain
            texts[entry_name(number, chain)] = None if wiped else f'{"0" * 8}:{{"at":{at},"kind":"session_opened"}}'
        texts[head_name(chain)] = f"{len(instants)}:{'0' * 64}"
    whole = listed(texts, 100)

    assert sorted((chain, number) for chain in chains for number in range(1, 7)) == sorted(whole)
    for limit in (1, 2, 3, 5):
        assert whole == listed(texts, limit)


def listed(texts: dict[str, str | None], limit: int) -> list[tuple[int, int]]:
    """Return chain and number of all entries, as pages of so many show them."""

    def answered(queries: Any) -> Snapshot:
        return Snapshot(0, [Result(texts.get(query.key)) for query in queries])

    shown: list[tuple[int, int]] = []
    before = None
    while True:
        page = drive_now(searched(limit, before, AuditFilter()), answered)
        shown += [(entry["chain"], entry["n"]) for entry in page.entries]
        assert len(shown) <= 18, "something is shown twice"
        if page.next is None:
            return shown
        before = page.next


@reads(lambda name, text: [Get("setting", name)])
def overwritten(tx: Transaction, name: str, text: str | None) -> None:
    """Put another text in the place of an entry, or take it away."""
    tx.put_setting(name, text)


def test_a_store_without_a_log_has_no_entries(st: SessionTokens) -> None:
    page = SessionTokens(st.store).list_audit()

    assert ([], None) == (list(page), page.after)


def test_places_and_instants_that_are_none_are_refused(st: SessionTokens) -> None:
    with pytest.raises(InvalidInput):
        st.list_audit(after="yesterday")
    with pytest.raises(InvalidInput):
        st.list_audit(since=-1)
    with pytest.raises(TypeError):
        st.list_audit(until="2026-11-28")  # type: ignore[arg-type]  # that is the point


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command line on a store that has an audit log."""
    from session_tokens.cli.main import main
    from tests.helpers.command_line import Said

    monkeypatch.setenv("SESSION_TOKENS_STORE", f"sqlite:///{tmp_path}/store.db")
    with SessionTokens.open(f"sqlite:///{tmp_path}/store.db", sweep=False, audit=Audit(tmp_path / "anchor")) as tokens:
        tokens.open_session("ann")

    def call(*arguments: str) -> Said:
        code = main(arguments)
        return Said(code, *capsys.readouterr())

    return call


def test_what_the_command_line_does_is_done_by_the_user_of_the_system(cli: Cli) -> None:
    cli("open", "bob")
    cli("keys", "create", "--role", "verify")
    listed = cli("audit", "list", "--json").json["items"]

    assert [("key_created", USER), ("session_opened", USER), ("session_opened", None)] == [
        (entry["kind"], entry["actor"]) for entry in listed
    ]
    assert ["bob"] == [
        entry["owner"]
        for entry in cli("audit", "list", "--actor", USER, "--kind", "session_opened", "--json").json["items"]
    ]


def test_an_export_is_a_line_of_json_for_each_entry(cli: Cli) -> None:
    for _ in range(3):
        cli("open", "bob")
    lines = [json.loads(line) for line in cli("audit", "export").out.splitlines()]
    bobs = cli("audit", "export", "--owner", "bob", "--since", "2020-01-01").out.splitlines()
    none = cli("audit", "export", "--until", "2020-01-01T10:00+01:00").out

    assert ["bob", "bob", "bob", "ann"] == [entry["owner"] for entry in lines]
    assert (3, "") == (len(bobs), none)


def test_explain_answers_from_the_log_what_the_store_forgot(cli: Cli) -> None:
    key = cli("keys", "create", "--role", "verify", "--json").json["id"]
    lives = cli("explain", key)
    cli("keys", "revoke", key)
    gone = cli("explain", key, "--json")

    assert (0, 1) == (lives.code, gone.code)
    assert ("ended", "revoked") == (gone.json["state"], gone.json["reason"])
    assert f"key_revoked (verify) by {USER}" in " ".join(gone.json["because"])
    assert 2 == cli("explain", "ann").code


def test_filters_do_not_go_with_verify(cli: Cli) -> None:
    assert 2 == cli("audit", "verify", "--owner", "ann").code
    assert 2 == cli("audit", "list", "--anchor", "anchor").code
    assert 2 == cli("audit", "list", "--since", "yesterday").code


@pytest.mark.server
def test_the_log_of_a_service_begins_with_its_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    words = ["serve", "--store", url, "--port", "0", "--audit", "--audit-anchor", str(tmp_path / "anchor")]
    service = subprocess.Popen(
        [sys.executable, "-m", "session_tokens.cli.main", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert service.stdout is not None
        assert any(b"Ctrl-C" in line for line in service.stdout)
        with SessionTokens.open(url, sweep=False) as tokens:
            entries = list(tokens.list_audit())
            verdict = read_now(tokens.store, verifying(tokens.store.keyring, [], lambda number: None))
    finally:
        service.terminate()
        service.communicate(timeout=20)

    assert [("key_created", None), ("service_started", USER)] == [(entry["kind"], entry["actor"]) for entry in entries]
    assert [] == verdict.findings


def test_a_token_that_waits_for_an_owner_is_explained_as_one_that_lives(cli: Cli) -> None:
    token = cli("issue", "--transferable", "--json").json["id"]
    explained = cli("explain", token, "--json")

    assert ("unassigned", 0) == (explained.json["state"], explained.code)


@pytest.mark.parametrize("kind", ["session_end", "Session_Ended", "gap", ""])
def test_a_kind_that_no_entry_has_is_bad_input(st: SessionTokens, clock: ManualClock, cli: Cli, kind: str) -> None:
    """It would find nothing, and be read as that nothing happened."""
    fill(st, clock)
    said = cli("audit", "list", "--kind", kind)

    with pytest.raises(InvalidInput, match="session_ended"):
        st.list_audit(kind=kind)
    assert said.code == 2
    assert [] == st.list_audit(kind="service_started").items == st.list_audit(kind="unreadable").items
