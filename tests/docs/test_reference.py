"""The pages of reference name what there is, all of it and nothing else."""

import argparse
import inspect
import re
from pathlib import Path

from session_tokens import errors
from session_tokens.cli import exits
from session_tokens.cli.arguments import parser

COMMAND_LINE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
ERRORS = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
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
