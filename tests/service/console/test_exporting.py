"""Exports: whole lists as CSV that no spreadsheet calculates, and as JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from session_tokens.service.console import exporting
from session_tokens.service.console.exporting import cell
from tests.helpers.console_desk import Desk


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", "＝1", "＋1", "－1", "＠1", '=HYPERLINK("x")'],
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == "'" + text.replace("\0", "\ufffd")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (12, "12"), (["a", 1], '["a", 1]'), ("a=b", "a=b"), ("a,b", "a,b"), ("", "")],
)
def test_other_cells_are_as_they_are(value: Any, text: str) -> None:
    assert cell(value) == text


async def test_a_list_is_exported_as_it_is_narrowed(desk: Desk) -> None:
    for number in range(60):
        desk.clock.advance(ms=1)
        await desk.tokens.open_session(f"ann {number}", data={"secret": "canary"})
    desk.clock.advance(ms=1)
    await desk.tokens.open_session("=cmd|'/c calc'!A1", label='a "quoted", label')
    browser = await desk.entered("operator")
    everybody = await browser.get("/console/sessions.csv")
    narrowed = await browser.get("/console/sessions.csv?q=ann+1")
    as_json = (await browser.get("/console/sessions.json?q=ann")).json()
    rows = rows_of(everybody.text)

    assert everybody.headers["content-type"] == "text/csv; charset=utf-8"
    assert everybody.headers["content-disposition"] == 'attachment; filename="sessions.csv"'
    assert (len(rows), len(rows_of(narrowed.text))) == (61, 11)
    assert rows[0]["owner"] == "'=cmd|'/c calc'!A1" and rows[0]["label"] == 'a "quoted", label'
    assert len(as_json["sessions"]) == 60 and as_json["complete"] is True
    assert as_json["sessions"][0]["owner"] == "ann 59"
    assert "canary" not in everybody.text and "canary" not in str(as_json)


async def test_tokens_and_owners_are_exported_without_values(desk: Desk) -> None:
    ann = await desk.tokens.open_session("ann")
    token = await desk.tokens.issue_token(ann.id, "canary", transferable=True)
    free = await desk.tokens.issue_token(None, "canary")
    await desk.tokens.disable_owner("bob")
    browser = await desk.entered()
    texts = {
        path: (await browser.get(f"/console/{path}")).text
        for path in (
            "tokens.csv",
            "tokens.json",
            "unassigned.csv",
            "market.json",
            "owners.csv",
            "owners.json?which=disabled",
        )
    }

    assert token.id in texts["tokens.csv"] and free.id in texts["tokens.json"]
    assert token.id not in texts["unassigned.csv"]
    assert [row["owner"] for row in rows_of(texts["owners.csv"])] == ["ann"]
    assert '"owner": "bob"' in texts["owners.json?which=disabled"]
    assert not [path for path, text in texts.items() if "canary" in text or "console:" in text]


async def test_an_export_says_that_it_is_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "EXPORTED_MAX", 500)
    for number in range(520):
        await desk.tokens.issue_token(None, number)
    browser = await desk.entered()
    table = await browser.get("/console/tokens.csv")

    assert table.headers["content-disposition"] == 'attachment; filename="tokens-first-500.csv"'
    assert len(rows_of(table.text)) == 500
    assert (await browser.get("/console/tokens.json")).json()["complete"] is False


@pytest.mark.parametrize("path", ["audit.csv", "audit.json"])
async def test_who_may_not_read_the_audit_log_does_not_export_it(desk: Desk, path: str) -> None:
    assert (await (await desk.entered("operator")).get(f"/console/{path}")).status_code == 403
    assert (await (await desk.entered("audit")).get(f"/console/{path}")).status_code == 200


async def test_nobody_exports_before_entering(desk: Desk) -> None:
    await desk.tokens.open_session("alice")
    answer = await desk.browser().get("/console/sessions.csv")

    assert "alice" not in answer.text and "Secret of the service key" in answer.text
