"""Packages of npm for tests, installed once in a folder under ``var/`` for each set of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.project import ROOT

HERE = ROOT / "var" / "interop"


def node(name: str = "node") -> str:
    """Return the program, or skip where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install nodejs npm")
    return found


def run(*command: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; what it says is shown when it fails."""
    result = subprocess.run(
        command, cwd=cwd, env=None if environment is None else dict(environment), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def packages(**wanted: str) -> Path:
    """Return a folder in whose ``node_modules`` these packages are, in these versions (``/`` is written ``__``)."""
    versions = {name.replace("__", "/"): version for name, version in sorted(wanted.items())}
    folder = HERE / ("npm-" + hashlib.sha256(json.dumps(versions).encode()).hexdigest()[:12])
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)  # one that was broken off is not made whole by another
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"type": "module", "dependencies": versions}))
        run(node("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=folder)
        (folder / "done").touch()
    return folder
