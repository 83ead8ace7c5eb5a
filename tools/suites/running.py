"""How a suite is fetched and run, and what its run came to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = str(Path(sys.executable).with_name("uv"))
OUTCOME = re.compile(r"^(?P<outcome>PASSED|FAILED|ERROR) \S*?(?P<file>[\w.]+\.py)::(?P<test>[\w:]+)", re.MULTILINE)

WITNESS = """
import atexit
import functools
import os
import pathlib

from session_tokens import AsyncSessionTokens, SessionTokens

opened = [0]


def counted(call):
    @functools.wraps(call)
    def calling(*arguments, **options):
        opened[0] += 1
        return call(*arguments, **options)

    return calling


for kind in (SessionTokens, AsyncSessionTokens):
    kind.log_in = counted(kind.log_in)
atexit.register(lambda: pathlib.Path(os.environ["SUITE_OPENED"]).write_text(str(opened[0])))
"""
"""Begins what puts ours in the place of theirs: it counts the sessions that are opened."""


class SuiteMissing(RuntimeError):
    """A suite cannot be had here; the message says why."""


@dataclass(frozen=True)
class Suite:
    """A suite of pytest tests.

    Attributes:
        name: what it is called here.
        package: the package whose sdist has it, as pip is asked for it.
        needs: what it needs beside.
        plugin: what puts ours in the place of theirs, a module that pytest loads first.
        chosen: the words by which its tests are chosen.
        cannot: ``file.py::test`` → why it cannot pass.
        short: the words by which its short choice is made, for `make test`; none where it has none.
        repository: where its tests are if its sdist has none, and the tag.
        stores: on which it runs.
    """

    name: str
    package: str
    needs: tuple[str, ...]
    plugin: str
    chosen: tuple[str, ...] = ("tests",)
    cannot: Mapping[str, str] = field(default_factory=dict)
    short: tuple[str, ...] = ()
    repository: tuple[str, str] | None = None
    stores: tuple[str, ...] = ("memory",)

    @property
    def project(self) -> str:
        """The name of the package."""
        return _project(self.package)


@dataclass(frozen=True)
class Run:
    """What one run of a suite came to.

    Attributes:
        name: of the suite, its version, and the store.
        tests: how many ran.
        failed: those that failed.
        cannot: those that cannot pass, of those that were to run.
        opened: how many sessions of ours were opened.
        words: the end of what it wrote.
    """

    name: str
    tests: int
    failed: frozenset[str]
    cannot: Mapping[str, str]
    opened: int
    words: str = ""

    @property
    def faults(self) -> list[str]:
        """Return what is wrong with the run, in words; nothing for one that passed."""
        found = [f"{name} failed" for name in sorted(self.failed - self.cannot.keys())]
        found += [
            f"{name} passes, but is named as one that cannot" for name in sorted(self.cannot.keys() - self.failed)
        ]
        if self.tests == 0:
            found.append(f"no test ran: {self.words}")
        if self.opened == 0:
            found.append("no session of ours took part")
        return found


def environment_of(place: Path, python: str, *requirements: str) -> str:
    """Make an environment with some packages, if it is not there; return its Python.

    Raises:
        SuiteMissing: the packages cannot be fetched.
    """
    inside = str(place / "bin" / "python")
    mark = place / "complete"
    if not mark.exists() or mark.read_text() != "\n".join(requirements):
        _asked(UV, "venv", "--quiet", "--clear", "--python", python, str(place))
        _asked(UV, "pip", "install", "--quiet", "--python", inside, *requirements)
        mark.write_text("\n".join(requirements))
    return inside


def sdist_of(place: Path, requirement: str) -> Path:
    """Return the folder of the unpacked sdist of a package, fetched if it is not there.

    Raises:
        SuiteMissing: it cannot be fetched.
    """
    place.mkdir(parents=True, exist_ok=True)
    if not list(place.glob("*.tar.gz")):
        name = _project(requirement)
        words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", name]
        # pip asks whether a package is for its own Python, and the newest of some are not for every one of ours.
        _asked(sys.executable, "-m", "pip", *words, "--ignore-requires-python", "--dest", str(place), requirement)
    (packed,) = place.glob("*.tar.gz")
    folder = place / packed.name.removesuffix(".tar.gz")
    if not folder.exists():
        with tarfile.open(packed) as archive:
            archive.extractall(place, filter="data")
    return folder


def checkout_of(place: Path, repository: tuple[str, str]) -> Path:
    """Return the folder of a tag of a repository, cloned if it is not there.

    Raises:
        SuiteMissing: it cannot be cloned.
    """
    address, tag = repository
    folder = place / f"{address.rpartition('/')[2]}-{tag.removeprefix('v')}"
    if not folder.exists():
        _asked("git", "clone", "--quiet", "--depth", "1", "--branch", tag, address, str(folder))
    return folder


def run_pytest(suite: Suite, place: Path, *, python: str = sys.executable, short: bool = False) -> list[Run]:
    """Run a suite on each of its stores, or its short choice on the first of them."""
    inside = environment_of(place / "environment", python, suite.package, *suite.needs)
    if suite.repository is None:
        folder = sdist_of(place / "sdist", suite.package)
    else:
        folder = checkout_of(place, suite.repository)
    (place / "swapped.py").write_text(WITNESS + suite.plugin)
    return [
        _run_on(suite, place, inside, folder, store, suite.short if short else suite.chosen)
        for store in (suite.stores[:1] if short else suite.stores)
    ]


def _run_on(suite: Suite, place: Path, python: str, folder: Path, store: str, chosen: Sequence[str]) -> Run:
    database = place / "sessions.db"
    for old in place.glob("sessions.db*"):
        old.unlink()
    words = ["-m", "pytest", "-q", "-rpfE", "-W", "ignore", "-p", "swapped", *chosen]
    url = "memory://" if store == "memory" else f"sqlite:///{database}"
    output, opened = run_counted([python, *words], folder, place, url)
    found = {f"{match['file']}::{match['test']}": match["outcome"] for match in OUTCOME.finditer(output)}
    failed = frozenset(name for name, outcome in found.items() if outcome != "PASSED")
    # A test with parameters counts as failed if one of its cases did.
    failed |= {
        f"{match['file']}::{match['test']}" for match in OUTCOME.finditer(output) if match["outcome"] != "PASSED"
    }
    cannot = {name: reason for name, reason in suite.cannot.items() if name in found}
    return Run(f"{folder.name}, {suite.name}, on {store}", len(found), failed, cannot, opened, output[-2000:])


def run_counted(command: Sequence[str], folder: Path, place: Path, store: str, *paths: Path) -> tuple[str, int]:
    """Run a command with our package on its path; return what it wrote, and how many sessions of ours were opened."""
    count = place / "opened"
    count.unlink(missing_ok=True)
    path = os.pathsep.join(map(str, (ROOT / "src", place, *paths)))
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "SUITE_STORE": store, "SUITE_OPENED": str(count)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout, int(count.read_text()) if count.exists() else 0


def _project(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0]


def _asked(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SuiteMissing(f"{' '.join(command)}: {done.stderr[-500:]}")
