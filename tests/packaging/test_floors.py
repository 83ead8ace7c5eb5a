"""Imports go down only, and the check that says so can say no."""

import ast
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, SOURCE, copy_of_source, run_in

pytestmark = pytest.mark.process

LINT_IMPORTS = ("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))")


def test_the_floors_hold() -> None:
    result = run_in(ROOT, *LINT_IMPORTS)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("rules/sessions.py", "import time"),
        ("rules/tokens.py", "from asyncio import sleep"),
        ("rules/expiry.py", "import random"),
        ("errors.py", "import session_tokens.rules"),
        ("contract/transaction.py", "import session_tokens._async.api"),
        ("stores/memory/store.py", "from session_tokens.rules import sessions"),
        ("stores/sqlite/store.py", "import session_tokens._sync.token_tables"),
        ("records/__init__.py", "import msgspec"),
        ("_async/api.py", "def late():\n    import cryptography"),
    ],
)
def test_an_import_that_goes_up_or_out_is_found(tmp_path: Path, module: str, line: str) -> None:
    path = copy_of_source(tmp_path) / "src" / "session_tokens" / module
    path.write_text(f"{path.read_text()}\n{line}\n")

    result = run_in(tmp_path, *LINT_IMPORTS)

    assert result.returncode == 1
    assert "broken" in result.stdout.lower()


def test_a_rule_may_hand_a_clock_on_but_never_asks_it() -> None:
    asked = [
        f"{path.name}:{node.lineno}"
        for path in sorted((SOURCE / "session_tokens" / "rules").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "now"
    ]

    assert [] == asked
