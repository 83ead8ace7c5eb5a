"""An example that was copied as examples/README.md says runs where it is."""

from __future__ import annotations

from pathlib import Path
from shutil import copy, copytree

import pytest

from tests.helpers.running_example import ROOT, RunningSite

pytestmark = pytest.mark.server


@pytest.mark.parametrize("name", ["fastapi_tickets", "django_allauth", "flask_devices"])
def test_a_copy_with_the_style_in_its_templates_runs(name: str, tmp_path: Path) -> None:
    copytree(ROOT / "examples" / name, tmp_path / name)
    copy(ROOT / "examples" / "shared" / "style.css", tmp_path / name / "templates")
    with RunningSite(name, tmp_path, examples=tmp_path) as site, site.browser("Phone") as phone:
        page = phone.get("/")

        assert page.status_code == 200 and "color-scheme" in page.text
