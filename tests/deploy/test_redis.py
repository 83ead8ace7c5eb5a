"""The ACL file in deploy/ is one for the oldest Redis too, and the store does the main job under it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import valkey

from session_tokens import SessionTokens
from session_tokens.stores.valkey.library import library_text
from tests.helpers.servers.ports import free_port

pytestmark = pytest.mark.server

ACL = Path(__file__).parents[2] / "deploy" / "valkey" / "users.acl"
PASSWORD, ADMIN_PASSWORD = "correct", "horse"
PEPPER = bytes(range(32))


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where Debian's Redis listens, which is older than the Valkey of the other tests."""
    acl = ACL.read_text().replace("REPLACE-WITH-SHA256-OF-ADMIN-PASSWORD", sha256(ADMIN_PASSWORD.encode()).hexdigest())
    acl = acl.replace("REPLACE-WITH-SHA256-OF-PASSWORD", sha256(PASSWORD.encode()).hexdigest())
    (tmp_path / "users.acl").write_text(acl)
    port = free_port()
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--aclfile", str(tmp_path / "users.acl")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(["redis-server", *words], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log)
    until_s = time.monotonic() + 30
    while not answers(port):
        assert server.poll() is None and time.monotonic() < until_s, (tmp_path / "log").read_text()
        time.sleep(0.01)
    yield port
    server.kill()
    server.wait()


def answers(port: int) -> bool:
    try:
        with valkey.Valkey(port=port, username="session-tokens-admin", password=ADMIN_PASSWORD) as admin:
            return bool(admin.ping())
    except valkey.exceptions.ConnectionError:
        return False


@pytest.mark.needs_redis
def test_the_applications_user_does_the_main_job_on_redis(port: int) -> None:
    with valkey.Valkey(port=port, username="session-tokens-admin", password=ADMIN_PASSWORD) as admin:
        admin.function_load(library_text().decode())
    url = f"redis://session-tokens:{PASSWORD}@127.0.0.1:{port}/0"
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        login = tokens.open_session("alice", detachable=True)
        ticket = tokens.issue_token(login.id, "seat", transferable=True, idempotency_key="once")
        bobs = tokens.transfer_token(ticket.id, giver="alice", receiver="bob")
        tokens.destroy_session(login.id)
        tokens.sweep()

        assert tokens.verify_session(login.secret) is None
        assert tokens.verify_token(bobs.secret) == bobs.token
        assert [token.id for token in tokens.list_tokens().items] == [ticket.id]


@pytest.mark.needs_redis
def test_the_library_is_loaded_as_the_manual_says(port: int) -> None:
    """With the line that stands there, but for the server's place and the name of the program."""
    manual = (ACL.parent / "README.md").read_text()
    (line,) = re.findall(r"^python -m session_tokens.stores.valkey.library \|.*$", manual, re.MULTILINE)
    command = line.replace("python ", f"{sys.executable} ").replace("valkey-cli", f"redis-cli -p {port}")
    environment = {**os.environ, "REDISCLI_AUTH": ADMIN_PASSWORD}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=True, timeout=60)  # noqa: S602  # the manual's line is for a shell
    assert done.stdout.strip() == "session_tokens_v1"

    url = f"redis://session-tokens:{PASSWORD}@127.0.0.1:{port}/0"
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        assert tokens.open_session("alice").session.owner == "alice"
