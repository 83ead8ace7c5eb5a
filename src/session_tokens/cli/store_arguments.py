"""What can be said to the commands on a whole store."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any


def add_store_commands(commands: Any, parser: type[ArgumentParser]) -> None:
    """Add them to the parser of the command line, whose parsers are of a class of its own."""
    summary = "migrate, check, copy, back up, restore, export or import a store, or give a copy up"
    store = commands.add_parser("store", help=summary, description=summary, allow_abbrev=False)
    store.set_defaults(store=None)
    actions = store.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=parser)

    def action(name: str, summary: str) -> ArgumentParser:
        made: ArgumentParser = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        made.add_argument("--json", action="store_true", help="answer JSON for programs")
        made.set_defaults(function=f"stores:{name}")
        return made

    migrate = action("migrate", "bring a store's tables up to this version")
    _one_store(migrate)
    migrate.add_argument("--grant-to", metavar="ROLE", help="the PostgreSQL role that uses the tables")

    check = action("check", "check a store's records and indexes")
    _one_store(check)
    check.add_argument("--fix", action="store_true", help="set aside what is corrupt, mend what can be mended")
    check.set_defaults(fix_clock=False)

    copy = action("copy", "copy everything into an empty store, or go on with that")
    copy.add_argument("source", metavar="FROM", help="the URL of a store that nothing uses meanwhile")
    copy.add_argument("target", metavar="TO", help="the URL of the store to fill")
    _sealed(copy)

    backup = action("backup", "write everything that a store holds into a new file, while it is in use")
    backup.add_argument("file", metavar="FILE", help="the file to make; its key file, if it has one, is FILE.key")
    backup.add_argument("--store", metavar="URL", help="else SESSION_TOKENS_STORE")

    restore = action("restore", "put a backup into an empty store, or one that is not there")
    restore.add_argument("file", metavar="FILE", help="what store backup made")
    restore.add_argument("--store", metavar="URL", help="else SESSION_TOKENS_STORE")
    _sealed(restore)

    export = action("export", "write everything that a store holds as lines of JSON, values opened")
    export.add_argument("file", metavar="FILE", help="the file to make, or - for standard output")
    export.add_argument("--store", metavar="URL", help="else SESSION_TOKENS_STORE")

    what = "put what store export wrote into an empty store (the command import brings users from other libraries)"
    importing = action("import", what)
    importing.add_argument("file", metavar="FILE", help="what store export made")
    importing.add_argument("--store", metavar="URL", help="else SESSION_TOKENS_STORE")
    importing.set_defaults(function="stores:import_")
    _sealed(importing)

    abandon = action("abandon", "empty a store into which a copy was begun and not finished")
    _one_store(abandon)


def _sealed(made: ArgumentParser) -> None:
    made.add_argument("--sealed", choices=("yes", "no"), help="whether a new store seals values; else as it comes")


def _one_store(made: ArgumentParser) -> None:
    either = made.add_mutually_exclusive_group()
    either.add_argument("url", nargs="?", metavar="URL", help="else SESSION_TOKENS_STORE")
    either.add_argument("--store", metavar="URL", help="the same, as other commands take it")
