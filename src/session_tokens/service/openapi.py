"""OpenAPI 3.1, generated from the same types that decode the requests, and a page of it that needs no script."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ..service_keys.roles import PERMISSIONS
from .calls import Operation
from .framing import FORWARD_AUTH, FORWARD_AUTH_TOKENS
from .problems import TITLES, ProblemBody
from .routes import OPERATIONS
from .shapes import Introspection, NoQuery

REFERENCE = "#/components/schemas/{name}"
PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
KEY_SECURITY: list[dict[str, list[str]]] = [{"basic": []}, {"bearer": []}]
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request again within 24 hours answers its first outcome, its secret too.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "Only if the record still has the version of this ETag; else 412.",
    "schema": {"type": "string", "pattern": '^("[0-9]{1,18}"|\\*)$'},
}

DEMANDS = (
    ("recent", "integer", "How many seconds ago the log-in may have been; else 401 (RFC 9470)."),
    ("acr", "string", "Values of which the log-in must have proved one."),
    ("scope", "string", "Words that a token's scope must hold; a session's is session."),
    ("audience", "string", "For whom a token must have been issued."),
)


@functools.cache
def published(version: str) -> tuple[bytes, bytes]:
    """Return the document as JSON and as a page, made once: it is most of making a service."""
    described = document(version)
    return msgspec.json.encode(described), page(described)


def document(version: str, operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """Return the whole document."""
    types: dict[str, type[Struct]] = {"ProblemBody": ProblemBody, "Introspection": Introspection}
    for operation in operations:
        for shape in (operation.body, operation.answer, operation.query):
            if shape is not None and shape is not NoQuery:
                types[shape.__name__] = shape
    _, components = msgspec.json.schema_components(list(types.values()), ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, components)
    paths.update(_standard_paths())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "session-tokens",
            "version": version,
            "description": "Sessions, and the tokens that live under them: bound to a session, or passed on.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": KEY_SECURITY,
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "Id and secret of a service key."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The secret of a service key."},
                "session": {"type": "http", "scheme": "bearer", "description": "The secret of a session."},
            },
        },
    }


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": (operation.handler.__doc__ or "").splitlines()[0],
        "description": f"Roles: {', '.join(sorted(PERMISSIONS[operation.act]))}.",
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation, components)],
        "responses": {str(operation.status): _success(operation)},
    }
    if operation.method != "GET":
        described["parameters"].append(IDEMPOTENCY)
    if operation.conditional:
        described["parameters"].append(IF_MATCH)
    if operation.body is not None:
        described["requestBody"] = {
            "required": _is_required(operation.body),
            "content": {"application/json": {"schema": _reference(operation.body)}},
        }
    statuses = [400, 401, 403, 404, 422, 429, 503]
    if operation.method != "GET":
        statuses += [409, 413, 415]
    if operation.conditional:
        statuses.append(412)
    for status in sorted(statuses):
        described["responses"][str(status)] = _problem(status, "application/problem+json")
    return described


def _reference(shape: type[Struct]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=shape.__name__)}


def _is_required(shape: type[Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(shape))


def _success(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": "Done, or done before."}
    return {
        "description": (operation.answer.__doc__ or "").splitlines()[0],
        "content": {"application/json": {"schema": _reference(operation.answer)}},
    }


def _problem(status: int, media_type: str) -> dict[str, Any]:
    return {"description": TITLES[status], "content": {media_type: {"schema": _reference(ProblemBody)}}}


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for name in PARAMETER.findall(path):
        described = {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        if name == "id" and not path.startswith(("/v1/keys", "/v1/webhooks")):
            described["description"] = "Or by-secret: then the body has the secret in a field of that name."
        if name == "owner":
            described["description"] = (
                "Percent-encoded. Clients take . and .. out of paths, some also percent-encoded ones: such an owner is "
                "named in the query of /v1/owners/sessions, /v1/owners/disable and /v1/owners/enable."
            )
        yield described


def _query_parameters(operation: Operation, components: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if operation.query is NoQuery:
        return
    shape = components[operation.query.__name__]
    for name, schema in shape["properties"].items():
        yield {"name": name, "in": "query", "required": name in shape.get("required", ()), "schema": schema}


_SECRET_FORM = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "description": "The secret of a session or token."},
        "token_type_hint": {"type": "string", "description": "Accepted and not needed."},
        "client_id": {"type": "string"},
        "client_secret": {"type": "string"},
    },
    "required": ["token"],
}


def _form(name: str, summary: str, success: dict[str, Any]) -> dict[str, Any]:
    """Describe an address that takes a secret in a form."""
    problems = {str(status): _problem(status, "application/json") for status in (400, 401, 403, 413, 415, 429, 503)}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {
                "required": True,
                "content": {"application/x-www-form-urlencoded": {"schema": _SECRET_FORM}},
            },
            "responses": {"200": success, **problems},
        }
    }


def _read(name: str, summary: str, media_type: str, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    """Describe an address that is only read."""
    success = {"description": summary, "content": {media_type: {}}}
    problems = {"400": _problem(400, "application/problem+json")}
    if security:
        problems |= {str(status): _problem(status, "application/problem+json") for status in (401, 403, 429)}
    if name == "readyz":
        problems["503"] = _problem(503, "application/problem+json")
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "security": security,
            "responses": {"200": success, **problems},
        }
    }


def _demand(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind}}


def _forward_auth(id: str, summary: str, problem_json: str) -> dict[str, Any]:
    return {
        "get": {
            "operationId": id,
            "summary": f"{summary}; any method and path behind the address is answered the same, before a body.",
            "security": [{"session": []}, {}],
            "parameters": [_demand(*each) for each in DEMANDS],
            "responses": {
                "204": {
                    "description": "It does.",
                    "headers": {
                        "X-Session-Owner": {
                            "description": "The owner in percent-encoded UTF-8; --owner-header names it otherwise.",
                            "schema": {"type": "string"},
                        },
                        "X-Session-Id": {
                            "description": "The id of the session, or of the token that was shown.",
                            "schema": {"type": "string"},
                        },
                    },
                },
                "303": {"description": "It does not, and a browser asks: to --login-url."},
                "400": _problem(400, problem_json),
                "401": _problem(401, problem_json),
                "403": _problem(403, problem_json),
                "503": _problem(503, problem_json),
            },
        }
    }


def _standard_paths() -> dict[str, Any]:
    """Return the addresses that no handler of the table serves."""
    introspection = {
        "description": "Whether it is alive; active alone for whatever is not.",
        "content": {"application/json": {"schema": _reference(Introspection)}},
    }
    problem_json = "application/problem+json"
    return {
        "/introspect": _form("introspect", "Introspect a secret (RFC 7662).", introspection),
        "/revoke": _form("revoke", "Revoke a secret (RFC 7009).", {"description": "Revoked, or not alive before."}),
        FORWARD_AUTH: _forward_auth(
            "forward_auth", "Say to a reverse proxy whether a request carries a living session", problem_json
        ),
        FORWARD_AUTH_TOKENS: _forward_auth(
            "forward_auth_tokens",
            "Say the same of a session or a token with the scope or audience that is demanded",
            problem_json,
        ),
        "/.well-known/oauth-authorization-server": _read("metadata", "Metadata (RFC 8414).", "application/json", []),
        "/openapi.json": _read("openapi", "This document.", "application/json", []),
        "/docs": _read("docs", "This document for people.", "text/html", []),
        "/livez": _read("livez", "Whether the process answers.", "application/json", []),
        "/readyz": _read("readyz", "Whether the store answers.", "application/json", []),
        "/metrics": _read("metrics", "Counters for Prometheus.", "text/plain", KEY_SECURITY),
    }


def page(described: dict[str, Any]) -> bytes:
    """Return the document as a page of HTML, without scripts or anything from elsewhere."""
    sections = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            sections.append(_section(path, method.upper(), operation))
    schemas = "".join(
        f'<section id="{html.escape(name)}"><h3>{html.escape(name)}</h3><p>{html.escape(schema.get("description", ""))}'
        f"</p>{_fields(schema)}</section>"
        for name, schema in described["components"]["schemas"].items()
    )
    return _PAGE.format(
        version=html.escape(described["info"]["version"]), operations="".join(sections), schemas=schemas
    ).encode()


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(one['name'])}</code></td><td>{one['in']}</td>"
        f"<td>{html.escape(one['schema'].get('description', one.get('description', '')))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    bodies = "".join(
        f"<p>Body: {html.escape(kind)}{_link(content.get('schema', {}))}</p>"
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(
        f"<li><code>{status}</code> {html.escape(answer['description'])}"
        + "".join(_link(content.get("schema", {})) for content in answer.get("content", {}).values())
        + "</li>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<section><h3><code>{method} {html.escape(path)}</code></h3><p>{html.escape(operation['summary'])} "
        f"{html.escape(operation.get('description', ''))}</p>"
        + (f"<table><tr><th>name<th>in<th>meaning</tr>{rows}</table>" if rows else "")
        + f"{bodies}<ul>{answers}</ul></section>"
    )


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f': <a href="#{html.escape(name)}">{html.escape(name)}</a>' if name else ""


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code>{' (needed)' if name in required else ''}</td>"
        f"<td>{html.escape(_kind(field))}</td><td>{html.escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>field<th>type<th>meaning</tr>{rows}</table>" if rows else ""


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    return str(field.get("type", "any JSON"))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>session-tokens {version}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
code {{ font-family: ui-monospace, monospace; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; border-bottom: 1px solid #8884; }}
section {{ margin: 2rem 0; }}
</style></head><body><main>
<h1>session-tokens {version}</h1>
<p>The same as <a href="openapi.json">openapi.json</a>, for people. Send a service key as Basic (id and secret) or its
secret as Bearer. Durations are seconds, null is never; instants are milliseconds since the epoch.</p>
<h2>Addresses</h2>{operations}
<h2>Shapes</h2>{schemas}
</main></body></html>
"""
