"""Each optional package is imported in its own corner, and the core imports the standard library only."""

import ast
import sys

from tests.helpers.project import SOURCE, parsed, statements

PACKAGE = SOURCE / "session_tokens"
# Which corner (the beginning of a path) may import what.
CORNERS = {
    "stores/valkey": {"valkey", "libvalkey", "redis", "msgspec"},
    "stores/postgres": {"psycopg"},
    "stores/mysql": {"pymysql", "asyncmy"},
    "stores/seal": {"cryptography"},
    "web/fastapi": {"fastapi", "pydantic"},
    "web/flask": {"flask", "werkzeug", "click", "flask_login"},
    "web/quart": {"flask", "quart", "werkzeug"},
    "web/litestar": {"litestar"},
    "web/aiohttp": {"aiohttp", "aiohttp_session"},
    "web/moving_in": {"flask", "cryptography", "psycopg"},
    "web/django": {"django", "asgiref", "rest_framework"},
    "service/": {"starlette", "msgspec", "uvicorn", "anyio", "prometheus_client"},
    "webhooks/": {"httpx"},
    "client/": {"httpx2"},
    "metrics/": {"prometheus_client"},
    "cli/": {"rich", "shtab", "uvicorn"},
    "testing/": {"pytest", "hypothesis"},
    "compiler_hints": {"mypy_extensions"},  # for type checkers alone
}


def foreign_imports(text: str) -> set[str]:
    """Name the packages outside the standard library and this one that a module imports, wherever it does so."""
    absolute = [
        name
        for node in statements(parsed(text).body)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    ]
    return {name.partition(".")[0] for name in absolute} - sys.stdlib_module_names - {"session_tokens"}


def test_an_optional_package_is_imported_in_its_own_corner_only() -> None:
    strangers = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        allowed = set().union(*(packages for corner, packages in CORNERS.items() if name.startswith(corner)))
        strangers[name] = foreign_imports(path.read_text(encoding="utf-8")) - allowed

    assert {} == {name: packages for name, packages in strangers.items() if packages}


def test_an_import_inside_a_function_is_seen_too() -> None:
    text = "import json\nfrom .errors import Refused\ndef late():\n    from cryptography.hazmat import primitives\n"

    assert {"cryptography"} == foreign_imports(text)
