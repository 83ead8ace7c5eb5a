"""The command line on a service: `--store http://…` with the key in a file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from session_tokens.cli import exits
from session_tokens.cli.argument_types import near_cache
from session_tokens.cli.main import main
from session_tokens.crypto.minting import new_secret
from tests.helpers.running_service import RunningService

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    running = RunningService(f"sqlite:///{folder}/s.db", folder / "log")
    yield running
    running.stop()


@pytest.fixture
def key_file(service: RunningService, tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(service.secret + "\n")
    return path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = exits.OK) -> dict[str, object]:
    assert main([*words, "--json"]) == code
    shown = capsys.readouterr()
    answer: dict[str, object] = json.loads(shown.out or shown.err)
    return answer


def test_commands_are_done_by_the_service(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--store", service.url, "--key-file", str(key_file))
    opened = told(capsys, "open", "ann", "--max-age", "10m", *there)
    token = told(capsys, "issue", "--session", str(opened["id"]), "--value", "x", "--transferable", *there)
    moved = told(capsys, "transfer", str(token["id"]), "--giver", "ann", "--receiver", "bob", *there)

    assert ("ann", 600) == (opened["owner"], opened["max_age"])
    assert "bob" == moved["owner"]
    assert [opened["id"]] == [each["id"] for each in told(capsys, "sessions", *there)["items"]]  # type: ignore[attr-defined]
    assert {"ended": 1} == told(capsys, "end", str(opened["id"]), *there)
    assert {"ended": 0} == told(capsys, "end", str(opened["id"]), *there, code=exits.INACTIVE)


def test_what_the_role_of_the_key_may_not_do_is_denied(
    service: RunningService, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another owner's is, and not as what was changed meanwhile: trying again is of no use."""
    made = told(capsys, "keys", "create", "--role", "verify", "--store", service.store_url)
    capsys.readouterr()
    few = tmp_path / "few"
    few.touch(mode=0o600)
    few.write_text(str(made["secret"]))
    error = told(capsys, "open", "ann", "--store", service.url, "--key-file", str(few), code=exits.DENIED)

    assert "forbidden" == error["error"]
    assert "issue" in str(error["message"])


def test_the_key_file_may_be_named_by_the_environment(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_KEY_FILE", str(key_file))
    monkeypatch.setenv("SESSION_TOKENS_STORE", service.url)

    assert "carol" == told(capsys, "open", "carol")["owner"]


def test_without_a_key_or_with_a_file_that_others_read_nothing_is_asked(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file.chmod(0o644)
    for words in (["--key-file", str(key_file)], []):
        assert main(["open", "ann", "--store", service.url, *words]) == exits.BAD_INPUT
        assert service.secret not in capsys.readouterr().err


def test_a_key_that_is_none_is_told_and_shown_nowhere(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = new_secret("stk_")
    key_file.write_text(wrong)
    error = told(capsys, "open", "ann", "--store", service.url, "--key-file", str(key_file), code=exits.INACTIVE)

    assert "unknown_key" == error["error"]
    assert wrong not in json.dumps(error)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check"], "name its URL"),
        (["sweep"], "name its URL"),
        (["store", "migrate"], "name its URL"),
        (["store", "backup", "x"], "name its URL"),
        (["serve"], "name its URL"),
        (["import", "--finish"], "name its URL"),
        (["audit", "verify"], "name its URL"),
        (["pepper", "add"], "name its URL"),
        (["keys", "create", "--role", "verify"], "at /v1/keys"),
        (["keys", "list"], "at /v1/keys"),
        (["keys", "find"], "at /v1/keys"),
        (["keys", "rotate", "key_1"], "at /v1/keys"),
        (["keys", "revoke", "key_1"], "at /v1/keys"),
        (["webhooks", "list"], "at /v1/webhooks"),
    ],
)
def test_what_works_on_a_store_itself_says_so_and_where_the_service_does_it(
    service: RunningService, key_file: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--store", service.url.replace("http", "HTTP" if words[0] == "check" else "http", 1)]
    given += [] if words[0] == "store" else ["--key-file", str(key_file)]

    assert main([*words, *given]) == exits.BAD_INPUT
    error = capsys.readouterr().err
    assert says in error and "works on the store itself" in error


FOLLOWS = (
    "import signal, sys; signal.signal(signal.SIGINT, getattr(signal, sys.argv.pop(1)))\n"
    "from session_tokens.cli.main import main; sys.exit(main(['events', '--follow', '--json', *sys.argv[1:]]))"
)
"""Says itself how it takes interrupts: a job in the background of a shell, as tests may be, inherits to ignore them."""
FOLLOWING = (sys.executable, "-c", FOLLOWS)
DEAF_TO_INTERRUPTS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from session_tokens.cli.events import _ended_when_interrupted
with _ended_when_interrupted():
    while True:
        try:
            print("there", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command in the background of a block, for a minute at the most."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    too_late = threading.Timer(60, process.kill)
    too_late.start()
    try:
        yield process
    finally:
        too_late.cancel()
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def next_subject(following: subprocess.Popen[str]) -> str:
    """Wait for the next event; return whose it is."""
    assert following.stdout is not None
    subject: str = json.loads(following.stdout.readline())["subject_id"]
    return subject


def test_events_are_switched_on_shown_and_followed(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--store", service.url, "--key-file", str(key_file))
    none = told(capsys, "events", *there, code=exits.BAD_INPUT)
    switched = told(capsys, "events", "--on", *there)
    first = told(capsys, "open", "ann", *there)["id"]
    shown = told(capsys, "events", *there)["events"]
    named = told(capsys, "events", "--follow", "--name", "mailer", *there, code=exits.BAD_INPUT)
    with started([*FOLLOWING, "default_int_handler", *there]) as following:
        seen = [next_subject(following)]
        second = told(capsys, "open", "bob", *there)["id"]
        while second not in seen:
            seen.append(next_subject(following))
        following.send_signal(signal.SIGINT)
        code = following.wait(30)

    assert "events --on" in str(none["message"])
    assert {"events": "durable"} == switched
    assert [first] == [each["subject_id"] for each in shown if each["owner"] == "ann"]  # type: ignore[attr-defined]
    assert "begin after= it" in str(named["message"])
    assert {first, second} <= set(seen)
    assert exits.INTERRUPTED == code


def test_a_following_in_the_background_is_not_ended_by_an_interrupt_that_it_is_to_ignore(
    service: RunningService, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--store", service.url, "--key-file", str(key_file))
    told(capsys, "events", "--on", *there)
    told(capsys, "open", "ann", *there)
    with started([*FOLLOWING, "SIG_IGN", *there]) as following:
        next_subject(following)
        following.send_signal(signal.SIGINT)
        second = told(capsys, "open", "bob", *there)["id"]
        while next_subject(following) != second:
            pass
        following.terminate()
        code = following.wait(30)

    assert code == -signal.SIGTERM


def test_an_interrupt_that_is_lost_ends_a_following_all_the_same() -> None:
    with started([sys.executable, "-c", DEAF_TO_INTERRUPTS]) as following:
        assert following.stdout is not None and following.stdout.readline()
        following.send_signal(signal.SIGINT)

        assert following.wait(30) == exits.INTERRUPTED


@pytest.mark.parametrize("bound", ["0.1s", "61s", "1h", "never"])
def test_how_old_an_answer_may_be_is_said_as_it_is(bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--store", "memory://", "--near-cache", bound]) == 2
    assert "--near-cache: a number of seconds from 0.2 to 60, or 0 for none" in capsys.readouterr().err


def test_no_near_cache_is_zero_whatever_the_environment_says() -> None:
    assert near_cache("0") == 0
