"""The words that readers stumble over stay out of what they read first: docstrings say what is returned or raised."""

from __future__ import annotations

import ast
import re

import pytest

from tests.helpers.project import ROOT, parsed, statements, tracked_files

STUMBLED_OVER = re.compile(
    r"^Answers? (the|an?|what|how|whether)\b|\b(brought along|believes?|believed|looked at|couriers?)\b"
)


def docstrings_in(text: str) -> list[str]:
    """Find the docstrings of a file, and the texts under its constants and attributes."""
    return [
        node.value.value
        for node in statements(parsed(text).body)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


@pytest.mark.parametrize("said", ["Answer the session.", "Take what is believed.", "What was looked at."])
def test_such_words_are_found(said: str) -> None:
    text = f'def act():\n    """{said}"""\n'

    assert any(map(STUMBLED_OVER.search, docstrings_in(text)))


def test_docstrings_of_the_package_say_it_plainly() -> None:
    files = tracked_files(".py", under="src")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for text in docstrings_in(path.read_text())
        if (match := STUMBLED_OVER.search(text))
    ]

    assert len(files) > 100
    assert [] == found
