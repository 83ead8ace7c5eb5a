"""The page for Django runs: its blocks are the files of a project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "django.md"
BLOCK = re.compile(r"^```py\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_project_of_the_page_runs(tmp_path: Path) -> None:
    names = []
    for name, text in BLOCK.findall(PAGE.read_text()):
        names.append(name)
        (tmp_path / name).write_text(text)
    run = subprocess.run(
        [sys.executable, "-W", "error", "try_it.py"],
        cwd=tmp_path,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert names == ["settings.py", "urls.py", "try_it.py"]
    assert run.returncode == 0, run.stderr
    assert "laptop" in run.stdout
    assert "1 ended" in run.stdout
