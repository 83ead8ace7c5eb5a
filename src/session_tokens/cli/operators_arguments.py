"""What can be said to the commands for those who run a store."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable

from .argument_types import instant, seconds, whole_number

Command = Callable[[str, str, str], ArgumentParser]


def add_operators_commands(command: Command) -> None:
    """Add them to the parser of the command line."""
    summary = "show the general settings that live with the store, or set or unset one"
    settings = command("settings", "settings:settings", summary)
    settings.add_argument("action", choices=("list", "set", "unset"))
    settings.add_argument("name", nargs="?", metavar="NAME", help="such as max_sessions; settings list shows them")
    settings.add_argument("value", nargs="?", metavar="VALUE", help="such as 30m, never, 5 or none")

    summary = "say why a session, token or service key is as it is, since when, and who ended it"
    explain = command("explain", "explaining:explain", summary)
    explain.add_argument("id", metavar="ID", help="ses_…, tok_… or key_…")

    audit = command("audit", "auditing:audit", "verify the audit log, list its last entries, or export them")
    audit.add_argument("action", choices=("verify", "list", "export"))
    audit.add_argument("--anchor", metavar="FILE", help="where the heads were anchored")
    audit.add_argument("--kind", help="only of that kind, such as session_ended")
    audit.add_argument("--owner", help="only what concerns them, or did before")
    audit.add_argument("--subject", metavar="ID", help="only what concerns that session, token, key or setting")
    audit.add_argument("--actor", help="only what was done for that service key (key_…) or user (os:…)")
    audit.add_argument(
        "--since", type=instant, metavar="WHEN", help="2026-11-28, 2026-11-28T22:00, or milliseconds; UTC"
    )
    audit.add_argument("--until", type=instant, metavar="WHEN", help="the same")
    audit.add_argument("--after", metavar="CURSOR", help="the next of the page before")
    audit.add_argument("--limit", type=whole_number, default=50, metavar="N", help="1 to 500, of a page")

    for name, kind in (("pepper", "pepper"), ("sealed", "data key, under which values are sealed")):
        summary = f"change the {kind}: add a new one, promote it, retire the old one"
        keys = command(name, "keys_of_stores:change", summary)
        keys.add_argument("action", choices=("add", "promote", "retire"))
        keys.add_argument("id", nargs="?", metavar="KEY_ID", help="which one; add makes one")

    summary = "list owners, disable one, ending all their sessions, enable one again, or give one another name"
    owners = command("owners", "owners:owners", summary)
    owners.add_argument("action", choices=("list", "disable", "enable", "rename"))
    owners.add_argument("owner", nargs="?")
    owners.add_argument("--to", metavar="OWNER", help="the new name; with rename")
    owners.add_argument("--disabled", action="store_true", help="list those who are disabled")
    owners.add_argument("--anonymous", action="store_true", help="list visitors who have not logged in too")
    owners.add_argument("--after", metavar="CURSOR", help="the next of the page before")
    owners.add_argument("--limit", type=whole_number, default=100, metavar="N", help="1 to 500")

    summary = "show what lives on a store and what happens there, live in a terminal"
    top = command("top", "top:top", summary)
    top.add_argument("--interval", type=seconds, default=2.0, metavar="DURATION", help="between two looks; 2s")
    top.add_argument("--once", action="store_true", help="print it once and end")

    completion = command("completion", "completion:completion", "print the completion of a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))

    moving = command("import", "moving:import_sessions", "move in the sessions of another library, or finish that")
    moving.add_argument(
        "--from", dest="kind", choices=("flask-session", "starsessions", "express", "aiohttp", "beaker"),
        help="which library's",
    )  # fmt: skip
    moving.add_argument(
        "--server", metavar="URL", help="where they are: redis://localhost:6379/0, postgresql://…, a folder of Beaker's"
    )
    moving.add_argument("--prefix", help="of their keys, where it is another than the library's own")
    moving.add_argument("--owner", metavar="FIELD", help="the field that says who is logged in")
    moving.add_argument(
        "--lifetime",
        metavar="TIME",
        help="how long one lasts there unused, such as 30d or never: aiohttp, beaker",
    )
    moving.add_argument("--time-zone", metavar="ZONE", help="of the connections that wrote to PostgreSQL, such as UTC")
    moving.add_argument("--finish", action="store_true", help="take no cookies from before any more")
