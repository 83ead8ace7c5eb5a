"""What each command does, prints and exits with."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from tests.helpers.command_line import Cli


def test_open_prints_the_secret_and_verify_takes_it_from_stdin_or_a_private_file(cli: Cli, tmp_path: Path) -> None:
    opened = cli("open", "alice", "--label", "laptop", "--data", '{"theme": "dark"}', "--json")
    secret = opened.json["secret"]
    file = tmp_path / "secret"
    file.write_text(secret + "\n")
    file.chmod(0o600)

    by_stdin = cli("verify", "--json", stdin=secret.encode() + b"\n")
    by_file = cli("verify", "--json", "--secret-file", str(file))

    assert opened.code == by_stdin.code == by_file.code == 0
    assert by_stdin.json["active"] is True
    assert by_file.json["session"]["label"] == "laptop"
    assert by_file.json["session"]["data"] == {"theme": "dark"}
    assert secret not in by_stdin.out + by_stdin.err


def test_the_whole_life_of_a_token(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]
    issued = cli("issue", "--session", session, "--value", "seat 12", "--transferable", "--json").json
    moved = cli("transfer", issued["id"], "--giver", "alice", "--receiver", "bob", "--json").json
    bobs = cli("open", "bob", "--json").json["id"]
    held = cli("tokens", issued["id"], "--json").json
    ended = cli("end", bobs)
    waiting = cli("tokens", "--unassigned", "--json").json["items"]
    claimed = cli("claim", issued["id"], "--session", session, "--json").json

    assert cli("verify", stdin=issued["secret"].encode()).code == 1
    assert cli("verify", stdin=moved["secret"].encode()).code == 1
    assert cli("verify", stdin=claimed["secret"].encode()).code == 0
    assert held["session_id"] == bobs and held["owner"] == "bob"
    assert (ended.code, ended.out) == (0, "ended: 1\n")
    assert [token["id"] for token in waiting] == [issued["id"]]
    assert claimed["owner"] == "alice" and claimed["epoch"] == 2
    assert cli("end", issued["id"]).code == 0
    assert cli("end", issued["id"]).code == 1


def test_refusals_have_their_exit_codes(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]
    bound = cli("issue", "--session", session, "--json").json["id"]
    token = cli("issue", "--session", session, "--transferable", "--json").json["id"]

    assert cli("transfer", bound, "--giver", "alice", "--receiver", "bob").code == 4
    assert cli("transfer", token, "--giver", "carol", "--receiver", "bob").code == 5
    assert cli("claim", token, "--session", session).code == 4
    assert cli("transfer", "tok_00" + "0" * 22, "--receiver", "bob").code == 1
    assert cli("open", "alice", "--store", "sqlite:////no/such/folder/x.db").code == 3


def test_errors_are_json_for_programs(cli: Cli) -> None:
    said = cli("transfer", "tok_00" + "0" * 22, "--receiver", "bob", "--json")

    assert said.out == ""
    assert '"error": "unknown_token"' in said.err


def test_lists_are_paged(cli: Cli) -> None:
    for owner in ("a", "b", "c"):
        cli("open", owner)
    first = cli("sessions", "--limit", "2", "--json").json
    second = cli("sessions", "--limit", "2", "--after", first["next"], "--json").json

    assert [session["owner"] for session in first["items"] + second["items"]] == ["a", "b", "c"]
    assert second["next"] is None
    assert cli("sessions", "--owner", "b").out.count("ses_") == 1


def test_visitors_are_listed_only_where_they_are_asked_for(cli: Cli) -> None:
    cli("open", "alice")
    with SessionTokens.open("sqlite:///store.db", sweep=False) as tokens:
        tokens.log_in(None)

    assert [session["owner"] for session in cli("sessions", "--json").json["items"]] == ["alice"]
    assert len(cli("sessions", "--anonymous", "--json").json["items"]) == 2


def test_end_all_sessions_of_an_owner(cli: Cli) -> None:
    cli("open", "alice")

    assert cli("end", "--owner", "alice", "--yes", "--json").json == {"ended": 1}
    assert cli("end", "--owner", "alice", "--yes", "--json").json == {"ended": 0}


def test_sweep_and_check(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]
    cli("end", session)

    assert cli("sweep", "--json").json["swept"] >= 1
    assert cli("sweep", "--json").json["swept"] == 0
    assert cli("check").out == "nothing is wrong\n"
    assert cli("check", "--fix-clock").code == 0


def test_a_rotated_key_lives_as_long_as_asked_for(cli: Cli) -> None:
    made = cli("keys", "create", "--role", "audit", "--json").json
    rotated = cli("keys", "rotate", made["id"], "--expires", "2h", "--json").json

    assert rotated["expires_at"] - rotated["created_at"] == 2 * 3_600_000


@pytest.mark.process
def test_a_standard_output_that_was_closed_before_is_no_traceback(tmp_path: Path) -> None:
    store = f"--store=sqlite:///{tmp_path}/store.db"
    program = [sys.executable, "-m", "session_tokens.cli.main"]
    opened = subprocess.run([*program, "open", "alice", store], capture_output=True, timeout=60)
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *program, "sessions", store], stderr=subprocess.PIPE)

    assert (opened.returncode, closed.returncode, closed.stderr) == (0, 0, b"")


@pytest.mark.process
def test_a_standard_input_that_was_closed_before_holds_no_secret_and_nobody_to_ask(tmp_path: Path) -> None:
    store = f"--store=sqlite:///{tmp_path}/store.db"
    program = [sys.executable, "-m", "session_tokens.cli.main"]
    subprocess.run([*program, "open", "alice", store], capture_output=True, timeout=60)
    for command, code in ((["verify"], 1), (["consume"], 1), (["end", "--owner", "alice"], 2)):
        run = ["sh", "-c", 'exec "$@" <&-', "sh", *program, *command, store]
        closed = subprocess.run(run, capture_output=True, timeout=60)

        assert (closed.returncode, b"Traceback" in closed.stderr) == (code, False), closed.stderr


def test_keys_are_made_listed_rotated_and_revoked(cli: Cli) -> None:
    made = cli("keys", "create", "--role", "admin", "--label", "ops", "--json").json
    listed = cli("keys", "list", "--json").json["items"]
    rotated = cli("keys", "rotate", made["id"], "--json").json

    assert made["secret"].startswith("stk_") and made["role"] == "admin"
    assert [key["id"] for key in listed] == [made["id"]]
    assert "secret" not in listed[0]
    assert rotated["secret"] != made["secret"] and rotated["role"] == "admin"
    assert cli("keys", "revoke", made["id"]).code == 0
    assert cli("keys", "revoke", made["id"]).code == 1


def test_a_key_is_bound_to_networks_and_tells_its_last_use(cli: Cli) -> None:
    made = cli("keys", "create", "--role", "verify", "--network", "10.0.0.0/8", "--network", "192.0.2.7", "--json").json
    rotated = cli("keys", "rotate", made["id"], "--json").json
    listed = cli("keys", "list", "--json").json["items"]

    assert {tuple(key["networks"]) for key in (made, rotated, *listed)} == {("10.0.0.0/8", "192.0.2.7/32")}
    assert [key["last_used_at"] for key in listed] == [None, None]
    assert "10.0.0.0/8" in cli("keys", "list").out
    assert cli("keys", "create", "--role", "verify", "--network", "here").code == 2
    assert cli("keys", "rotate", made["id"], "--network", "10.0.0.0/8").code == 2


def test_the_key_of_a_secret_is_found_as_long_as_it_lives(cli: Cli, tmp_path: Path) -> None:
    made = cli("keys", "create", "--role", "verify", "--label", "shop", "--json").json
    file = tmp_path / "leaked"
    file.touch(mode=0o600)
    file.write_text(made["secret"] + "\n")
    found = cli("keys", "find", "--secret-file", str(file), "--json")
    cli("keys", "revoke", made["id"])
    gone = cli("keys", "find", "--secret-file", str(file))
    file.write_text("stk_nonsense")

    assert (0, made["id"], "shop", None) == (
        found.code,
        *(found.json[name] for name in ("id", "label", "last_used_at")),
    )
    assert made["secret"] not in found.out
    assert (1, "inactive\n") == (gone.code, gone.out)
    assert 1 == cli("keys", "find", "--secret-file", str(file)).code


def test_keys_are_bound_to_an_application(cli: Cli) -> None:
    bounds = ("--owner-prefix", "app1:", "--max-age", "12h", "--namespace", "shop", "--rate", "50")
    made = cli("keys", "create", "--role", "issue", *bounds, "--owner-creations", "30", "--json").json
    rotated = cli("keys", "rotate", made["id"], "--json").json
    listed = cli("keys", "list", "--json").json["items"]
    known = {"owner_prefix": "app1:", "max_age": 43_200.0, "namespace": "shop", "rate": 50, "owner_creations": 30}

    for key in (made, rotated, *listed):
        assert {name: key[name] for name in known} == known
    assert "app1:" in cli("keys", "list").out
    assert cli("keys", "create", "--role", "issue", "--owner-prefix", "app1").code == 2
    assert cli("keys", "create", "--role", "admin", "--namespace", "shop").code == 2
    assert cli("keys", "rotate", made["id"], "--owner-prefix", "app2:").code == 2


@pytest.mark.parametrize("action", ["rotate", "revoke"])
@pytest.mark.parametrize("id", ["key_" + "0" * 24, "nonsense"])
def test_a_key_that_is_not_there_is_inactive_as_every_other_thing(cli: Cli, action: str, id: str) -> None:
    cli("keys", "create", "--role", "verify")

    assert cli("keys", action, id).code == 1


def test_a_new_database_and_its_key_are_private_and_said_once(process: Cli, tmp_path: Path) -> None:
    first, second = process("open", "alice"), process("open", "bob")

    for name in ("store.db", "store.db.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert "store.db.key" in first.err
    assert "store.db.key" not in second.err


def test_nothing_optional_is_imported_before_it_is_needed(process: Cli) -> None:
    program = (
        "import sys; from session_tokens.cli.main import main; main(['--version']); main(['sessions'])\n"
        "loaded = {'asyncio', 'rich', 'starlette', 'msgspec', 'cryptography', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"SESSION_TOKENS_STORE": "memory://"}, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr


@pytest.mark.process
def test_an_answer_that_cannot_be_written_is_no_trouble_of_the_store(tmp_path: Path) -> None:
    """A full disk behind ``>`` is not that of the store, and what was done is done."""
    store = f"sqlite:///{tmp_path / 'store.db'}"
    run = [sys.executable, "-m", "session_tokens", "open", "alice", "--store", store]
    with open("/dev/full", "w") as full:
        lost = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True)
        buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
        as_json = subprocess.run([*run, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)

    assert (lost.returncode, as_json.returncode) == (3, 3)
    assert "standard output: No space left on device" in lost.stderr and "Traceback" not in lost.stderr
    assert json.loads(as_json.stderr.splitlines()[-1])["error"] == "output_lost"
    with SessionTokens.open(store, sweep=False) as st:
        assert 2 == len(st.list_sessions())


@pytest.mark.process
def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    with SessionTokens.open(f"sqlite:///{tmp_path / 'store.db'}", sweep=False) as st:
        for number in range(200):
            st.open_session(f"owner-{number}")
    command = f"{sys.executable} -m session_tokens.cli.main sessions --limit 500 --store sqlite:///store.db | head -n 1"

    run = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr


@pytest.mark.process
def test_an_interrupt_ends_quietly(tmp_path: Path) -> None:
    # A background job of a shell inherits an ignored interrupt; the command is to be asked as at a terminal.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from session_tokens.cli.main import main; sys.exit(main(['verify', '--store', 'memory://']))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    give_up_at_s = time.monotonic() + 5  # where the kernel does not say what a process waits for
    while "pipe" not in Path(f"/proc/{running.pid}/wchan").read_text() and time.monotonic() < give_up_at_s:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)

    assert running.returncode == 130
    assert b"Traceback" not in err


def test_without_a_command_the_help_is_named(cli: Cli) -> None:
    said = cli()

    assert said.code == 2
    assert "--help" in said.err
    with pytest.raises(SystemExit) as stop:
        cli("--help")
    assert stop.value.code == 0


@pytest.mark.process
def test_the_package_itself_runs_the_command_line(tmp_path: Path) -> None:
    """``python -m session_tokens``, where the script is not on the path."""
    url = f"sqlite:///{tmp_path}/own.db"
    ran = [
        subprocess.run(
            [sys.executable, "-m", "session_tokens", *words], capture_output=True, text=True, timeout=60, check=False
        )
        for words in (["--version"], ["open", "alice", "--store", url], ["no-such-command"])
    ]

    assert [result.returncode for result in ran] == [0, 0, 2], [result.stderr for result in ran]
    assert ran[0].stdout.startswith("session-tokens ")
    assert "sts_" in ran[1].stdout
    assert "see session-tokens --help" in ran[2].stderr
