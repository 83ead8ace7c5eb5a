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
EDITS = {
    "records/__init__.py": ("    owner_creations: int | None = None\n", "    colour: str | None = None\n"),
    "stores/common/kinds.py": ("    owner_creations         number?\n", "    colour                  text?\n"),
}
"""The field of a service key in its record, and its column."""
MIGRATION = {
    "stores/common/migrations.py": (
        ")\nNEWEST: Final",
        f'    Migration({NEWEST + 1}, "colour of keys", (("service key", "colour"),)),\n)\nNEWEST: Final',
    ),
}

PUT = """
import json, sys
from session_tokens.records import ServiceKey
from session_tokens.stores.connect import open_store_now

def put(tx, key):
    tx.put_service_key(tx.service_key(key.id), key)

def key_with(url, id, extra):
    store = open_store_now(url)
    store.run_now(put, ServiceKey(id, "lookup of " + id, "admin", 1, None, "label", **extra))
    store.close_now()

key_with(sys.argv[1], "key_old", {})
"""
TRY = """
import json, sys
from session_tokens.contract.queries import (Get, Scan)
from session_tokens.records import ServiceKey
from session_tokens.rules.moving import setting_moved
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
store.close_now()
found, copied = [], []
if url != "memory://":
    found = [str(finding) for finding in check_store(url, fix=False, progress=lambda *_: None)]
    copy_store(url, other, progress=lambda *_: None, move=setting_moved)
    copy = open_store_now(other)
    copied = [key.colour for key in copy.read_now([Scan("keys")]).found[0].value]
    copy.close_now()
print(json.dumps({
    "old": old.colour, "new": new.colour, "by lookup": by_lookup.colour, "changed": changed.colour,
    "all": [key.colour for key in all_keys], "found": found, "copied": copied,
}))
"""


def edit(folder: Path, edits: dict[str, tuple[str, str]], *, replace: bool = False) -> None:
    """Write a line after another, or in its place."""
    for name, (line, new) in edits.items():
        file = folder / "src" / "session_tokens" / name
        text = file.read_text()
        assert text.count(line) == 1, name
        file.write_text(text.replace(line, new if replace else line + new))


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_source(tmp_path_factory.mktemp("edited"))
    edit(folder, EDITS)
    edit(folder, MIGRATION, replace=True)
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
        "copied": [] if url == "memory://" else ["blue", "red"],
    }  # fmt: skip
