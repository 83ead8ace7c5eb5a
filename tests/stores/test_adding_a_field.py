"""A field is one line in a record and one in the table of kinds, and one migration for all databases.

The lines are written into a copy of the source. A store that was made by the source as it is, with a record in it, is
opened by the copy: what was written before is genuine and lacks the field, what is written has it, on every store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens.stores.common.migrations import NEWEST
from tests.helpers.project import copy_of_source

SERVERS = ["memory", "sqlite", "postgres", "valkey", "mariadb"]
FIELD, COLUMN = "    colour: str | None = None\n", "    colour                  text?\n"
EDITS = [
    ("records/__init__.py", "    owner_creations: int | None = None\n", FIELD),
    ("records/session_details.py", "    rotation: Rotation | None = None\n", FIELD),
    ("records/token_details.py", "    for_client: str | None = None\n", FIELD),
    ("stores/common/kinds.py", "    owner_creations         number?\n", COLUMN),
    ("stores/common/kinds.py", "    rotation                text?\n", COLUMN),
    ("stores/common/kinds.py", "    for_client              text?\n", COLUMN),
]
"""A field of a service key, of a session and of a token, each in its record and in the table of kinds."""
MIGRATIONS_END = '    Migration(2, "rotation with grace", (("session", "rotation"),)),\n'
COLOURS = tuple((kind, "colour") for kind in ("service key", "session", "token"))
MIGRATION = f'    Migration({NEWEST + 1}, "colours", {COLOURS!r}),\n'

PUT = """
import json, sys
from session_tokens import SessionTokens
from session_tokens.records import ServiceKey
from session_tokens.stores.connect import open_store_now

def put(tx, key):
    tx.put_service_key(tx.service_key(key.id), key)

def key_with(url, id, extra):
    store = open_store_now(url)
    store.run_now(put, ServiceKey(id, "lookup of " + id, "admin", 1, None, "label", **extra))
    with SessionTokens(store) as tokens:
        tokens.issue_token(tokens.open_session("owner of " + id, data={"a": 1}).id, "v", tag="old")

key_with(sys.argv[1], "key_old", {})
"""
TRY = """
import json, sys
from session_tokens.contract.queries import (Get, Scan)
from session_tokens import SessionTokens
from session_tokens.records import ServiceKey
from session_tokens.rules.copied_settings import setting_moved
from session_tokens.stores.connect import check_store, copy_store, migrate_store, open_store_now

url, other = sys.argv[1:]
def put(tx, key):
    tx.put_service_key(tx.service_key(key.id), key)

if url != "memory://":
    migrate_store(url)
store = open_store_now(url)
if url == "memory://":
    store.run_now(put, ServiceKey("key_old", "lookup of key_old", "admin", 1, None, "label"))
store.run_now(put, ServiceKey("key_new", "lookup of key_new", "admin", 2, None, "label", colour="red"))
old, new, by_lookup, all_keys = (
    found.value for found in store.read_now(
        [Get("key", "key_old"), Get("key", "key_new"), Get("key_lookup", "lookup of key_new"), Scan("keys")]
    ).found
)
store.run_now(put, old._replace(colour="blue"))
changed = store.read_now([Get("key", "key_old")]).found[0].value

def colour_session(tx, id):
    old = tx.session(id)
    tx.put_session(old, old.replace(details=old.details._replace(colour="red"), version=old.version + 1))

def colour_token(tx, id):
    old = tx.token(id)
    tx.put_token(old, old.replace(details=old.details._replace(colour="red"), version=old.version + 1))

tokens = SessionTokens(store)
opened = tokens.open_session("owner of key_new", data={"a": 1})
issued = tokens.issue_token(opened.id, "v", tag="new")
store.run_now(colour_session, opened.id)
store.run_now(colour_token, issued.id)
parts = [
    [record.details.colour for record in sorted(page, key=lambda record: record.created_at)]
    for page in (tokens.list_sessions().items, tokens.list_tokens().items)
]
parts.append([tokens.verify_session(opened.secret).details.colour, tokens.verify_token(issued.secret).details.colour])
tokens.close()
found, copied = [], []
if url != "memory://":
    found = [str(finding) for finding in check_store(url, fix=False, progress=lambda *_: None)]
    copy_store(url, other, progress=lambda *_: None, move=setting_moved)
    copy = open_store_now(other)
    copied = [key.colour for key in copy.read_now([Scan("keys")]).found[0].value]
    for what in ("sessions", "tokens"):
        copied.append([each[0].details.colour for each in copy.read_now([Scan(what)]).found[0].value])
    copy.close_now()
print(json.dumps({
    "old": old.colour, "new": new.colour, "by lookup": by_lookup.colour, "changed": changed.colour,
    "all": [key.colour for key in all_keys], "found": found, "copied": copied, "parts": parts,
}))
"""


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the source with each line written after the one that was the last, and the migration."""
    folder = copy_of_source(tmp_path_factory.mktemp("edited"))
    for name, line, new in (*EDITS, ("stores/common/migrations.py", MIGRATIONS_END, MIGRATION)):
        file = folder / "src" / "session_tokens" / name
        text = file.read_text()
        assert text.count(line) == 1, name
        file.write_text(text.replace(line, line + new))
    return folder


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        yield "memory://"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def run(source: Path, pepper: Path, script: str, *args: str) -> str:
    """Run a script on a source."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "SESSION_TOKENS_PEPPER_FILE": str(pepper)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=source)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
def test_a_field_that_is_added_is_on_every_store(url: str, edited: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    pepper = tmp_path / "pepper"
    pepper.touch(mode=0o600)
    pepper.write_text(bytes(range(32)).hex() + "\n")
    if url != "memory://":
        run(root, pepper, PUT, url)
    said: dict[str, Any] = json.loads(run(edited, pepper, TRY, url, f"sqlite:///{tmp_path / 'copy.db'}"))

    assert said == {
        "old": None, "new": "red", "by lookup": "red", "changed": "blue", "all": [None, "red"], "found": [],
        "copied": [] if url == "memory://" else ["blue", "red", [None, "red"], [None, "red"]],
        "parts": [["red"]] * 2 + [["red", "red"]] if url == "memory://" else [[None, "red"]] * 2 + [["red", "red"]],
    }  # fmt: skip
