"""`session-tokens top` and `completion`: what is shown, also live in a terminal, and what a shell completes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.audit.log import Audit
from session_tokens.cli.arguments import parser
from session_tokens.cli.top import Watched
from tests.helpers.command_line import Cli
from tests.helpers.waiting import wait_until


def test_what_lives_is_counted_and_what_happened_comes_from_the_events(cli: Cli) -> None:
    cli("events", "--on")
    opened = cli("open", "ann", "--detachable", "--json").json["id"]
    cli("issue", "--session", opened, "--transferable")
    cli("detach", opened)
    shown = cli("top", "--once", "--json").json

    assert {"sessions": "1", "detached": "1", "tokens": "1", "unassigned": "0", "for sale": "0"} == shown["figures"]
    assert "events" == shown["source"]
    assert ["session_detached", "token_issued", "session_opened"] == [each["kind"] for each in shown["happened"]]


def test_without_events_it_comes_from_the_audit_log_and_without_both_that_is_said(cli: Cli, tmp_path: Path) -> None:
    neither = cli("top", "--once").out
    with SessionTokens.open("sqlite:///store.db", sweep=False, audit=Audit(tmp_path / "anchor")) as tokens:
        tokens.open_session("ann")
    audited = cli("top", "--once", "--json").json

    assert "neither events" in neither
    assert ("audit", ["session_opened"]) == (audited["source"], [each["kind"] for each in audited["happened"]])


def test_each_look_shows_what_came_since() -> None:
    with SessionTokens.open("memory://", settings=Settings(events="durable"), sweep=False) as tokens:
        watched = Watched(tokens)
        watched.look()
        tokens.destroy_session(tokens.open_session("ann").id)
        watched.look()
        first = [each["kind"] for each in watched.happened]
        watched.look()

        assert ["session_ended", "session_opened"] == first == [each["kind"] for each in watched.happened]
        assert {"session_ended": 1, "session_opened": 1} == dict(watched.rates)
        assert "0" == watched.figures["sessions"]


def test_json_goes_with_once(cli: Cli) -> None:
    assert 2 == cli("top", "--json").code
    assert 2 == cli("top", "--interval", "never").code


@pytest.mark.process
def test_without_a_terminal_it_names_what_prints_it_once(process: Cli) -> None:
    """It would show nothing, and never end."""
    process("open", "ann")
    said = process("top")

    assert (2, "") == (said.code, said.out)
    assert "--once" in said.err


@pytest.mark.process
def test_it_goes_on_in_a_terminal_until_it_is_interrupted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with SessionTokens.open(url, settings=Settings(events="durable"), sweep=False) as tokens:
        ours, theirs = pty.openpty()
        words = [sys.executable, "-m", "session_tokens.cli.main", "top", "--store", url, "--interval", "0.1"]
        words = ["env", "--default-signal=INT", *words]  # which is ignored in the background of a shell
        live = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        os.set_blocking(ours, False)
        seen = bytearray()

        def shows(text: bytes) -> bool:
            try:
                seen.extend(os.read(ours, 65_536))
            except BlockingIOError:
                pass
            return text in seen

        try:
            wait_until(lambda: shows(b"Ctrl-C ends"))
            tokens.open_session("somebody new")
            wait_until(lambda: shows(b"somebody new"))
            live.send_signal(signal.SIGINT)
            code = live.wait(timeout=20)
        finally:
            live.kill()
            live.wait(timeout=20)
            os.close(ours)

    assert 130 == code


@pytest.mark.process
def test_a_shell_completes_commands_and_their_choices(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(cli("completion", "bash").out)
    asked = (
        f'. {script}; complete_it() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "_shtab_session_tokens; printf '%s ' \"${COMPREPLY[@]}\"; }; complete_it session-tokens sett; "
        "complete_it session-tokens settings ''; complete_it session-tokens store b"
    )
    run = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, check=False)

    assert ["settings", "list", "set", "unset", "backup"] == [
        word for word in run.stdout.split() if not word.startswith("-")
    ], run.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_every_command(cli: Cli, shell: str) -> None:
    commands = next(action.choices for action in parser()._actions if action.dest == "command")
    script = cli("completion", shell).out

    assert commands and all(command in script for command in commands)
    assert shell == cli("completion", shell, "--json").json["shell"]
