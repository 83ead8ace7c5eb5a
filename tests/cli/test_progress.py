"""How far long work has come is shown where somebody looks, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.cli import output
from session_tokens.cli.output import progress

MAIN = "from session_tokens.cli.main import main; sys.exit(main())"
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None; {MAIN}"


def copied_at_a_terminal(folder: Path, program: str, *options: str) -> str:
    """Copy a store with a terminal for standard error; answer what is shown there."""
    (folder / "pepper").write_text("ab" * 32)
    (folder / "pepper").chmod(0o600)
    environment = {
        **os.environ, "SESSION_TOKENS_PEPPER_FILE": str(folder / "pepper"), "TERM": "xterm", "COLUMNS": "120"
    }  # fmt: skip
    with SessionTokens.open(f"sqlite:///{folder}/one.db", pepper=b"\xab" * 32, sweep=False) as tokens:
        for number in range(300):
            tokens.issue_token(None, number)
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", program, "store", "copy", "sqlite:///one.db", "sqlite:///two.db", *options],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert running.wait(timeout=30) == 0, shown.decode()
    return shown.decode()


@pytest.mark.process
def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    shown = copied_at_a_terminal(tmp_path, f"import sys; {MAIN}")

    assert re.search(r"copied and compared.*━+.*100%.*1200/1200", shown), shown


@pytest.mark.process
def test_a_line_is_written_over_where_rich_is_not_installed(tmp_path: Path) -> None:
    shown = copied_at_a_terminal(tmp_path, WITHOUT_RICH)

    assert shown.endswith("\rcopied and compared: 1200 of 1200 (100 %)\x1b[K\r\n")


@pytest.mark.parametrize("program", [f"import sys; {MAIN}", WITHOUT_RICH])
@pytest.mark.process
def test_nothing_is_shown_to_a_program(tmp_path: Path, program: str) -> None:
    assert "copied" not in copied_at_a_terminal(tmp_path, program, "--json")


def test_a_log_gets_whole_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress("copied", quiet=False) as show:
        show(1, 2)
        show(2, 2)
    quick = capsys.readouterr().err
    monkeypatch.setattr(output._Lines, "every_s", 0.0)
    with progress("copied", quiet=False) as show:
        show(1, 2)
        show(7)
    slow = capsys.readouterr().err

    assert quick == ""
    assert slow == "copied: 1 of 2 (50 %)\ncopied: 7\n"


def test_the_last_line_of_a_log_tells_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output._Lines, "every_s", 0.0)
    with progress("copied", quiet=False) as show:
        show(1, 2)
        monkeypatch.setattr(output._Lines, "every_s", 10.0)
        show(2, 2)

    assert capsys.readouterr().err == "copied: 1 of 2 (50 %)\ncopied: 2 of 2 (100 %)\n"
