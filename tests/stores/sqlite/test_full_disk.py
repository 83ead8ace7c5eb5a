"""A disk that is really full: a small file system in memory, filled to its last byte, in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens.stores.sqlite import reserve

ROOT = Path(__file__).parents[3]
WAYS = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])

BEGINNING = '''
import os, sys
from pathlib import Path
from session_tokens import SessionTokens, Settings, StoreUnavailable

DISK = Path(sys.argv[1])
URL = f"sqlite:///{DISK}/tokens.db"


def fill() -> None:
    """Leave no byte to others."""
    with open(DISK / "ballast", "ab", buffering=0) as ballast:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    ballast.write(b"x" * size)
            except OSError:
                pass


def refused(call, *arguments, **options) -> None:
    try:
        call(*arguments, **options)
    except StoreUnavailable as error:
        assert "no space left" in str(error), error
    else:
        raise AssertionError("it was not refused")

'''


def on_small_disk(script: str, folder: Path, size: str = "32m") -> None:
    """Run a script on a file system of its own, which ends with it."""
    if shutil.which("unshare") is None:
        pytest.skip("util-linux is missing: apt-get install util-linux")
    disk = folder / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size={size},mode=700 tmpfs "$1" && exec "$0" -c "$2" "$1"'
    for way in WAYS:
        probe = subprocess.run([*way, "sh", "-c", f'mount -t tmpfs tmpfs "{disk}"'], capture_output=True, check=False)
        if probe.returncode == 0:
            command = [*way, "sh", "-c", mounted, sys.executable, str(disk), BEGINNING + script]
            run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
            assert run.returncode == 0, run.stderr
            return
    pytest.skip("this user may mount nothing, not even in a name space of its own")


@pytest.mark.process
def test_log_outs_and_sweeps_pass_and_what_grows_is_refused(tmp_path: Path) -> None:
    on_small_disk(
        """
with SessionTokens.open(URL, settings=Settings(max_sessions=None), sweep=False) as tokens:
    opened = [tokens.open_session(f"owner {number}", detachable=True) for number in range(300)]
    kept, away = opened.pop(), opened.pop()
    free = tokens.issue_token(None, "voucher")
    brief = [tokens.open_session("brief", max_age=0.05) for _ in range(20)]
    fill()
    refused(tokens.open_session, "late")
    refused(tokens.issue_token, kept.id, "seat")
    for issued in opened:  # many more than fit into the reserve
        assert tokens.destroy_session(issued.secret)
        assert tokens.verify_session(issued.secret) is None
    assert tokens.destroy_token(free.id)
    assert tokens.detach_session(away.secret).is_detached
    while tokens.sweep():
        pass
    assert tokens.list_sessions("brief").items == []
    refused(tokens.open_session, "late")
    assert tokens.verify_session(kept.secret) is not None
    fill()
    assert tokens.destroy_session(kept.secret)
    os.unlink(DISK / "ballast")
    assert tokens.verify_session(tokens.open_session("late").secret) is not None
    assert tokens.verify_session(kept.secret) is None
    fill()
    count = 0
    try:
        while count < 5_000:  # as long as the log has room, whatever the disk has
            tokens.open_session("last", data={"much": "y" * 15_000})
            count += 1
    except StoreUnavailable as error:
        assert "no space left" in str(error)
    assert count < 5_000
    assert tokens.destroy_sessions("last") == count
    assert tokens.destroy_sessions("late") == 1
""",
        tmp_path,
    )


@pytest.mark.process
def test_another_process_keeps_what_the_reserve_left(tmp_path: Path) -> None:
    """What one process gave up for log-outs is not for what the others would add."""
    on_small_disk(
        """
with SessionTokens.open(URL, sweep=False) as one, SessionTokens.open(URL, sweep=False) as other:
    opened = [one.open_session(f"owner {number}") for number in range(20)]
    other.open_session("other")
    fill()
    for _ in range(3):
        refused(one.open_session, "late")
        refused(other.open_session, "late")
    for issued in opened:
        assert other.destroy_session(issued.secret)
        assert one.verify_session(issued.secret) is None
        refused(one.open_session, "late")
""",
        tmp_path,
    )


@pytest.mark.process
def test_a_process_that_starts_on_a_full_disk_can_end_sessions(tmp_path: Path) -> None:
    on_small_disk(
        """
with SessionTokens.open(URL, sweep=False) as tokens:
    secrets = [tokens.open_session(f"owner {number}").secret for number in range(5)]
fill()
with SessionTokens.open(URL, sweep=False) as tokens:
    for secret in secrets:
        assert tokens.verify_session(secret) is not None
        assert tokens.destroy_session(secret)
        assert tokens.verify_session(secret) is None
    refused(tokens.open_session, "late")
""",
        tmp_path,
    )


def test_the_reserve_stands_beside_the_file_and_for_its_user_alone(tmp_path: Path) -> None:
    kept = reserve.Reserve(tmp_path / "tokens.db")

    assert not kept.is_kept()
    assert kept.keep() and kept.keep()
    assert kept.is_kept()
    status = (tmp_path / "tokens.db-reserve").stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, reserve.BYTES)
    assert status.st_blocks * 512 >= reserve.BYTES, "a file with a hole keeps nothing"
    kept.give_up()
    kept.give_up()
    assert not kept.is_kept()
    assert list(tmp_path.iterdir()) == []


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "tokens.db-reserve.new").symlink_to(tmp_path / "precious")
    reserve.Reserve(tmp_path / "tokens.db").keep()

    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.process
def test_what_is_written_onto_a_read_only_file_system_names_its_folder(tmp_path: Path) -> None:
    on_small_disk(
        """
import subprocess
from session_tokens.cli.main import main

HERE = DISK.parent / "store.db"
STORE = f"sqlite:///{HERE}"
SessionTokens.open(STORE, sweep=False).close()
BACKUP = str(DISK.parent / "backup.db")
assert main(["store", "backup", BACKUP, "--store", STORE]) == 0
subprocess.run(["mount", "-o", "remount,ro", str(DISK)], check=True)
CALLS = (
    ("backup", str(DISK / "b.db"), "--store", STORE),
    ("export", str(DISK / "e.jsonl"), "--store", STORE),
    ("restore", BACKUP, "--store", URL),
)
for call in CALLS:
    said = subprocess.run([sys.executable, "-m", "session_tokens", "store", *call], capture_output=True, text=True)
    assert said.returncode == 3, said
    assert f"nothing can be written to {DISK}: Read-only file system" in said.stderr, said
""",
        tmp_path,
    )
