"""Tests and tools close the SQLite connections that they open: from 3.13 on, Python warns of each that is forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.helpers.project import ROOT, parsed, tracked_files

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_connect(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "sqlite3.connect"


def opened_by(function: Function) -> Iterator[str]:
    """Yield the name under which each connection is opened that no ``closing`` surrounds; empty for none."""
    closed = {
        id(node.args[0])
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("closing") and node.args
    }
    named: dict[int, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            named[id(node.value)] = ast.unparse(node.targets[0])
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            named[id(node.context_expr)] = ast.unparse(node.optional_vars)
        elif isinstance(node, ast.Return) and node.value is not None:
            closed.add(id(node.value))  # by who calls it
    for node in ast.walk(function):
        if is_connect(node) and id(node) not in closed:
            yield named.get(id(node), "")


def left_open(text: str) -> list[str]:
    """Return the functions of a text of Python that forget a connection of theirs."""
    functions = [node for node in ast.walk(parsed(text)) if isinstance(node, Function)]
    forgetting = []
    for function in functions:
        calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
        if any(f"{name}.close" not in calls for name in opened_by(function)):
            forgetting.append(function.name)
    return forgetting


@pytest.mark.parametrize(
    ("body", "forgets"),
    [
        ("with sqlite3.connect(path) as connection: connection.execute('')", True),  # that ends a transaction alone
        ("connection = sqlite3.connect(path)", True),
        ("return sqlite3.connect(path).execute('').fetchall()", True),
        ("with closing(sqlite3.connect(path)) as connection, connection: pass", False),
        ("connection = sqlite3.connect(path); connection.close()", False),
        ("return sqlite3.connect(path)", False),
    ],
)
def test_a_connection_that_is_forgotten_is_seen(body: str, forgets: bool) -> None:
    assert forgets is bool(left_open(f"def reads(path):\n    {body}\n"))


def test_no_connection_is_forgotten() -> None:
    files = [path for top in ("tests", "tools") for path in tracked_files(".py", under=top)]
    found = {str(path.relative_to(ROOT)): left_open(path.read_text()) for path in files}

    assert {} == {name: functions for name, functions in found.items() if functions}
