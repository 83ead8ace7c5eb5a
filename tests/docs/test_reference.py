"""The pages of reference name what there is, all of it and nothing else."""

import argparse
import re
from pathlib import Path

from session_tokens.cli.main import parser

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "serve.md"


def test_the_page_of_serve_names_every_option_that_its_parser_has() -> None:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    known = {name for action in commands.choices["serve"]._actions for name in action.option_strings}
    told = re.findall(r"^\| `(--[a-z-]+)(?: [A-Z]+)?` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert known - {"-h", "--help"} == set(told)
    assert len(told) == len(set(told))
