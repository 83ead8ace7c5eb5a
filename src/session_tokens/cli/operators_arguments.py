"""What can be said to the commands for those who run a store."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable

Command = Callable[[str, str, str], ArgumentParser]


def add_operators_commands(command: Command) -> None:
    """Add them to the parser of the command line."""
    summary = "show the general settings that live with the store, or set or unset one"
    settings = command("settings", "settings:settings", summary)
    settings.add_argument("action", choices=("list", "set", "unset"))
    settings.add_argument("name", nargs="?", metavar="NAME", help="such as max_sessions; settings list shows them")
    settings.add_argument("value", nargs="?", metavar="VALUE", help="such as 30m, never, 5 or none")
