"""The types of the JavaScript client are those of the service as it is."""

from tools.generate_js_types import TARGET, interface_of, text, type_of


def test_they_are_up_to_date() -> None:
    assert text() == TARGET.read_text(encoding="utf-8"), "run python tools/generate_js_types.py"


def test_a_schema_becomes_its_type() -> None:
    several = {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "number"}, {"type": "integer"}]}

    assert "string | null | number" == type_of(several)
    assert "(string | null | number)[]" == type_of({"type": "array", "items": several})
    assert "Record<string, unknown>" == type_of({"type": "object"})
    assert "Other" == type_of({"$ref": "#/components/schemas/Other"})
    assert "unknown" == type_of({})
    shape = {"properties": {"a": {"type": "boolean", "description": "Whether."}, "b": {}}, "required": ["b"]}
    assert "export interface X {\n  /** Whether. */\n  a?: boolean;\n  b: unknown;\n}" == interface_of("X", shape)
