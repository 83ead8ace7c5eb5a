"""Files of a store stand where nobody else can put another one, and no link is followed to one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_tokens import InvalidInput, SessionTokens
from session_tokens.audit.log import Audit, read_anchors
from session_tokens.cli.main import main
from session_tokens.crypto.key_file import make_key_file, read_key_file
from session_tokens.stores.sqlite.store import open_sqlite

STRANGER = 12345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    yield folder / "a.db"
    folder.chmod(0o700)


def opened(path: Path) -> None:
    open_sqlite(path).close_now()


def untouched(path: Path) -> bool:
    """Whether nothing was made."""
    return not path.exists() and not Path(f"{path}.key").exists()


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o702, 0o2777])
def test_a_folder_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    with pytest.raises(InvalidInput, match=r"can be written by others .* chmod o-w it"):
        opened(path)
    assert untouched(path)
    path.parent.chmod(0o700)
    opened(path)
    path.parent.chmod(mode)
    with pytest.raises(InvalidInput, match="can be written by others"):
        opened(path)
    with pytest.raises(InvalidInput, match=r"of the key file a\.db\.key can be written by others"):
        read_key_file(Path(f"{path}.key"))


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o711, 0o1777])
def test_a_folder_that_others_may_look_into_is_not(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    opened(path)
    opened(path)


@needs_root
def test_a_folder_that_a_group_of_others_may_write_to_is_refused(path: Path) -> None:
    os.chown(path.parent, 0, STRANGER)
    path.parent.chmod(0o770)
    with pytest.raises(InvalidInput, match="chmod g-w it"):
        opened(path)
    assert untouched(path)
    os.chown(path.parent, 0, 0)
    opened(path)


def test_a_link_in_place_of_the_database_is_not_followed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    opened(other)
    content = other.read_bytes()
    path.symlink_to(other)
    with pytest.raises(InvalidInput, match="is a symbolic link; name the file itself"):
        opened(path)
    path.unlink()
    path.symlink_to(tmp_path / "not there")
    with pytest.raises(InvalidInput, match="is a symbolic link"):
        opened(path)

    assert other.read_bytes() == content
    assert not (tmp_path / "not there").exists()
    assert not Path(f"{path}.key").exists()


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_link_in_place_of_a_companion_is_not_followed(path: Path, tmp_path: Path, end: str) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    Path(f"{path}{end}").symlink_to(tmp_path / "precious")
    with pytest.raises(InvalidInput, match="symbolic link"):
        opened(path)

    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert not path.exists()


def test_a_link_in_place_of_the_key_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    make_key_file(tmp_path / "other.key")
    Path(f"{path}.key").symlink_to(tmp_path / "other.key")
    with pytest.raises(InvalidInput, match="symbolic link"):
        opened(path)
    assert not path.exists()


@needs_root
@pytest.mark.parametrize("what", ["folder", "database", "-wal", ".key", "link"])
def test_root_takes_nothing_of_another_user(path: Path, what: str) -> None:
    opened(path)
    found: dict[str, Callable[[], Path]] = {
        "folder": lambda: path.parent,
        "database": lambda: path,
        "-wal": lambda: planted(Path(f"{path}-wal")),
        ".key": lambda: Path(f"{path}.key"),
        "link": lambda: linked(path.parent),
    }
    given = found[what]()
    os.chown(given, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(InvalidInput, match=f"belongs to user {STRANGER}") as caught:
        opened(given / "a.db" if what == "link" else path)

    assert "run as that user" in str(caught.value) or "chown it" in str(caught.value)


def planted(path: Path) -> Path:
    path.touch(mode=0o600)
    return path


def linked(folder: Path) -> Path:
    link = folder.parent / "link"
    link.symlink_to(folder)
    return link


def test_the_command_line_says_so_as_bad_input(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.parent.chmod(0o777)

    assert main(["open", "ann", "--store", f"sqlite:///{path}"]) == 2
    assert "can be written by others" in capsys.readouterr().err
    assert untouched(path)


def test_an_anchor_follows_no_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target, anchor = tmp_path / "precious", tmp_path / "anchor"
    target.write_bytes(b"mine\n")
    anchor.symlink_to(target)
    with pytest.raises(InvalidInput, match="is a symbolic link; name the file itself"):
        Audit(anchor)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_anchors(anchor)
    anchor.unlink()
    with SessionTokens.open("memory://", sweep=False, audit=Audit(anchor, every=1)) as tokens:
        anchor.unlink()
        anchor.symlink_to(target)
        tokens.open_session("ann")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "made")

    assert target.read_bytes() == b"mine\n"
    assert "a link is not followed" in caplog.text
    with pytest.raises(InvalidInput):
        Audit(dangling)
    assert not (tmp_path / "made").exists()


def test_an_anchor_that_is_a_pipe_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    Audit(tmp_path / "pipe")

    assert "cannot be written" in caplog.text
