"""Make .venv-compiled, where the package is installed with a compiled core, and run the tests of the core against it.

The environment holds the compiled wheel alone and borrows every other package from .venv. It is made anew when a source
changed, and used only after each module of the core was seen to be loaded from machine code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tools.build_hook import CORE, PACKAGE, VARIABLE  # noqa: E402  # found from the root

ENVIRONMENT = ROOT / ".venv-compiled"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "compiled.stamp"
TESTS = ["rules", "api", "crypto", "records", "contract", "tables", "stores", "testing", "model", "races", "audit"]
# Compiled methods carry their argument names and docstrings, but no types: the source and type checkers have those.
NOT_FOR_COMPILED = [
    "tests/api/test_twins.py::test_a_call_takes_the_same_arguments_on_both",
    "tests/api/test_twins.py::test_a_call_answers_the_same_on_both_and_is_awaited_on_one",
]
SHOW_LOADED = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


def digest_of_sources() -> str:
    """Digest everything that a compiled wheel is made of, and the Python that it is made for."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    paths = [ROOT / "pyproject.toml", ROOT / "requirements" / "dev.txt", ROOT / "tools" / "build_hook.py"]
    for path in [*paths, *sorted((ROOT / "src").rglob("*.*"))]:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def run(*command: str, **environment: str) -> str:
    """Run a command, heard only when it fails; answer its output."""
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise SystemExit(f"{result.stdout}{result.stderr}compiled core: this command failed: {' '.join(command)}")
    return result.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel with a compiled core as anyone would, with the tools of this environment."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), **{VARIABLE: "1"})
    (wheel,) = folder.glob("*.whl")
    return wheel


def compiled_python() -> Path:
    """Return the Python of an environment whose core is compiled from the sources as they are now.

    Raises:
        SystemExit: it cannot be built, with the words of what failed.
    """
    digest = digest_of_sources()
    if not (STAMP.is_file() and STAMP.read_text() == digest):
        began, before = time.monotonic(), os.times()
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(Path(folder))
            after, size = os.times(), wheel.stat().st_size
            venv.create(ENVIRONMENT, clear=True, with_pip=False, symlinks=True)
            run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(PYTHON), "install",
                "--no-deps", "--no-index", str(wheel))  # fmt: skip
        packages = Path(run(str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        print(
            f"compiled core: built in {time.monotonic() - began:.0f} s ({cpu_s:.0f} s of one core), "
            f"a wheel of {size / 1024:.0f} KiB",
            flush=True,
        )
        check_loaded()
        STAMP.write_text(digest)
    return PYTHON


def check_loaded() -> None:
    """See that each module of the core is loaded from machine code, and that the command line says so."""
    modules = [f"{PACKAGE}.{name.replace('/', '.')}" for name in CORE]
    loaded: dict[str, str] = json.loads(run(str(PYTHON), "-c", SHOW_LOADED, *modules))
    others = [path for path in loaded.values() if not path.endswith(sysconfig.get_config_var("EXT_SUFFIX"))]
    if others or len(loaded) != len(CORE):
        raise SystemExit(f"compiled core: not loaded from machine code: {', '.join(others)}")
    version = run(str(PYTHON), "-m", f"{PACKAGE}.cli.main", "--version").strip()
    if not version.endswith("(compiled core)"):
        raise SystemExit(f"compiled core: --version says {version!r}")


def run_tests(more: Sequence[str]) -> int:
    """Run the tests of the core, on the stores that need no server."""
    check_loaded()
    command = [str(PYTHON), "-m", "pytest", "-n", "2", "-q", "-m", "not server", *more]
    for name in NOT_FOR_COMPILED:
        command += ["--deselect", name]
    return subprocess.run([*command, *(f"tests/{name}" for name in TESTS)], cwd=ROOT, check=False).returncode


def main() -> int:
    """Build what is not built yet, and run the tests unless only the building was asked for.

    Returns:
        pytest's exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only-build", action="store_true", help="leave the tests out")
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    compiled_python()
    return 0 if arguments.only_build else run_tests(arguments.tests)


if __name__ == "__main__":
    sys.exit(main())
