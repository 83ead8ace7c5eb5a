"""README leads to every page of the documentation and names every extra, so that nothing has to be guessed."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.helpers.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["how-to", "reference", "explanation"])
def test_every_page_is_linked(kind: str) -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / kind).glob("*.md")}

    assert set() == pages - set(re.findall(r"\]\(([^)#]+)", README))


def test_every_extra_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = README[README.index("The extras are") :].partition("\n")[0]

    assert set(project["optional-dependencies"]) == set(re.findall(r"`([a-z-]+)`", extras))
