"""``manage.py session_tokens``: list the sessions of a user, end them, move in what was stored, finish moving in."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from .....crypto.secret_form import SESSION_ID, is_id
from .....errors import SessionTokensError
from ....moving_in import moving_in_stored
from ...asking import run
from ...devices import owner_of, sessions_of
from ...moving_in import peer
from ...opened import opened
from ...texts import as_in_django


class Command(BaseCommand):
    """Lists and ends sessions, moves in and finishes that; ids only, a secret is never shown and never an argument."""

    help = "List the sessions of a user, or end them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name the acts and what they take."""
        acts = parser.add_subparsers(dest="act", required=True)
        listing = acts.add_parser("list", help="list the living sessions of a user")
        listing.add_argument("user", help="the user's name, as they log in")
        listing.add_argument("--json", action="store_true", help="one JSON object a line")
        ending = acts.add_parser("end", help="end sessions by their ids, or all of a user")
        ending.add_argument("ids", nargs="*", metavar="ses_…", help="public ids")
        ending.add_argument("--user", help="end all sessions of this user")
        acts.add_parser("move-in", help="move in all that the engine stored that migrate_from names, before they come")
        acts.add_parser("finish-moving-in", help="take no more cookies of the engine that migrate_from names")

    def handle(self, **options: Any) -> None:
        """Do it, and say what was done."""
        try:
            self._do(options)
        except (SessionTokensError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def _do(self, options: dict[str, Any]) -> None:
        if options["act"] == "move-in":
            self.stdout.write(", ".join(f"{count} {what.replace('_', ' ')}" for what, count in _moved_in().items()))
            return
        if options["act"] == "finish-moving-in":
            opened.blocking().finish_moving_in()
            self.stdout.write("nobody moves in any more; take migrate_from out of SESSION_TOKENS")
            return
        if options["act"] == "list":
            for session in sessions_of(_user(options["user"])):
                if options["json"]:
                    self.stdout.write(json.dumps({**session.to_dict(), "data": None}))
                else:
                    self.stdout.write(
                        f"{session.id}  {session.last_seen_datetime:%Y-%m-%d %H:%M}  {session.address or '-'}  "
                        f"{session.user_agent or '-'}"
                    )
            return
        if not options["ids"] and options["user"] is None:
            raise CommandError("name sessions by their ids (ses_…), or give --user")
        unknown = [id for id in options["ids"] if not opened.blocking().destroy_session(id, reason="revoked")]
        ended = len(options["ids"]) - len(unknown)
        if options["user"] is not None:
            ended += opened.blocking().destroy_sessions(owner_of(_user(options["user"])), reason="revoked")
        self.stdout.write(f"{ended} ended")
        if unknown:
            raise CommandError(f"no living session: {', '.join(map(_shown, unknown))}")


def _shown(id: str) -> str:
    """Return what was given for an id, as long as it is one: what else it is may be a secret."""
    return id if is_id(SESSION_ID, id) else "what is no id (ses_…)"


def _moved_in() -> dict[str, int]:
    engine = peer()
    if engine is None:
        raise CommandError("nobody moves in: name the engine that you had as migrate_from in SESSION_TOKENS")
    return moving_in_stored(engine, run, encode=as_in_django)


def _user(name: str) -> Any:
    users = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(f"there is no user {name}") from None
