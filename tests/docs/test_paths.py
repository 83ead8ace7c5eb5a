"""What the pages name is there: files, folders, modules, commands of make, and the pages that they lead to."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.helpers.project import ROOT, tracked_files

PACKAGE = ROOT / "src" / "session_tokens"
PAGES = [
    page for page in tracked_files(".md")
    if page.relative_to(ROOT).parts[0] in ("docs", "README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy", "examples")
]  # fmt: skip
# A decision says what was decided on its day; what it names may have been renamed since.
TODAY = [page for page in PAGES if "decisions" not in page.parts]
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
IN_THE_PROJECT = tuple(
    f"{folder}/" for folder in "src tests tools docs deploy examples benchmarks requirements changelog.d".split()
)
IN_THE_PACKAGE = tuple(f"{folder.name}/" for folder in PACKAGE.iterdir() if folder.is_dir())
FILES = {path.name for path in tracked_files()}
NO_MODULES = {"session_tokens.alerts"}
"""The name of a logger; Django's checks have names such as `session_tokens.W002`."""


def paths_in(text: str) -> Iterator[Path]:
    """Find what is written as a path of the project, or of a folder in the package."""
    for quoted in QUOTED.findall(CODE.sub("", text)):
        word = quoted.partition("::")[0].rstrip("/")
        if re.search(r"[\s*<>{}…$=]", quoted):
            continue
        if quoted.startswith(IN_THE_PROJECT):
            yield ROOT / word
        elif quoted.startswith(IN_THE_PACKAGE):
            yield PACKAGE / word


def names_of_files_in(text: str) -> Iterator[str]:
    """Find what is written as the name of a source file without its folder."""
    for quoted in QUOTED.findall(CODE.sub("", text)):
        if re.fullmatch(r"\w+\.(py|sql|lua)", quoted):
            yield quoted


def modules_in(text: str) -> Iterator[str]:
    """Find what is written as a module of the package, or as something in one."""
    for quoted in QUOTED.findall(CODE.sub("", text)):
        found = re.match(r"session_tokens(\.\w+)+", quoted)
        if found is not None and found[0] not in NO_MODULES and not re.search(r"\.[EW]\d+$", found[0]):
            yield found[0]


def can_be_had(name: str) -> bool:
    """Tell whether a dotted name is a module, or stands in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        except ImproperlyConfigured:  # a module for a configured site: its file is there
            return length == len(parts)
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        return thing is not None
    return False


@pytest.mark.parametrize("page", TODAY, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_modules_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()

    assert [] == sorted({str(path.relative_to(ROOT)) for path in paths_in(text) if not path.exists()})
    assert [] == sorted({name for name in names_of_files_in(text) if name not in FILES})
    assert [] == sorted({name for name in modules_in(text) if not can_be_had(name)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_leads_to_pages_that_are_there(page: Path) -> None:
    assert [] == [link for link in LINK.findall(CODE.sub("", page.read_text())) if not (page.parent / link).exists()]


def test_commands_of_make_that_the_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        found[1] for page in TODAY for quoted in QUOTED.findall(page.read_text())
        if (found := re.match(r"make (?:[A-Z]+=\S+ )*([a-z-]+)", quoted))
    }  # fmt: skip

    assert {"setup", "test", "run"} <= named
    assert set() == named - targets


def test_a_path_that_is_not_there_is_found() -> None:
    text = "See `tests/model/nothing.py`, `rules/nothing.py` and `session_tokens.nothing.at_all`."

    assert [ROOT / "tests/model/nothing.py", PACKAGE / "rules/nothing.py"] == list(paths_in(text))
    assert [False] == [can_be_had(name) for name in modules_in(text)]
    assert can_be_had("session_tokens.web.cookies") and not can_be_had("session_tokens.SessionTokens.nothing")
