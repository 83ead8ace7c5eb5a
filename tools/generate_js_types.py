"""Writes the types of the JavaScript client from the service's OpenAPI document.

Usage: ``python tools/generate_js_types.py`` writes, ``--check`` only says whether what is there is up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "clients" / "js" / "src" / "schema.d.ts"
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def type_of(schema: dict[str, Any]) -> str:
    """Return what a JSON schema is in TypeScript."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(type_of(each) for each in schema[several]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(PLAIN[each] for each in kind)
    if kind == "array":
        within = type_of(schema.get("items", {}))
        return f"({within})[]" if " " in within else f"{within}[]"
    if kind == "object":
        rest = schema.get("additionalProperties", True)
        return f"Record<string, {'unknown' if rest is True else type_of(rest)}>"
    return PLAIN.get(str(kind), "unknown")


def interface_of(name: str, schema: dict[str, Any]) -> str:
    """Return the interface of a component with its descriptions."""
    required = set(schema.get("required", ()))
    lines = []
    if described := schema.get("description"):
        lines.append(f"/** {described.splitlines()[0]} */")
    lines.append(f"export interface {name} {{")
    for field, kind in schema["properties"].items():
        if "description" in kind:
            lines.append(f"  /** {kind['description']} */")
        lines.append(f"  {field}{'' if field in required else '?'}: {type_of(kind)};")
    return "\n".join([*lines, "}"])


def text() -> str:
    """Return the file."""
    from session_tokens.service.openapi import document

    schemas: dict[str, Any] = document("0")["components"]["schemas"]
    interfaces = [interface_of(name, schema) for name, schema in sorted(schemas.items()) if "properties" in schema]
    first = (
        "// Generated from the service's OpenAPI document by tools/generate_js_types.py; change that and run it again."
    )
    return "\n\n".join([first, *interfaces]) + "\n"


def main() -> int:
    """Write the types, or check them."""
    made = text()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(made, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != made:
        print("clients/js/src/schema.d.ts is out of date; run python tools/generate_js_types.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
