"""What the package says is said once: no ten lines of code in a row stand in two places that are written by hand."""

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.helpers.project import SOURCE, parsed, statements

LINES = 10
GENERATED = ("_sync/", "/blocking_", "common/server_store.py")


def test_no_ten_lines_stand_twice() -> None:
    places = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        if not any(part in path.as_posix() for part in GENERATED):
            for line, run in runs(path.read_text()):
                places[run].add(f"{path.relative_to(SOURCE)}:{line}")
    assert [sorted(where) for where in places.values() if len(where) > 1] == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x = 1\n" * 2 + "call(a, b)\n" * LINES, 3),
        ("from a import b\n" * 20, 0),
        ('def f():\n    """What it does.\n\n    More.\n    """\n' + "    # why\n" * 9 + "    return 1\n", 0),
        ("call(\n" + "".join(f"    name_{n}=name_{n},\n" for n in range(12)) + ")\n", 0),
    ],
)
def test_what_counts_as_a_line(text: str, count: int) -> None:
    assert len(list(runs(text))) == count


def runs(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each run of so many lines of code, with the number of its first.

    Imports, docstrings, comments, signatures, and arguments that are passed on under their own names are not counted:
    what several frameworks are given under the same names has to stand in each.
    """
    left_out: set[int] = set()
    for node in statements(parsed(text).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            left_out.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [
        (number, stripped)
        for number, line in enumerate(text.split("\n"), 1)
        if number not in left_out and is_code(stripped := line.strip())
    ]
    for first in range(len(lines) - LINES + 1):
        yield lines[first][0], tuple(line for _, line in lines[first : first + LINES])


def is_code(line: str) -> bool:
    """Whether a line says more than a bracket, a comment, a decorator or ``name=name,``."""
    name, _, value = line.rstrip(",").partition("=")
    return len(line) > 3 and not line.startswith(("#", "@")) and (name != value or not name.isidentifier())
