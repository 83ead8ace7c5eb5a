"""The audit log: one entry for each committed state change, and no edit of it that goes unnoticed up to its anchor."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, NotOwner, SessionTokens
from session_tokens.audit.log import Anchor, Audit, acting, read_anchors
from session_tokens.audit.reader import Verdict, latest, read_now, verifying
from session_tokens.cli.main import main
from session_tokens.contract.queries import Get
from session_tokens.rules.audit import Act, Audited, AuditKey, Head, chains_in, entry_name
from session_tokens.testing import ManualClock


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "anchor.jsonl"


def verdict_of(st: SessionTokens, anchors: list[Anchor]) -> Verdict:
    return read_now(st.store, verifying(st.store.keyring, anchors, lambda number: None))


def filled(url: str, anchor: Path, changes: int = 10) -> None:
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor, every=4)) as st:
        for number in range(changes):
            st.open_session(f"owner-{number}")


def vandalise(tmp_path: Path, *statements: str) -> None:
    with sqlite3.connect(tmp_path / "store.db") as raw:
        for statement in statements:
            raw.execute(statement)
    raw.close()


def findings_after(url: str, anchor: Path) -> list[str]:
    with SessionTokens.open(url, sweep=False) as st:
        return verdict_of(st, read_anchors(anchor)).findings


def settings_table(tmp_path: Path) -> tuple[str, str, str]:
    """Return the table of settings and the names of its columns for name and text."""
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        for (table,) in raw.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = [row[1] for row in raw.execute(f"pragma table_info({table})")]
            if "name" in columns and len(columns) <= 4 and "setting" in table and not table.startswith("tt"):
                return table, "name", next(column for column in columns if column not in ("name", "mac"))
    raise AssertionError("no table of settings")


@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_each_state_change_has_one_entry_and_the_chain_is_whole(store: str, url: str, anchor: Path) -> None:
    clock = ManualClock()
    audit = Audit(anchor, every=3)
    with SessionTokens.open(url if store == "sqlite" else store, sweep=False, clock=clock, audit=audit) as st:
        events: list[str] = []
        st.subscribe(lambda event: events.append(event.kind))
        session = st.open_session("alice", detachable=True)
        token = st.issue_token(session.id, "v", transferable=True, idempotency_key="once")
        st.issue_token(session.id, "v", transferable=True, idempotency_key="once")
        with pytest.raises(NotOwner):
            st.transfer_token(token.id, giver="carol", receiver="bob")
        st.transfer_token(token.id, giver="alice", receiver="bob")
        st.verify_session(session.secret)
        st.detach_session(session.id)
        clock.advance(3600)
        st.sweep()
        entries = read_now(st.store, latest(100))
        verdict = verdict_of(st, read_anchors(anchor))

    assert [entry["kind"] for entry in reversed(entries)] == events
    assert [entry["n"] for entry in entries] == list(range(len(events), 0, -1))
    assert verdict.findings == [] and verdict.entries == len(events) and verdict.anchors >= 1
    assert session.secret not in str(entries)


def test_an_entry_says_on_whose_behalf(url: str, anchor: Path) -> None:
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor)) as st:
        token = acting.set(Act("key_of_ops", "request-7"))
        st.open_session("alice")
        acting.reset(token)
        st.open_session("bob")
        bobs, alices = read_now(st.store, latest(2))

    assert (alices["actor"], alices["request"]) == ("key_of_ops", "request-7")
    assert (bobs["actor"], bobs["request"]) == (None, None)


def test_an_edited_entry_is_found(url: str, anchor: Path, tmp_path: Path) -> None:
    filled(url, anchor)
    table, _, text = settings_table(tmp_path)
    vandalise(tmp_path, f"update {table} set {text} = replace({text}, 'owner-3', 'owner-X')")

    assert "entry 4 was edited, or is not the one that stood there" in findings_after(url, anchor)


def test_entries_that_changed_places_are_found(url: str, anchor: Path, tmp_path: Path) -> None:
    filled(url, anchor)
    table, name, _ = settings_table(tmp_path)
    moves = (("audit:x", 4), (f"audit:{4:016d}", 5))
    vandalise(
        tmp_path,
        *(f"update {table} set {name} = '{to}' where {name} = 'audit:{number:016d}'" for to, number in moves),
        f"update {table} set {name} = 'audit:{5:016d}' where {name} = 'audit:x'",
    )

    assert [finding[:19] for finding in findings_after(url, anchor)[:2]] == [
        "entry 4 was edited,",
        "entry 5 was edited,",
    ]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("update {table} set {text} = 'junk' where {name} = 'audit_head'", "the head was edited"),
        ("delete from {table} where {name} = 'audit_head'", "entry 1 stands after the head"),
    ],
)
def test_a_head_that_was_changed_or_taken_away_is_found_without_an_anchor(
    url: str, anchor: Path, tmp_path: Path, change: str, finding: str
) -> None:
    filled(url, anchor)
    table, name, text = settings_table(tmp_path)
    vandalise(tmp_path, change.format(table=table, name=name, text=text))

    with SessionTokens.open(url, sweep=False) as st:
        assert any(finding in found for found in verdict_of(st, []).findings)
    assert main(["audit", "verify", "--store", url]) == 4


def test_a_chain_that_grows_meanwhile_is_whole(url: str, anchor: Path) -> None:
    filled(url, anchor, 3)
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor)) as st:

        def grow(number: int) -> None:
            st.open_session(f"late-{number}")

        assert read_now(st.store, verifying(st.store.keyring, [], grow)).findings == []


@pytest.mark.parametrize("number", [1, 5, 10])
def test_a_deleted_entry_is_found(url: str, anchor: Path, tmp_path: Path, number: int) -> None:
    filled(url, anchor)
    table, name, _ = settings_table(tmp_path)
    vandalise(tmp_path, f"delete from {table} where {name} = 'audit:{number:016d}'")

    assert any(f"entry {number} is missing" in finding for finding in findings_after(url, anchor))


def test_a_chain_cut_before_its_anchor_is_found(url: str, anchor: Path, tmp_path: Path) -> None:
    """Whoever holds an earlier copy puts it back: whole in itself, and shorter than what was anchored."""
    filled(url, anchor, 4)
    copy = (tmp_path / "store.db").read_bytes()
    filled(url, anchor, 6)
    for name in ("store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "store.db").write_bytes(copy)

    with SessionTokens.open(url, sweep=False) as st:
        assert verdict_of(st, []).findings == []
    assert any("cut" in finding for finding in findings_after(url, anchor))


def test_another_store_with_as_many_entries_does_not_reach_the_anchor(url: str, anchor: Path, tmp_path: Path) -> None:
    filled(url, anchor)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    filled(other, tmp_path / "other-anchor")

    assert any("not the one that was anchored" in finding for finding in findings_after(other, anchor))


def test_the_command_line_verifies_and_lists(
    url: str, anchor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(url, anchor)

    assert main(["audit", "verify", "--anchor", str(anchor), "--store", url]) == 0
    assert "whole: 10 entries" in capsys.readouterr().out
    assert main(["audit", "list", "--limit", "2", "--store", url, "--json"]) == 0
    assert '"owner":"owner-9"' in capsys.readouterr().out
    table, name, _ = settings_table(tmp_path)
    vandalise(tmp_path, f"delete from {table} where {name} = 'audit:{5:016d}'")
    assert main(["audit", "verify", "--anchor", str(anchor), "--store", url]) == 4


def test_a_chain_before_its_first_anchor_is_whole_and_a_wrong_path_is_not(
    url: str, anchor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is made when the log is begun, so that a path without one is a wrong path."""
    with SessionTokens.open(url, sweep=False, audit=Audit(anchor)) as st:
        st.open_session("alice")
        before = main(["audit", "verify", "--anchor", str(anchor), "--store", url])
    early = capsys.readouterr()
    after = main(["audit", "verify", "--anchor", str(anchor), "--store", url])
    late = capsys.readouterr()
    wrong = main(["audit", "verify", "--anchor", str(tmp_path / "another"), "--store", url])

    assert (before, after, wrong) == (0, 0, 2)
    assert "whole: 1 entries, 0 anchors" in early.out and "not noticed" in early.err
    assert "whole: 1 entries, 1 anchors" in late.out and late.err == ""
    assert "there is no anchor file" in capsys.readouterr().err
    assert anchor.stat().st_mode & 0o777 == 0o600


def test_many_tasks_make_one_chain(url: str, anchor: Path) -> None:
    async def run() -> Verdict:
        async with await AsyncSessionTokens.open(url, sweep=False, audit=Audit(anchor, every=10)) as st:
            await asyncio.gather(*(st.open_session(f"owner-{number}") for number in range(50)))
        with SessionTokens.open(url, sweep=False) as checked:
            return verdict_of(checked, read_anchors(anchor))

    verdict = asyncio.run(run())

    assert verdict.entries == 50
    assert verdict.findings == []
    assert read_anchors(anchor)[-1].heads[0].number == 50


def test_an_anchor_file_that_cannot_be_written_is_told_and_loses_nothing(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SessionTokens.open(url, sweep=False, audit=Audit(tmp_path / "no" / "folder", every=1)) as st:
        session = st.open_session("alice")

        assert st.get_session(session.id) is not None
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("text", ["nonsense\n", '{"n": 1}\n', "[]\n"])
def test_a_file_that_is_no_anchor_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anchor"
    path.write_text(text)

    with pytest.raises(InvalidInput, match="line 1"):
        read_anchors(path)
    with pytest.raises(InvalidInput, match="there is no anchor file"):
        read_anchors(tmp_path / "nothing")


@pytest.mark.parametrize(("before", "after"), [('"at":', '"at":1'), ('["', '["')], ids=["an instant", "nothing"])
def test_an_anchor_is_signed(url: str, anchor: Path, before: str, after: str) -> None:
    filled(url, anchor)
    anchor.write_text(anchor.read_text().replace(before, after))
    edited = before != after

    findings = findings_after(url, anchor)

    assert findings == (
        ["anchor 1 was edited, or is not of this log"] * edited
        + [f"anchor {number} was edited, or is not of this log" for number in (2, 3)] * edited
    )


def test_what_is_added_while_heads_are_read_waits_for_the_next_anchor(anchor: Path) -> None:
    audit, key = Audit(anchor, every=1), AuditKey("k", lambda message: "0" * 64)
    audit.wrote(0, Audited(None, 1, Head(1, "a" * 64)), side_by_side=False)
    covered = audit.pending
    audit.wrote(0, Audited(None, 2, Head(3, "b" * 64)), side_by_side=False)  # by another task, after the reading
    audit.anchor({0: Head(1, "a" * 64)}, 5, key, covered)

    assert audit.pending == 2
    assert audit.is_due(side_by_side=False)
    audit.anchor({0: Head(3, "b" * 64)}, 6, key, audit.pending)
    assert audit.pending == 0
    assert [one.heads[0].number for one in read_anchors(anchor)] == [1, 3]


def test_what_could_not_be_anchored_is_tried_again(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "later"
    with SessionTokens.open(url, sweep=False, audit=Audit(folder / "anchor", every=1)) as st:
        st.open_session("alice")
        folder.mkdir()
        st.open_session("bob")

        assert [one.heads[0].number for one in read_anchors(folder / "anchor")] == [2]
        assert verdict_of(st, read_anchors(folder / "anchor")) == (2, 1, [])


def test_names_that_were_exchanged_or_taken_away_are_found(url: str) -> None:
    with SessionTokens.open(url, sweep=False, audit=Audit()) as st:
        for owner in ("alice", "bob", "carol"):
            st.open_session(owner)
        st.forget_owner("carol")
        whole = verdict_of(st, []).findings
        stored = [st.store.read_now([Get("setting", entry_name(number))]).found[0].value for number in (1, 2)]
        for number, text in ((1, stored[0].replace("alice", "mallory")), (2, stored[1].partition("\n")[0])):
            st.store.run_now(lambda tx, number=number, text=text: tx.put_setting(entry_name(number), text))
        wrong = verdict_of(st, []).findings

    assert [] == whole
    assert ["entry 1 names an owner who is not the one", "the name of an owner was taken away from entry 2"] == wrong


def test_a_chain_that_two_commands_had_is_free_once() -> None:
    """More commands at once than chains, as in one partition of a cluster: later two would wait for one another."""
    audit, partition = Audit(), 0
    taken = [audit.take(side_by_side=True, partition=partition) for _ in chains_in(partition)]
    shared = audit.take(side_by_side=True, partition=partition)
    other = next(chain for chain in taken if chain != shared)
    for chain in (other, shared, shared):
        audit.gave_up(chain, side_by_side=True, partition=partition)

    assert {audit.take(side_by_side=True, partition=partition) for _ in range(2)} == {other, shared}
