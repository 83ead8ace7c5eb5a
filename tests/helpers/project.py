"""What the tests of the house share: where it stands, which files belong to it, and a copy to break things in."""

import ast
import gc
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


def tracked_files(*suffixes: str, under: str = "") -> list[Path]:
    """List the files of the project, those not yet committed too, and none that are ignored.

    Args:
        suffixes: Only files that end so; none given means all.
        under: Only files in this folder.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", under or "."]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def parsed(text: str) -> ast.Module:
    """Parse a text of Python; no garbage is looked for meanwhile, which took most of the time and finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if was_enabled:
            gc.enable()


def statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield each statement and those within it, without the expressions, which are ten times as many nodes.

    Args:
        body: statements, such as the body of a module; handlers and cases are yielded as they are.
    """
    for node in body:
        yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            inner = getattr(node, name, ())
            if isinstance(inner, list):
                yield from statements(inner)


def copy_of_source(folder: Path) -> Path:
    """Copy what the checks of the source read, so that a test may break it."""
    shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_in(folder: Path, *command: str, bare: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a Python command line on the source of a folder.

    Args:
        bare: Without any installed package, as after an installation without extras.
    """
    arguments = [sys.executable, *(["-S"] if bare else []), *command]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
