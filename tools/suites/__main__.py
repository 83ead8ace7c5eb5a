"""Run every suite, or those that are named: ``python -m tools.suites [--keep FOLDER] [NAME …]``.

Everything is fetched into a temporary folder, or into one that is kept and used again. A checkout that was put into the
latter by hand, as ``litestar/litestar-2.24.0``, takes the place of a repository that cannot be reached.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from . import django
from .listed import SUITES
from .running import Run, SuiteMissing, run_pytest


def main(arguments: list[str] | None = None) -> int:
    """Run them, say what each came to, and return how many did not pass or could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tools.suites", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(_suites())}")
    parser.add_argument("--keep", type=Path, help="a folder for what is fetched, which is used again")
    wanted = parser.parse_args(arguments)
    suites = _suites()
    if unknown := set(wanted.names) - suites.keys():
        parser.error(f"no suite is called {', '.join(sorted(unknown))}")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="suites-") as temporary:
        for name in wanted.names or suites:
            place = (wanted.keep or Path(temporary)) / name
            try:
                for run in suites[name](place.resolve()):
                    _show(run)
                    wrong += bool(run.faults)
            except SuiteMissing as missing:
                print(f"suites: {name} cannot be had: {missing}", flush=True)
                wrong += 1
    return wrong


def _suites() -> dict[str, Callable[[Path], Iterable[Run]]]:
    """Return name → what runs it in a folder."""
    found: dict[str, Callable[[Path], Iterable[Run]]] = {
        "django-supported": lambda place: django.run_django(place, django.SUPPORTED, sys.executable),
        "django-latest": lambda place: django.run_django(place, django.LATEST, _newer_python()),
        "allauth": django.run_allauth,
    }
    return found | {suite.project.lower(): partial(run_pytest, suite) for suite in SUITES}


def _show(run: Run) -> None:
    passed = run.tests - len(run.failed)
    print(f"suites: {run.name}: {passed} of {run.tests} tests passed, with {run.opened} sessions of ours", flush=True)
    for fault in run.faults:
        print(f"suites:   {fault}")
    for name, reason in run.cannot.items():
        print(f"suites:   cannot pass: {name} ({reason})")


def _newer_python() -> str:
    """Return a Python that is new enough for the newest Django: on the path, or of pyenv."""
    for minor in ("3.13", "3.12"):
        folders = sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin"))
        for candidate in (shutil.which(f"python{minor}"), *(str(folder / "python") for folder in folders)):
            if candidate and subprocess.run([candidate, "-c", ""], check=False, capture_output=True).returncode == 0:
                return candidate
    raise SuiteMissing("it wants Python 3.12 or newer")


if __name__ == "__main__":
    sys.exit(min(main(), 99))
