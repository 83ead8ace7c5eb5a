"""The pepper is found where it was put, and nowhere else; unsafe files are refused with the remedy."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from session_tokens.crypto.key_file import given_keys, key_file_of, make_key_file, read_key_file, replace_key_file
from session_tokens.crypto.minting import checked_peppers
from session_tokens.errors import InvalidInput, StoreUnavailable
from tests.helpers.full_disk import full_at

ONE, TWO = b"1" * 32, b"2" * 40
STRANGER = 12345


@pytest.fixture(autouse=True)
def no_pepper_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSION_TOKENS_PEPPER", raising=False)
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE", raising=False)


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_nothing_given_is_nothing_found() -> None:
    assert given_keys(None) is None


def test_the_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", TWO.hex())
    keys = given_keys(ONE)

    assert keys is not None
    assert list(keys.peppers.values()) == [ONE]


def test_the_variable_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(written(tmp_path / "pepper", ONE.hex())))
    from_file = given_keys(None)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", TWO.hex())
    from_variable = given_keys(None)

    assert from_file is not None and list(from_file.peppers.values()) == [ONE]
    assert from_variable is not None and list(from_variable.peppers.values()) == [TWO]


@pytest.mark.parametrize(
    "text",
    [
        bytes(range(32)).hex(), bytes(range(32)).hex().upper(), base64.b64encode(bytes(range(32))).decode(),
        base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("="), bytes(range(32)).hex() + "\n",
    ],
)  # fmt: skip
def test_a_pepper_is_read_in_hex_and_base64(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", text)
    from_variable = given_keys(None)
    from_file = read_key_file(written(tmp_path / "pepper", text))

    assert from_variable is not None
    assert list(from_variable.peppers.values()) == [bytes(range(32))] == list(from_file.peppers.values())


@pytest.mark.parametrize("text", ["", "  ", "zz zz", "äöü" * 20, "ab" * 31, "ab" * 33 + "c", "!" * 64])
def test_a_pepper_that_is_none_is_refused_without_being_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", text)
    with pytest.raises(InvalidInput, match="SESSION_TOKENS_PEPPER") as caught:
        given_keys(None)

    assert not text.strip() or text not in str(caught.value)


def test_an_empty_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", "")
    with pytest.raises(InvalidInput, match="is empty"):
        given_keys(None)


def test_a_new_key_file_is_private_and_holds_one_random_pepper(tmp_path: Path) -> None:
    first, second = tmp_path / "a.db.key", tmp_path / "b.db.key"
    before = os.umask(0)
    try:
        assert make_key_file(first) and make_key_file(second)
    finally:
        os.umask(before)
    ((key_id, pepper),) = read_key_file(first).peppers.items()

    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert len(pepper) == 32 and checked_peppers(pepper) == {key_id: pepper}
    assert read_key_file(second).peppers != read_key_file(first).peppers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db.key", "b.db.key"]


def test_the_loser_of_two_makers_keeps_what_the_winner_made(tmp_path: Path) -> None:
    path = tmp_path / "a.db.key"
    assert make_key_file(path)
    winners = read_key_file(path)

    assert not make_key_file(path)
    assert read_key_file(path).peppers == winners.peppers
    assert list(tmp_path.iterdir()) == [path]


def test_bare_lines_are_peppers_the_current_one_first(tmp_path: Path) -> None:
    keys = read_key_file(written(tmp_path / "k", f"{TWO.hex()}\n# the former one\n{base64.b64encode(ONE).decode()}\n"))

    assert list(keys.peppers.values()) == [TWO, ONE]


def test_a_key_file_holds_several_peppers_and_keys_of_other_kinds_in_order(tmp_path: Path) -> None:
    text = (
        "session-tokens-keys 1\n# a remark\n\n"
        f"pepper new {TWO.hex()}\npepper old {ONE.hex()}\ndata d1 {ONE.hex()}\nindex i1 {TWO.hex()}\n"
    )
    keys = read_key_file(written(tmp_path / "k", text))

    assert list(keys.peppers.items()) == [("new", TWO), ("old", ONE)]
    assert (keys.data, keys.index) == ({"d1": ONE}, {"i1": TWO})
    assert ONE.hex() not in repr(keys) and str(ONE) not in repr(keys)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("", "is empty"),
        ("# only a remark\n", "is empty"),
        (b"\xff\xfe\x00", "is not text"),
        ("ab" * 31, "give at least 32"),
        ("session-tokens-keys 1\n", "no pepper"),
        ("session-tokens-keys 1\npepper a 0011\n", "at least 32"),
        ("session-tokens-keys 1\npepper a xyz\n", "not in hex"),
        ("session-tokens-keys 1\nsalt a 0011\n", "is not a kind"),
        ("session-tokens-keys 1\npepper a\n", "is not a kind"),
        (f"session-tokens-keys 1\npepper a {ONE.hex()}\npepper a {ONE.hex()}\n", "twice"),
        (f"session-tokens-keys 2\npepper a {ONE.hex()}\n", "newer format"),
        ("one\ntwo\n", "line 1 has .*one pepper a line"),
        (f"{ONE.hex()}\n???\n", "line 2 is neither hex nor base64.*the current one first"),
        (f"{ONE.hex()}\n{ONE.hex()}\n", "line 2 holds a pepper that stands before it"),
        (f"pepper a {ONE.hex()}\n", "begin with the line session-tokens-keys 1"),
        ("a" * 100_000, "more than"),
    ],
)
def test_a_file_that_is_no_key_file_is_refused_with_the_remedy(
    content: str | bytes, remedy: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "k", content)
    with pytest.raises(InvalidInput, match=remedy) as caught:
        read_key_file(path)

    assert str(path) in str(caught.value)
    assert "ab" * 31 not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_file_that_others_may_open_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="chmod 600"):
        read_key_file(written(tmp_path / "k", ONE.hex(), mode))


def test_a_link_a_folder_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(written(tmp_path / "k", ONE.hex()))
    os.mkfifo(pipe, 0o600)

    for path, remedy in [(link, "symbolic link"), (tmp_path, "is a folder"), (pipe, "not a regular file"),
                         (tmp_path / "no", "there is no key file")]:  # fmt: skip
        with pytest.raises(InvalidInput, match=remedy):
            read_key_file(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "k", ONE.hex())
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        with pytest.raises(InvalidInput, match="belongs to user 12345"):
            read_key_file(path)
    else:
        assert path.stat().st_uid == os.geteuid()
        assert read_key_file(path).peppers


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root and become another user")
@pytest.mark.process
def test_a_credential_of_systemd_may_be_roots(tmp_path: Path) -> None:
    """As systemd 257 leaves it: root's, with an entry for the unit's user that shows in the bits of the group."""
    credentials, elsewhere = (tmp_path / name for name in ("credentials", "elsewhere"))
    for folder in (credentials, elsewhere):
        folder.mkdir()
    for path, mode in ((credentials / "k", 0o440), (elsewhere / "k", 0o440), (credentials / "open", 0o444)):
        os.chown(written(path, ONE.hex(), mode), 0, STRANGER)
    program = (
        "import sys\nfrom pathlib import Path\nfrom session_tokens.crypto.key_file import read_key_file\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(len(read_key_file(Path(name)).peppers))\n"
        "    except Exception as error: print(error)"
    )
    names = [str(path) for path in (credentials / "k", elsewhere / "k", credentials / "open")]
    asked = subprocess.run(
        [
            # It may look into the folders of the tests, which are root's alone; whose a file is, stays what it is.
            "setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search", sys.executable, "-c", program, *names,
        ],
        env={**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    read, refused, opened = asked.stdout.splitlines()

    assert "1" == read, asked.stderr
    assert "belongs to user 0" in refused and "belongs to user 0" in opened


def test_the_key_file_stands_beside_the_database() -> None:
    assert key_file_of(Path("var") / "sessions.db") == Path("var") / "sessions.db.key"


@pytest.mark.parametrize("size", [0, 100])
def test_a_key_file_without_room_is_whole_or_as_it_was(tmp_path: Path, size: int) -> None:
    """What is written in part is no key file: in the place of another one it would lose every key of that."""
    path = tmp_path / "store.key"
    with full_at(size), pytest.raises(StoreUnavailable, match="make room"):
        make_key_file(path)
    assert [] == list(tmp_path.iterdir())

    make_key_file(path)
    keys, text = read_key_file(path), path.read_text()
    with full_at(size), pytest.raises(StoreUnavailable, match="make room"):
        replace_key_file(path, replace(keys, peppers={**keys.peppers, "second": bytes(32)}))
    assert ([path], text) == (list(tmp_path.iterdir()), path.read_text())
