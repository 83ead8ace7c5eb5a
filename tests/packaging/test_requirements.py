"""The requirement files pin everything with hashes, hold no address, and are what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.project import ROOT

FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<condition>.+?))?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


def entries(path: Path) -> list[str]:
    """Read a requirement file, one entry a line however it was folded."""
    return re.sub(r"\s*\\\n\s*", " ", path.read_text()).strip().splitlines()


def pinned(path: Path) -> dict[str, set[str]]:
    """Map each package to its versions: more than one where Pythons differ."""
    versions: dict[str, set[str]] = {}
    for entry in entries(path):
        match = PIN.fullmatch(entry)
        assert match is not None, f"{path.name}: not a pinned and hashed requirement: {entry[:80]}"
        versions.setdefault(match["name"], set()).add(match["version"])
    return versions


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed_and_nothing_else_is_said(path: Path) -> None:
    assert len(pinned(path)) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_requirement_file_holds_an_address(path: Path) -> None:
    assert [] == [line for line in path.read_text().splitlines() if "://" in line or "index" in line or "@" in line]


def test_the_service_runs_on_the_versions_that_the_tests_use() -> None:
    run, dev = pinned(ROOT / "requirements" / "run.txt"), pinned(ROOT / "requirements" / "dev.txt")

    assert run == {name: dev.get(name, set()) for name in run}


def test_every_extra_is_pinned_at_a_version_that_it_accepts() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)
    asked = [line for lines in settings["project"]["optional-dependencies"].values() for line in lines]
    asked += [line for group in settings["dependency-groups"].values() for line in group if isinstance(line, str)]
    dev = pinned(ROOT / "requirements" / "dev.txt")
    requirements = [Requirement(line) for line in asked]

    unmet = [
        str(requirement)
        for requirement in requirements
        if not dev.get(canonicalize_name(requirement.name))
        or not all(requirement.specifier.contains(version) for version in dev[canonicalize_name(requirement.name)])
    ]
    assert unmet == [], "run `make lock`"
