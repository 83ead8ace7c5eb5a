"""The command that prints what a shell needs to complete commands, options and values."""

from __future__ import annotations

from argparse import Namespace

from . import exits
from .exits import UsageError
from .output import print_json


def completion(options: Namespace) -> int:
    """Print the completion of a shell."""
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs the extra: pip install 'session-tokens[cli]'") from None
    from .arguments import parser

    script: str = shtab.complete(parser(), shell=options.shell)
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script)
    return exits.OK
