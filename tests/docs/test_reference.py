"""The pages of reference name what there is, all of it and nothing else."""

import argparse
import inspect
import re
from importlib import import_module
from pathlib import Path

from session_tokens import SessionTokens, errors
from session_tokens.cli import exits
from session_tokens.cli.arguments import parser
from session_tokens.client.calls import CALLS
from session_tokens.service.openapi import document
from tests.helpers.project import ROOT

API = ROOT / "docs" / "reference" / "api.md"
COMMAND_LINE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
ERRORS = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
FRAMEWORKS = ROOT / "docs" / "reference" / "frameworks.md"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "serve.md"


def test_the_page_of_serve_names_every_option_that_its_parser_has() -> None:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    known = {name for action in commands.choices["serve"]._actions for name in action.option_strings}
    told = re.findall(r"^\| `(--[a-z-]+)(?: [A-Z]+)?` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert known - {"-h", "--help"} == set(told)
    assert len(told) == len(set(told))


def test_the_page_of_the_command_line_names_every_command() -> None:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    rows = re.findall(r"^\| (`.*`) \|", COMMAND_LINE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name.split()[0] for row in rows for name in re.findall(r"`([a-z]+[^`]*)`", row)}

    assert set(commands.choices) <= told


def test_the_page_of_errors_names_every_class_with_its_code_and_exit_code() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| `(\w+)` \| (\d?) ?\|", ERRORS.read_text(encoding="utf-8"), re.MULTILINE)
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    public = {kind for kind in kinds if issubclass(kind, errors.SessionTokensError)}

    assert {(name, code) for name, code, _ in rows} == {(kind.__name__, kind.code) for kind in public}
    for name, _, exit_code in rows:
        if exit_code:
            assert exits.code_of(getattr(errors, name)("x")) == int(exit_code), name


def test_the_page_of_frameworks_names_every_argument_of_each() -> None:
    told: dict[str, set[str]] = {}
    for table in FRAMEWORKS.read_text(encoding="utf-8").split("\n\n"):
        if table.startswith("| what | `"):
            head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
            for column, kind in enumerate(head[1:], 1):
                cells = [row[column] for row in rows if column < len(row)]
                told[kind.strip("`")] = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    del told["Django's settings"]
    assert len(told) == 6
    for kind, names in told.items():
        module, _, name = kind.partition(".")
        parameters = inspect.signature(getattr(import_module(f"session_tokens.web.{module}"), name)).parameters
        assert names == parameters.keys() - {"app"}, kind


def calls_told() -> dict[str, tuple[list[str], list[str]]]:
    """Read the page of the API: each call, the addresses over HTTP and the commands that stand in its row."""
    told: dict[str, tuple[list[str], list[str]]] = {}
    for row in re.findall(r"^\| `\w+`.*\|$", API.read_text(encoding="utf-8"), re.MULTILINE):
        cells = [re.findall(r"`([^`]+)`", cell) for cell in row.strip("|").split("|")]
        if len(cells) == 4:
            for name in cells[0]:
                assert name not in told
                told[name] = (cells[2], cells[3])
    return told


def test_the_page_of_the_api_names_every_call() -> None:
    public = {name for name, what in inspect.getmembers(SessionTokens) if not name.startswith("_") and callable(what)}

    assert public == set(calls_told())


def test_the_page_of_the_api_names_addresses_and_commands_that_are_there() -> None:
    addresses = {
        f"{method.upper()} {path}" for path, methods in document("1")["paths"].items() for method in methods
    }  # fmt: skip
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    over_http = {address for told, _ in calls_told().values() for address in told}
    by_command = {command.split()[0] for _, told in calls_told().values() for command in told}

    assert set() == over_http - addresses
    assert set() == by_command - set(commands.choices)
    for name, call in CALLS.items():
        path = re.sub(r"\{(session|token)\}", "{id}", call.path.partition("?")[0])
        assert any(f"{call.method} {path}" == each for each in calls_told()[name][0]), name


def test_the_page_of_the_api_names_every_field_of_a_session_and_a_token() -> None:
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+) \|", API.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    with SessionTokens.open() as st:
        session = st.open_session("alice")
        token = st.issue_token(session.id)

    assert {"sellable"} == (session.session.to_dict().keys() | token.token.to_dict().keys()) - told
    assert all(hasattr(session.session, name) for name in session.session.to_dict())
    assert all(hasattr(token.token, name) for name in token.token.to_dict().keys() - {"sellable"} | {"is_sellable"})


def test_the_pages_name_loggers_that_there_are() -> None:
    there = {
        name for file in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'getLogger\("(session_tokens[\w.]*)"\)', file.read_text(encoding="utf-8"))
    }  # fmt: skip
    told = {
        name for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"logger `(session_tokens[\w.]+)`", page.read_text(encoding="utf-8"))
    }  # fmt: skip

    assert "session_tokens.alerts" in told
    assert set() == told - there
