"""Every Python block of the README and the docs runs, page by page, top to bottom."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.code_blocks import BLOCK, PAGES

ROOT = Path(__file__).parents[2]


def test_the_pages_with_python_are_found() -> None:
    assert {"README.md", "seed.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.process
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """One process a page, so that nothing leaks from one to the next."""
    program = "\n".join(match.group(1) for match in BLOCK.finditer(page.read_text()))

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert run.returncode == 0, run.stderr
