"""Say which Debian packages the tests need, and install those that are missing when allowed to.

The list is `system_packages.txt` beside this file. As root on a system with apt-get the missing ones are installed;
anyone else is told their names and goes on without them, unless told to insist.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
POLICY = Path("/usr/sbin/policy-rc.d")
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class SystemPackage:
    """One line of the list."""

    name: str
    sign: str
    marker: str
    purpose: str

    @property
    def is_present(self) -> bool:
        """Tell whether its program (or, with a leading slash, its path) is on this machine."""
        if self.sign.startswith("/"):
            return Path(self.sign).exists()
        return shutil.which(self.sign, path=SEARCH_PATH) is not None


def listed_packages() -> list[SystemPackage]:
    """Read the list.

    Returns:
        One entry per line that is neither empty nor a comment, in the order of the file.
    """
    lines = [line.strip() for line in LIST.read_text().splitlines()]
    return [SystemPackage(*line.split(maxsplit=3)) for line in lines if line and not line.startswith("#")]


def missing_packages(marker: str | None = None) -> list[SystemPackage]:
    """Name the packages that are not on this machine, all or only those of one marker."""
    return [package for package in listed_packages() if marker in (None, package.marker) and not package.is_present]


def may_install() -> bool:
    """Tell whether this user can install packages here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_get(*arguments: str) -> bool:
    """Run apt-get without questions; show what it said only when it fails."""
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        print(f"{result.stdout}{result.stderr}system packages: `{' '.join(command)}` failed", file=sys.stderr)
    return result.returncode == 0


def install(packages: list[SystemPackage]) -> bool:
    """Install packages without letting Debian start their services: the tests start their own, on free ports."""
    policy_is_ours = not POLICY.exists()
    if policy_is_ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        # The second is not tried with old lists: they name versions that the mirrors no longer hold.
        return apt_get("update") and apt_get(
            "install", "--no-install-recommends", "--yes", *[package.name for package in packages]
        )
    finally:
        if policy_is_ours:
            POLICY.unlink(missing_ok=True)


def main() -> int:
    """Install what is missing, or name it.

    Returns:
        0 when nothing is missing, or when the missing is only told; 1 when it is missing and wanted.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--insist", action="store_true", help="fail when a package is missing at the end")
    insist = parser.parse_args().insist
    missing = missing_packages()
    if missing and may_install():
        print(f"system packages: installing {', '.join(package.name for package in missing)}", flush=True)
        insist = True
        install(missing)
        missing = missing_packages()
    for package in missing:
        print(f"system packages: {package.name} is missing, for: {package.purpose} ({package.marker})")
    if missing:
        print(f"system packages: as root:  apt-get install {' '.join(package.name for package in missing)}")
    return 1 if missing and insist else 0


if __name__ == "__main__":
    sys.exit(main())
