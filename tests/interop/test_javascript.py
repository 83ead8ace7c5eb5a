"""The JavaScript client: its own tests on Node against a real service, and its types from the packed file alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_tokens.service.table_routes import CALLS
from tests.helpers.npm import node, packages, run
from tests.helpers.project import ROOT
from tests.helpers.running_service import RunningService

pytestmark = [pytest.mark.interop, pytest.mark.server]
CLIENT = ROOT / "clients" / "js"
TSC = [
    "--strict", "--noEmit", "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022",
    "--skipLibCheck", "false", "--types", "node",
]  # fmt: skip


def described() -> dict[str, dict[str, str]]:
    text: dict[str, dict[str, str]] = json.loads((CLIENT / "package.json").read_text())
    return text


@pytest.fixture(scope="module")
def installed() -> Path:
    """The packages that the client is developed with."""
    return packages(**{name.replace("/", "__"): version for name, version in described()["devDependencies"].items()})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("javascript")
    running = RunningService(f"sqlite:///{folder}/s.db", folder / "log")
    yield running
    running.stop()


def test_its_own_tests_pass_against_the_service(service: RunningService, installed: Path, tmp_path: Path) -> None:
    for name in ("src", "test", "package.json"):
        (tmp_path / name).symlink_to(CLIENT / name)
    copy = tmp_path / "client"
    copy.mkdir()
    run("cp", "-r", str(CLIENT / "src"), str(CLIENT / "test"), str(CLIENT / "package.json"), str(copy), cwd=tmp_path)
    (copy / "node_modules").symlink_to(installed / "node_modules")
    environment = {**os.environ, "SERVICE_URL": service.url, "SERVICE_KEY": service.secret}
    tests = [str(path) for path in sorted((copy / "test").glob("*.test.js"))]
    told = run(node(), "--test", *tests, cwd=copy, environment=environment)

    assert re.search(r"^# pass [1-9][0-9]|^ℹ pass [1-9][0-9]", told, re.MULTILINE), told
    assert re.search(r"^# fail 0|^ℹ fail 0", told, re.MULTILINE), told


def test_a_strict_program_compiles_from_the_packed_file_alone(installed: Path, tmp_path: Path) -> None:
    packed = run(node("npm"), "pack", "--silent", "--pack-destination", str(tmp_path), cwd=CLIENT).strip()
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for path in sorted((installed / "node_modules").iterdir()):
        (modules / path.name).symlink_to(path)
    run("tar", "-xzf", packed, cwd=tmp_path)
    (tmp_path / "package").rename(modules / "session-tokens-client")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "user.ts").write_text((CLIENT / "test" / "user.ts").read_text())

    assert "" == run(node(), str(modules / "typescript" / "bin" / "tsc"), *TSC, "user.ts", cwd=tmp_path)


def test_it_needs_nothing_at_run_time_and_packs_no_test() -> None:
    package = described()
    listed = run(node("npm"), "pack", "--dry-run", "--json", cwd=CLIENT)
    files = {each["path"] for each in json.loads(listed)[0]["files"]}

    assert not package.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    assert {"package.json", "README.md", "src/index.js", "src/index.d.ts", "src/schema.d.ts"} <= files
    assert not [name for name in files if "test" in name]


def test_every_name_of_the_tables_is_there_with_its_type() -> None:
    text = (CLIENT / "src" / "tables.js").read_text()
    types = (CLIENT / "src" / "tables.d.ts").read_text()
    listed = set(re.findall(r'"(\w+)"', text[text.index("[") : text.index("]")]))

    assert listed == CALLS
    assert set(re.findall(r"^  (\w+)\(", types, re.MULTILINE)) - {"constructor", "call"} == CALLS
