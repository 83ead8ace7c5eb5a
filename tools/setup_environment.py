"""Make .venv and bring it up to date, so that one command is enough after a clone.

Installs exactly what a hashed requirement file lists, then this package itself, editable.
Nothing is done when nothing changed: each finished step leaves a stamp in .venv with the digest of what it installed.
Runs on the standard library alone, with the Python that the environment shall have.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
# A later file holds everything of the earlier ones, in the same versions.
REQUIREMENT_FILES = {"run": ROOT / "requirements" / "run.txt", "dev": ROOT / "requirements" / "dev.txt"}
INCLUDED_IN = {"run": ["run", "dev"], "dev": ["dev"]}


def digest_of(*paths: Path) -> str:
    """Digest the contents of files together with the Python they are installed for."""
    digest = hashlib.sha256(f"{sys.version} {platform.machine()} {ROOT}".encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp_path(step: str) -> Path:
    """Name the file that says a step is done."""
    return ENVIRONMENT / f"installed-{step}.stamp"


def is_done(step: str, digest: str) -> bool:
    """Tell whether a step was finished with exactly these inputs."""
    path = stamp_path(step)
    return path.is_file() and path.read_text() == digest


def pip(*arguments: str) -> None:
    """Run the environment's pip, heard only when it fails; then stop with its exit code."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    # A user-wide install option would make pip refuse to work inside an environment.
    environment = {**os.environ, "PIP_USER": "0"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(
            f"{result.stdout}{result.stderr}\n"
            f"setup: this command failed: {' '.join(command)}\n"
            "setup: its own words stand above. If a package could not be fetched, check the network and pip's\n"
            "setup: settings (`pip config list`) and run `make setup` again; it goes on where it stopped.",
            file=sys.stderr,
        )
        raise SystemExit(result.returncode)


def make_environment() -> None:
    """Create .venv, or make it anew when it is broken or belongs to another Python or folder."""
    digest = digest_of()
    if is_done("python", digest) and PYTHON.exists():
        return
    if ENVIRONMENT.exists() and not stamp_path("python").exists():
        raise SystemExit("setup: .venv is there and was not made by `make setup`: move it away, then run this again")
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    ENVIRONMENT.mkdir()
    stamp_path("python").write_text("unfinished")
    print(f"setup: making .venv with Python {platform.python_version()}", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
    stamp_path("python").write_text(digest)


def install_requirements(kind: str) -> None:
    """Install one requirement file, every package checked against its hash."""
    for including in INCLUDED_IN[kind]:
        if is_done(including, digest_of(REQUIREMENT_FILES[including])):
            return
    path = REQUIREMENT_FILES[kind]
    print(f"setup: installing {path.relative_to(ROOT)} (a minute or two the first time)", flush=True)
    pip("install", "--require-hashes", "--no-deps", "-r", str(path))
    stamp_path(kind).write_text(digest_of(path))


def install_package() -> None:
    """Install session-tokens itself so that edits in src/ take effect at once."""
    digest = digest_of(ROOT / "pyproject.toml")
    if is_done("package", digest):
        return
    pip("install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
    stamp_path("package").write_text(digest)


def main() -> None:
    """Bring .venv to what the command line asks for, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "kind", choices=sorted(REQUIREMENT_FILES), help="run: the service; dev: the service and every tool"
    )
    kind = parser.parse_args().kind
    began = time.monotonic()
    with (ROOT / "pyproject.toml").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_environment()
        install_requirements(kind)
        install_package()
    if time.monotonic() - began > 1:
        print(f"setup: .venv is ready ({kind}), {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
