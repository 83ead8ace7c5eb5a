"""A bare installation works: the wheel holds all it needs, and the core asks for nothing beyond Python."""

import ast
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, SOURCE, run_in, tracked_files

pytestmark = pytest.mark.process

USE_A_STORE = """
import sys
from session_tokens import SessionTokens
with SessionTokens.open({url!r}, sweep=False) as tokens:
    issued = tokens.open_session("alice")
    assert tokens.verify_session(issued.secret).owner == "alice"
foreign = sorted(
    name for name in sys.modules
    if "." not in name and name not in sys.stdlib_module_names and name not in ("session_tokens", "__main__")
)
print(foreign)
"""
OPTIONAL = {"cryptography", "msgspec", "psycopg", "redis", "rich", "shtab", "starlette", "uvicorn", "valkey"}
START_COMMAND_LINE = """
import sys
from session_tokens.cli.main import main
sys.argv = ["session-tokens", "--help"]
sys.exit(main())
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as a release would."""
    folder = tmp_path_factory.mktemp("wheel")
    result = run_in(ROOT, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel where nothing else is, with the folder name that `run_in` looks into."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "src")
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {str(path.relative_to(SOURCE)) for path in tracked_files() if path.is_relative_to(SOURCE)}

    assert expected == names


def test_the_wheel_says_that_it_is_typed_and_under_which_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert "session_tokens/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///bare.db"])
def test_the_core_works_with_nothing_but_python(installed: Path, url: str) -> None:
    result = run_in(installed, "-c", USE_A_STORE.format(url=url), bare=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_the_command_line_starts_with_nothing_but_python(installed: Path) -> None:
    result = run_in(installed, "-c", START_COMMAND_LINE, bare=True)

    assert result.returncode == 0, result.stderr
    assert "usage: session-tokens" in result.stdout


ASK_FOR_WHAT_IS_NOT_INSTALLED = """
import os
os.environ["SESSION_TOKENS_PEPPER"] = "ab" * 32
from session_tokens import InvalidInput, SessionTokens
def connect(url):
    return SessionTokens.connect(url, key="stk_" + "0" * 51)
for make, what in (
    (connect, "http://127.0.0.1:1"), (SessionTokens.open, "postgresql://127.0.0.1:1/x"),
    (SessionTokens.open, "mysql://u@127.0.0.1:1/x"), (SessionTokens.open, "valkey://127.0.0.1:1"),
):
    try:
        make(what)
    except InvalidInput as error:
        print(str(error).partition("pip install ")[2].partition("]")[0])
"""


def test_what_needs_an_extra_names_it(installed: Path) -> None:
    result = run_in(installed, "-c", ASK_FOR_WHAT_IS_NOT_INSTALLED, bare=True)

    assert result.returncode == 0, result.stderr
    assert ["client", "postgres", "mysql", "valkey"] == [each.partition("[")[2] for each in result.stdout.split()]


@pytest.mark.parametrize("url", ["memory://", "sqlite:///full.db"])
def test_the_core_loads_no_optional_package_even_where_it_is_installed(tmp_path: Path, url: str) -> None:
    (tmp_path / "src").symlink_to(SOURCE)

    result = run_in(tmp_path, "-c", USE_A_STORE.format(url=url))

    assert result.returncode == 0, result.stderr
    assert OPTIONAL.isdisjoint(ast.literal_eval(result.stdout))


def test_this_python_is_one_that_the_package_accepts() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]

    assert f"Programming Language :: Python :: 3.{sys.version_info.minor}" in project["classifiers"]
