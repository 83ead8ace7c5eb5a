"""Tests stand where what they test stands, and share what they need through helpers, never through each other."""

import ast

import pytest

from tests.helpers.project import ROOT, parsed, statements, tracked_files

SOURCE = ROOT / "src" / "session_tokens"
OF_THE_WHOLE = set(
    "api benchmarks crash deploy docs examples helpers interop model packaging races suites typing".split()
)
"""Folders of tests that stand for no folder of the package: they look at the library, or the project, as a whole."""


def imports_of(text: str) -> set[str]:
    """Find the modules that a text of Python imports, relative ones with their dots."""
    found = set()
    for node in statements(parsed(text).body):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
            found |= {f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names}
    return found


def leans_on_a_test(module: str) -> bool:
    """Tell whether a module is a test file or a conftest."""
    last = module.rpartition(".")[2]
    return module.startswith((".", "tests.")) and (last == "conftest" or last.startswith("test_"))


@pytest.mark.parametrize(
    "text",
    ["from tests.api.test_twins import script", "from tests.cli import conftest", "from .test_twins import script"],
)
def test_an_import_of_a_test_file_is_seen(text: str) -> None:
    assert any(map(leans_on_a_test, imports_of(text)))


def test_no_file_imports_a_test_file_or_a_conftest() -> None:
    files = [path for top in ("tests", "benchmarks", "tools", "examples") for path in tracked_files(".py", under=top)]
    leaning = {
        str(path.relative_to(ROOT)): sorted(filter(leans_on_a_test, imports_of(path.read_text()))) for path in files
    }

    assert len(files) > 100
    assert {} == {name: modules for name, modules in leaning.items() if modules}


def test_each_folder_of_tests_stands_for_a_folder_of_the_package() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in tracked_files(".py", under="tests")}
    of_parts = {folder for folder in folders if folder.parts and folder.parts[0] not in OF_THE_WHOLE}

    assert len(of_parts) > 10
    assert [] == sorted(str(folder) for folder in of_parts if not (SOURCE / folder).is_dir())
