"""Python packages as they are published, in an environment of their own under ``var/`` for each set of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.helpers.project import ROOT

HERE = ROOT / "var" / "interop"


def python_with(*requirements: str) -> Path:
    """Return the Python of an environment in which these packages are, and this package as it is here."""
    wanted = sorted(requirements)
    name = "py-" + hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = HERE / name
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        ours = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(ROOT)]
        subprocess.run(ours, check=True, stdin=subprocess.DEVNULL)
        (folder / "done").touch()
    return python


def told_by(python: Path, program: str, *arguments: str, **environment: str) -> str:
    """Run a program with such a Python and return what it printed."""
    result = subprocess.run(
        [str(python), "-c", program, *arguments], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
