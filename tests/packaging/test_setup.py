"""Setting up finds a Python that works, says what to do where there is none, and removes nothing made by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, copy_of_source, run_in

pytestmark = pytest.mark.process


def find_python(tmp_path: Path, programs: Path, *named: str) -> "subprocess.CompletedProcess[str]":
    """Run the search with no other programs in reach than those of one folder."""
    script = tmp_path / "find_python.sh"
    script.write_text((ROOT / "tools" / "find_python.sh").read_text().replace("/usr/bin/python3", "no-other"))
    shell = shutil.which("sh")
    assert shell is not None
    if not (programs / "cat").exists():
        (programs / "cat").symlink_to(str(shutil.which("cat")))
    return subprocess.run(
        [shell, str(script), *named], env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )


def put_program(programs: Path, name: str, text: str) -> None:
    """Write a small program into a folder."""
    programs.mkdir(exist_ok=True)
    path = programs / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_name_that_leads_nowhere_is_passed_over(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", "echo 'no such version' >&2; exit 127")
    put_program(programs, "python3.12", f'exec "{sys.executable}" "$@"')

    found = find_python(tmp_path, programs)

    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()).samefile(sys.executable)


def as_version(major: int, minor: int) -> str:
    """Text of a program that is this Python but for its version."""
    version = f"sys.version_info = ({major}, {minor}, 2, 'final', 0)"
    return f'[ "$1" = -c ] && exec "{sys.executable}" -c "import sys; {version}\n$2"'


def test_where_no_python_is_suitable_the_message_says_what_to_install(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", "exit 1")

    found = find_python(tmp_path, programs)

    assert found.returncode == 1
    assert "Python 3.11 or later" in found.stderr
    assert "apt-get install python3" in found.stderr


def test_a_python_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", as_version(3, 10))

    found = find_python(tmp_path, programs)
    named = find_python(tmp_path, tmp_path / "programs", str(programs / "python3"))

    assert (found.returncode, named.returncode) == (1, 1)
    assert "python3 is 3.10.2, too old" in found.stderr
    assert f"{programs / 'python3'} is Python 3.10.2: session-tokens needs Python 3.11 or later" in named.stderr


def test_a_newer_python_than_the_tested_ones_is_taken_with_a_warning(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", as_version(3, 15))

    found = find_python(tmp_path, programs)

    assert found.returncode == 0
    assert Path(found.stdout.strip()).samefile(sys.executable)
    assert "Python 3.15.2 is newer than those that session-tokens is tested with" in found.stderr


def test_a_tested_python_is_taken_before_a_newer_one(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", as_version(3, 15))
    put_program(programs, "python3.12", as_version(3, 12))

    found = find_python(tmp_path, programs)

    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("text", ["exit 127", "exit 0", "exit 10"])
def test_what_is_named_and_is_no_python_is_told(tmp_path: Path, text: str) -> None:
    programs = tmp_path / "programs"
    put_program(programs, "python3", text)

    named = find_python(tmp_path, programs, str(programs / "python3"))

    assert named.returncode == 1
    assert "cannot be run as a Python" in named.stderr


def test_an_environment_made_by_hand_is_left_alone(tmp_path: Path) -> None:
    folder = copy_of_source(tmp_path)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    precious = folder / ".venv" / "precious"
    precious.parent.mkdir()
    precious.touch()

    result = run_in(folder, "tools/setup_environment.py", "dev")

    assert result.returncode == 1
    assert "move it away" in result.stderr
    assert precious.exists()
