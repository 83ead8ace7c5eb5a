"""`make run STORE=…` on each server: the README's walk-through across a restart, and two services on one store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.running_service import RunningService
from tests.helpers.servers.ports import free_port
from tests.helpers.walkthrough import SECRET, paste, promised, section

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


class MakeRun:
    """``make run`` in a process group of its own, as a shell starts it; all but the setup is as for a user.

    Attributes:
        lines: what it printed so far.
    """

    def __init__(self, store: str, port: int) -> None:
        make = shutil.which("make")
        assert make is not None, "make is missing"
        # The environment that the tests run in is ready: `true` stands for the Python that would look it over.
        words = ["run", f"STORE={store}", f"PORT={port}", "find_python=true", f"bin={PROGRAMS}"]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [make, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until_s = time.monotonic() + 30
        while not any(line.startswith("stop it with") for line in list(self.lines)):
            assert self.process.poll() is None and time.monotonic() < until_s, "".join(self.lines)
            time.sleep(0.02)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def key(self) -> str | None:
        """The secret of a first admin key, if one was shown."""
        found = SECRET.search("".join(self.lines))
        return None if found is None else found[0]

    def stop(self) -> str:
        """Press Ctrl-C; answer all that was printed."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(20)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return "".join(self.lines)


@pytest.fixture(params=["postgres", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store on a server, and a pepper for it in the environment."""
    (tmp_path / "pepper").write_text("ab" * 32)
    (tmp_path / "pepper").chmod(0o600)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(tmp_path / "pepper"))
    monkeypatch.delenv("MAKEFLAGS", raising=False)  # those of a `make test` that this runs in
    monkeypatch.delenv("MAKELEVEL", raising=False)
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def running() -> Iterator[list[MakeRun | RunningService]]:
    """What a test started; it is stopped when the test is over."""
    started: list[MakeRun | RunningService] = []
    yield started
    for one in started:
        one.stop()


@pytest.mark.needs_curl
def test_the_walk_through_works_on_a_server_too(
    store: str, running: list[MakeRun | RunningService], tmp_path: Path
) -> None:
    """As it stands in the README, with a restart in its middle."""
    port = free_port()
    first = MakeRun(store, port)
    running.append(first)
    assert first.key is not None, "the service prints its first key once"
    blocks = section("Five minutes with the service")[1:-1]
    shell = [block.replace("KEY=stk_…", f"KEY={first.key}").replace(":8080", f":{port}") for block in blocks]
    restart_at = next(at for at, block in enumerate(shell) if "VOUCHER=" in block)
    before = paste(shell[:restart_at], tmp_path)
    said = first.stop()
    second = MakeRun(store, port)
    running.append(second)
    after = paste(shell[restart_at:], tmp_path)

    assert promised(before) == []
    assert promised(after) == []
    assert "Traceback" not in said + second.stop()
    assert second.key is None, "no new key is made"


def test_what_one_service_revokes_another_refuses_at_once(
    store: str, running: list[MakeRun | RunningService], tmp_path: Path
) -> None:
    """Two processes on one store; each end through one is asked about at the other as soon as it was answered."""
    one = MakeRun(store, free_port())
    running.append(one)
    assert one.key is not None
    other = RunningService(store, tmp_path / "log", one.key)
    running.append(other)
    url = next(word for line in one.lines for word in line.split() if word.startswith("http://"))
    authorization = {"Authorization": f"Bearer {one.key}"}
    with httpx.Client(base_url=url, headers=authorization) as here, other.http() as there:

        def active(secret: str) -> bool:
            """Ask both services, the other one first."""
            answers = {http.post("/introspect", data={"token": secret}).json()["active"] for http in (there, here)}
            assert len(answers) == 1
            return bool(answers.pop())

        for ends_here, asked in ((here, there), (there, here)):
            for _ in range(10):
                opened = ends_here.post("/v1/sessions", json={"owner": "alice"}).json()
                as_alice = {"Authorization": f"Bearer {opened['secret']}"}
                token = asked.post("/v1/tokens", json={"session": opened["session"]["id"]}).json()
                assert active(opened["secret"]) and active(token["secret"])
                assert asked.get("/forward-auth", headers=as_alice).status_code == 204
                ends_here.delete(f"/v1/sessions/{opened['session']['id']}")
                assert asked.get("/forward-auth", headers=as_alice).status_code == 401
                assert not active(token["secret"]) and not active(opened["secret"])
            token = ends_here.post("/v1/tokens", json={"value": "free"}).json()
            assert active(token["secret"])
            ends_here.post("/revoke", data={"token": token["secret"]})
            assert not active(token["secret"])
        key = here.post("/v1/keys", json={"role": "verify"}).json()
        with_key = {"Authorization": f"Bearer {key['secret']}"}
        assert there.post("/introspect", data={"token": "sts_x"}, headers=with_key).status_code == 200
        here.delete(f"/v1/keys/{key['id']}")
        assert there.post("/introspect", data={"token": "sts_x"}, headers=with_key).status_code == 401


def test_a_store_that_is_not_there_is_told_and_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    words = ["make", "run", "PORT=0", "find_python=true", f"bin={PROGRAMS}"]
    for scheme in ("valkey", "postgresql"):
        store = f"STORE={scheme}://user:never-shown@127.0.0.1:{free_port()}/0"
        run = subprocess.run([*words, store], cwd=ROOT, capture_output=True, text=True, timeout=60)

        assert run.returncode != 0
        assert "session-tokens:" in run.stderr and "Traceback" not in run.stderr
        assert "never-shown" not in run.stdout + run.stderr


def test_a_server_without_a_pepper_is_told(valkey_url: str, postgres_url: str) -> None:
    words = ["make", "run", "PORT=0", "find_python=true", f"bin={PROGRAMS}"]
    for url in (valkey_url, postgres_url):
        run = subprocess.run([*words, f"STORE={url}"], cwd=ROOT, capture_output=True, text=True, timeout=60)

        assert run.returncode != 0
        assert "SESSION_TOKENS_PEPPER_FILE" in run.stderr
