"""Session data over 16 KiB: asked for at the command line, it goes in and comes out over HTTP, to its last byte."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.server

MIB = 1_048_576
BESIDE_DATA = 16_384


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/large.db"


@pytest.fixture
def http(store_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client with the admin key of ``session-tokens serve --max-data-bytes 1048576``."""
    words = ["serve", "--port", "0", "--store", store_url, "--max-data-bytes", str(MIB)]
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(
            [sys.executable, "-m", "session_tokens", *words], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert served.stdout is not None
            told = ""
            for line in served.stdout:
                told += line
                if "Ctrl-C" in line:
                    break
            url, key = re.search(r"http://\S+", told), re.search(r"stk_\w+", told)
            assert url is not None and key is not None, (told, (tmp_path / "log").read_text())
            with httpx.Client(base_url=url[0], headers={"Authorization": f"Bearer {key[0]}"}) as http:
                yield http
        finally:
            served.terminate()
            served.communicate(timeout=20)


def data_of(size: int) -> dict[str, str]:
    """Make data of which the JSON text has that many bytes."""
    return {"k": "a" * (size - len('{"k":""}'))}


def test_data_of_a_mebibyte_goes_in_and_comes_out(http: httpx.Client) -> None:
    opened = http.post("/v1/sessions", json={"owner": "alice", "data": data_of(MIB)})
    id = opened.json()["session"]["id"]
    too_much = http.post("/v1/sessions", json={"owner": "alice", "data": data_of(MIB + 1)})
    changed = http.patch(f"/v1/sessions/{id}", json={"data": {"k": "b" * 900_000}})

    assert opened.status_code == 201, opened.text[:300]
    assert http.get(f"/v1/sessions/{id}").json()["session"]["data"] == {"k": "b" * 900_000}
    assert (too_much.status_code, too_much.json()["code"]) == (422, "invalid_input")
    assert changed.status_code == 200


def test_a_body_may_be_that_and_sixteen_kibibytes(http: httpx.Client) -> None:
    body = json.dumps({"owner": "alice", "data": data_of(MIB)}).encode()
    fits = body.ljust(MIB + BESIDE_DATA)
    kind = {"Content-Type": "application/json"}

    assert http.post("/v1/sessions", content=fits, headers=kind).status_code == 201
    assert http.post("/v1/sessions", content=fits + b" ", headers=kind).status_code == 413
    assert http.post("/v1/sessions", content=iter([fits, b" "]), headers=kind).status_code == 413
    assert http.post("/v1/sessions", content=iter([fits[:500_000], fits[500_000:]]), headers=kind).status_code == 201


def test_where_secrets_are_asked_about_a_body_stays_small(http: httpx.Client) -> None:
    answer = http.post("/introspect", data={"token": "a" * 70_000})

    assert answer.status_code == 413


def test_the_command_line_opens_and_changes_such_sessions_too(store_url: str) -> None:
    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "session_tokens", *words, "--store", store_url, "--json"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    large = json.dumps(data_of(60_000), separators=(",", ":"))
    refused = ran("open", "alice", "--data", large)
    opened = ran("open", "alice", "--data", large, "--max-data-bytes", "60000")
    id = json.loads(opened.stdout)["id"]
    changed = ran("change", id, "--data", json.dumps({"k": "b" * 50_000}), "--max-data-bytes", "60000")

    assert (refused.returncode, opened.returncode, changed.returncode) == (2, 0, 0), changed.stderr
    assert json.loads(changed.stdout)["data"] == {"k": "b" * 50_000}
