"""The list of Debian packages and the markers of pytest name the same things."""

import tomllib

from tests.helpers.project import ROOT
from tools.system_packages import SystemPackage, listed_packages


def test_every_package_has_a_marker_that_pytest_knows_and_no_marker_is_left_over() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        markers = tomllib.load(file)["tool"]["pytest"]["ini_options"]["markers"]
    known = {marker.partition(":")[0] for marker in markers if marker.startswith("needs_")}

    assert known == {package.marker for package in listed_packages()}


def test_a_package_is_present_when_its_program_or_its_path_is_there() -> None:
    assert SystemPackage("a-shell", "sh", "needs_shell", "nothing").is_present
    assert SystemPackage("a-folder", str(ROOT), "needs_folder", "nothing").is_present


def test_a_package_is_missing_when_neither_is_there() -> None:
    assert not SystemPackage("no-program", "no-such-program-anywhere", "needs_it", "nothing").is_present
    assert not SystemPackage("no-folder", str(ROOT / "no-such-folder"), "needs_it", "nothing").is_present
