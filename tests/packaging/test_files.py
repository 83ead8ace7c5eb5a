"""Files are short, begin by saying why they exist, and name no place that only one machine or registry has."""

import ast
import re
import tomllib

from tests.helpers.project import ROOT, parsed, statements, tracked_files

LINES_PER_FILE = 500
LINES_PER_FUNCTION = 70
VENDORED = "static"
A_FOLDER_OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users)/\S+")
# Spelled in pieces: this file is read by its own test.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"), ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"), ("proxy", "golang", "org"), ("index", "crates", "io"), ("docker", "io/library"),
    ]
]  # fmt: skip
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pylock.toml"}


def written_by_hand(*suffixes: str) -> dict[str, str]:
    """Map the names of the files that people read and change to their text."""
    paths = [path for path in tracked_files(*suffixes) if VENDORED not in path.parts]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_a_file_has_at_most_500_lines() -> None:
    lengths = {name: len(text.splitlines()) for name, text in written_by_hand(".py", ".sql", ".lua", ".css").items()}

    assert {} == {name: lines for name, lines in lengths.items() if lines > LINES_PER_FILE}


def test_a_python_file_begins_by_saying_why_it_exists() -> None:
    assert [] == [name for name, text in written_by_hand(".py").items() if not ast.get_docstring(parsed(text))]


def test_a_function_fits_a_screen() -> None:
    lengths = {
        f"{name}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for name, text in written_by_hand(".py").items()
        for node in statements(parsed(text).body)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {} == {function: lines for function, lines in lengths.items() if lines > LINES_PER_FUNCTION}


def test_no_file_names_the_address_of_a_registry() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_bytes() for path in tracked_files()}

    assert [] == [(name, host) for name, text in texts.items() for host in REGISTRY_HOSTS if host.encode() in text]


def test_there_is_no_lock_file_that_would_hold_addresses() -> None:
    assert set() == {path.name for path in tracked_files()} & LOCK_FILES


def test_no_settings_file_names_a_folder_of_one_machine() -> None:
    settings = written_by_hand(".cfg", ".toml", ".yml", ".yaml", ".json", ".in")

    assert {} == {name: found for name, text in settings.items() if (found := A_FOLDER_OF_ONE_MACHINE.findall(text))}


def test_pyproject_asks_for_nothing_at_run_time() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]

    assert project["dependencies"] == []
