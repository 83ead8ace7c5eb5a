"""The README's walk-through of the service, pasted from its text: as it stands, across a restart."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.walkthrough import SECRET, paste, promised, section

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Served:
    """A service in a process of its own, as ``make run`` starts it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "session_tokens.cli.main", "serve", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "SESSION_TOKENS_STORE": "sqlite:///var/session-tokens.db"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        give_up_at_s = time.monotonic() + 30
        while time.monotonic() < give_up_at_s and self.process.poll() is None:
            # Its last line at start: all that it says of itself, its first key too, has been read by then.
            if any(line.startswith("stop it with") for line in list(self.lines)):
                return
            time.sleep(0.05)
        raise AssertionError("the service did not start:\n" + "".join(self.lines))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return "".join(self.lines)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@pytest.mark.needs_curl
def test_the_walk_through_works_when_pasted(tmp_path: Path, port: int) -> None:
    """The restart stands where the text says so; what the comments promise is looked for in the answers."""
    (tmp_path / "var").mkdir(0o700)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)  # where `make run` puts it in a clone
    first, second = Served(tmp_path, port), None
    try:
        blocks = section("Five minutes with the service")[1:]
        key = SECRET.search("".join(first.lines))
        assert key is not None, "the service prints its first key once"
        shell = [block.replace("KEY=stk_…", f"KEY={key.group()}").replace(":8080", f":{port}") for block in blocks]
        restart_at = next(at for at, block in enumerate(shell) if "VOUCHER=" in block)
        before = paste(shell[:restart_at], tmp_path)
        said = first.stop()
        second = Served(tmp_path, port)
        assert "session-tokens open" in shell[-1]
        after = paste(shell[restart_at:], tmp_path)
        name = re.search(r"key_\w+", after[-1][1])
        assert name is not None, "keys list names the first key"
        rotate = re.search(r"`(session-tokens keys rotate) KEY_ID`", (ROOT / "README.md").read_text())
        assert rotate is not None
        ((_, rotated),) = paste([f"{rotate.group(1)} {name.group()}\n"], tmp_path)
    finally:
        first.process.kill()
        first.process.wait(20)
        if second is not None:
            second.stop()

    assert promised(before) == []
    assert promised(after) == []
    assert "Traceback" not in said
    assert SECRET.search("".join(second.lines)) is None, "no new key is made"
    assert SECRET.search(rotated) is not None
    shown = "".join(printed for _, printed in after)
    assert '"owner":"carol"' in shown and "ended: 1" in shown
    assert not list(tmp_path.glob("*.db")), "the shell works on the service's store"
