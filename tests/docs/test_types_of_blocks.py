"""Every Python block of the README and the docs passes a strict type checker, page by page."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.code_blocks import BLOCK, PAGES
from tests.helpers.project import ROOT

pytestmark = pytest.mark.process


@pytest.mark.proof
def test_python_blocks_are_well_typed(tmp_path: Path) -> None:
    names = []
    for page in PAGES:
        module = tmp_path / (page.relative_to(ROOT).as_posix().replace("/", "_").replace("-", "_")[:-3] + ".py")
        module.write_text("\n".join(match.group(1) for match in BLOCK.finditer(page.read_text())))
        names.append(str(module))
    words = ["mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", *names]
    run = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert run.returncode == 0, run.stdout + run.stderr
