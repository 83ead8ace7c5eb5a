"""The page for type checkers leaves no public call out, and a checker that sees a wrong one says so."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, AsyncTokenTables, SessionTokens, TokenTables

pytestmark = pytest.mark.process

PAGE = Path(__file__).with_name("api.py")
FUNCTIONS = [
    (("call_all", "pass_on", "operate"), SessionTokens),
    (("call_all_for_asyncio", "pass_on_for_asyncio", "operate_for_asyncio"), AsyncSessionTokens),
    (("call_all_of_the_seeds_names",), TokenTables),
    (("call_all_of_the_seeds_names_for_asyncio",), AsyncTokenTables),
]


@pytest.mark.parametrize(("functions", "api"), FUNCTIONS)
def test_every_public_call_appears(functions: tuple[str, ...], api: type) -> None:
    nodes = {node.name: node for node in ast.parse(PAGE.read_text()).body if hasattr(node, "name")}
    called = {
        node.func.attr
        for function in functions
        for node in ast.walk(nodes[function])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    public = {name for name, member in inspect.getmembers(api) if not name.startswith("_") and callable(member)}

    assert set() == public - called - {"open"}


def test_a_wrong_use_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from session_tokens import SessionTokens\n"
        "st = SessionTokens.open()\n"
        "st.open_session(5)\n"
        "st.verify_session('x').owner\n"
        "st.transfer_token('x', 'ann', 'bob')\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", str(wrong)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert 1 == found.returncode, found.stdout + found.stderr
    assert {"3", "4", "5"} == set(re.findall(r"wrong\.py:(\d+): error", found.stdout))
