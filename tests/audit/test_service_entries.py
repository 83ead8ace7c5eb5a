"""What the service, its console and the command line change stands in the audit log, with whose key it was done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import latest, read, read_now, verifying
from session_tokens.cli.main import main
from session_tokens.service.app import Options, Service
from session_tokens.service.console.app import Console
from session_tokens.service_keys.keys import IssuedKey, create_key, ensure_admin_key


class Desk:
    """A service with a console and an audit log in this process."""

    def __init__(self, tokens: AsyncSessionTokens, first: IssuedKey) -> None:
        self.tokens, self.first = tokens, first
        service = Service(tokens, Options(more_routes=Console(tokens).routes))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="https://desk.test")

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.http.request(
            method,
            path,
            headers={"Authorization": f"Bearer {self.first.secret}", **options.pop("headers", {})},
            **options,
        )

    async def entries(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first, of a chain that is whole."""
        verdict = await read(self.tokens.store, verifying(self.tokens.store.keyring, [], lambda number: None))
        assert verdict.findings == []
        return (await read(self.tokens.store, latest(500)))[::-1]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with await AsyncSessionTokens.open("memory://", sweep=False, audit=Audit()) as tokens:
        first = await ensure_admin_key(tokens.store, audit=tokens.audit)
        assert first is not None
        made = Desk(tokens, first)
        async with made.http:
            yield made


async def test_keys_that_are_made_rotated_and_revoked_are_entries(desk: Desk) -> None:
    once = {"Idempotency-Key": "once"}
    made = (await desk.ask("POST", "/v1/keys", json={"role": "revoke"}, headers=once)).json()
    await desk.ask("POST", "/v1/keys", json={"role": "revoke"}, headers=once)
    new = (await desk.ask("POST", f"/v1/keys/{made['id']}/rotate", json={})).json()
    await desk.ask("DELETE", f"/v1/keys/{made['id']}")
    await desk.ask("DELETE", f"/v1/keys/{made['id']}")
    entries = await desk.entries()

    assert [(entry["kind"], entry["subject_id"], entry["reason"]) for entry in entries] == [
        ("key_created", desk.first.key.id, "admin"),
        ("key_created", made["id"], "revoke"),
        ("key_created", new["id"], "revoke"),
        ("key_rotated", made["id"], "revoke"),
        ("key_revoked", made["id"], "revoke"),
    ]
    assert [entry["actor"] for entry in entries] == [None, *[desk.first.key.id] * 4]
    assert all(entry["request"] for entry in entries[1:])
    assert {entry["owner"] for entry in entries} == {None}
    assert made["secret"] not in json.dumps(entries)


async def test_what_is_done_in_the_console_is_an_entry(desk: Desk) -> None:
    spare = await create_key(desk.tokens.store, "verify", audit=desk.tokens.audit)
    await desk.http.post("/console/enter", data={"secret": desk.first.secret})
    page = (await desk.http.get("/console/keys")).text
    csrf = page.partition('name="csrf" value="')[2][:64]
    await desk.http.post(f"/console/keys/{spare.key.id}/revoke", data={"csrf": csrf, "confirmed": "yes"})
    audit_page = (await desk.http.get("/console/audit")).text
    await desk.http.post("/console/leave", data={"csrf": csrf})
    entries = await desk.entries()

    assert [entry["kind"] for entry in entries[2:]] == ["session_opened", "key_revoked", "session_ended"]
    assert {entry["actor"] for entry in entries[2:]} == {desk.first.key.id}
    assert "key revoked" in audit_page


def test_the_command_line_goes_on_with_an_audit_log_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with SessionTokens.open(url, sweep=False, audit=Audit(tmp_path / "anchor")) as tokens:
        tokens.open_session("alice")
    assert main(["open", "bob", "--store", url]) == 0
    assert main(["end", "--owner", "alice", "--yes", "--store", url]) == 0
    assert main(["keys", "create", "--role", "verify", "--store", url]) == 0
    said = capsys.readouterr()
    with SessionTokens.open(url, sweep=False) as tokens:
        kinds = [entry["kind"] for entry in read_now(tokens.store, latest(10))]
        verdict = read_now(tokens.store, verifying(tokens.store.keyring, [], lambda number: None))

    assert kinds == ["key_created", "session_ended", "session_opened", "session_opened"]
    assert verdict.findings == []
    assert "anchor" not in said.err


def test_the_command_line_begins_no_audit_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    assert main(["open", "bob", "--store", url]) == 0
    assert main(["keys", "create", "--role", "verify", "--store", url]) == 0
    with SessionTokens.open(url, sweep=False) as tokens:
        assert read_now(tokens.store, latest(10)) == []
