"""``flask session-tokens``: sees and ends the sessions of an application, with the application's own settings."""

from __future__ import annotations

import json
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from ...crypto.secret_form import SESSION_ID, is_id
from ...errors import SessionTokensError
from ...records import Session
from .acts import api_of


class TellingGroup(AppGroup):
    """Commands whose errors are told in a line: settings that cannot be right, a store that is away."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except SessionTokensError as error:
            raise click.ClickException(str(error)) from error


cli = TellingGroup("session-tokens", help="See and end the sessions of this application.")


@cli.command("list")
@click.option("--owner", help="Only the sessions of this owner.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_sessions(owner: str | None, as_json: bool) -> None:
    """List living sessions: id, owner, address and user agent; never a secret."""
    after: str | None = None
    while True:
        page = api_of(current_app).list_sessions(owner, after=after)
        for session in page.items:
            click.echo(json.dumps(session.to_dict()) if as_json else _line(session))
        after = page.after
        if after is None:
            return


@cli.command("end")
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--owner", help="End every session of this owner.")
def end_sessions(ids: tuple[str, ...], owner: str | None) -> None:
    """End sessions by their ids (ses_…), or all of an owner."""
    if bool(ids) == (owner is not None):
        raise click.UsageError("give the ids of sessions, or --owner")
    tokens = api_of(current_app)
    if owner is not None:
        click.echo(f"{tokens.destroy_sessions(owner, reason='revoked')} ended")
        return
    unknown = [id for id in ids if not tokens.destroy_session(id, reason="revoked")]
    click.echo(f"{len(ids) - len(unknown)} ended")
    if unknown:
        raise click.ClickException(f"no living session: {', '.join(map(_shown, unknown))}")


def _line(session: Session) -> str:
    return "  ".join((session.id, session.owner, session.address or "-", session.user_agent or "-"))


def _shown(id: str) -> str:
    """Return what was given for an id, as long as it is one: what else it is may be a secret."""
    return id if is_id(SESSION_ID, id) else "what is no id (ses_…)"
