"""What can be said to the commands for those who run a store."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from ..settings import UNSET
from .argument_types import duration, instant, near_cache, seconds, whole_number

Command = Callable[[str, str, str], ArgumentParser]

ROLES = ("verify", "issue", "transfer", "worker", "revoke", "audit", "operator", "admin")
MAX_DATA: dict[str, Any] = {
    "type": whole_number, "metavar": "N", "help": "what one session's data may be as JSON text; 16384 if not given",
}  # fmt: skip


def add_operators_commands(command: Command) -> None:
    """Add them to the parser of the command line."""
    _serving_commands(command)
    _key_commands(command)
    _event_commands(command)
    _looking_commands(command)


def _looking_commands(command: Command) -> None:
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

    summary = "list owners, disable one, ending all their sessions, enable, rename or forget one"
    owners = command("owners", "owners:owners", summary)
    owners.add_argument("action", choices=("list", "disable", "enable", "rename", "forget"))
    owners.add_argument("owner", nargs="?")
    owners.add_argument("--to", metavar="OWNER", help="the new name; with rename")
    owners.add_argument("--yes", action="store_true", help="do not ask before one is forgotten")
    owners.add_argument("--idempotency-key", metavar="KEY", help="the same again answers what was done the first time")
    owners.add_argument("--disabled", action="store_true", help="list those who are disabled")
    owners.add_argument("--anonymous", action="store_true", help="list visitors who have not logged in too")
    owners.add_argument("--newest", action="store_true", help="list those first whose oldest session was opened last")
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


def _serving_commands(command: Command) -> None:
    sweep = command("sweep", "commands:sweep", "clean up behind deadlines")
    sweep.add_argument("--limit", type=whole_number, metavar="N")

    check = command("check", "operating:check", "check a store's records and indexes")
    check.add_argument("--fix", action="store_true", help="set aside what is corrupt, mend what can be mended")
    check.add_argument("--fix-clock", action="store_true", help="clear a clock mark that lies in the future")

    serve = command("serve", "serving:serve", "serve HTTP")
    serve.add_argument("--max-data-bytes", **MAX_DATA)
    serve.add_argument("--host", default="127.0.0.1", help="an address, or unix: and the path of a socket")
    serve.add_argument("--port", type=whole_number, default=8080, help="0 takes a free one")
    serve.add_argument(
        "--workers", type=whole_number, default=1, metavar="N", help="processes that serve from the same sockets"
    )
    serve.add_argument("--behind-proxy", action="store_true", help="a reverse proxy that speaks TLS stands in front")
    serve.add_argument(
        "--trusted-proxy", action="append", metavar="NETWORK", help="where that proxy is, if not on this machine; again"
    )
    serve.add_argument("--allowed-host", action="append", metavar="NAME", help="the only Host that is answered; again")
    serve.add_argument("--public-url", metavar="URL", help="how others reach it, such as https://tokens.example")
    serve.add_argument("--tls-certificate", metavar="FILE")
    serve.add_argument("--tls-key", metavar="FILE")
    serve.add_argument(
        "--events", choices=("durable", "off"), help="whether the store keeps events, in every process; else as before"
    )
    serve.add_argument(
        "--webhook-allow", action="append", metavar="HOST",
        help="to which webhooks may lead by http, or where it is not public; with or without a port; again",
    )  # fmt: skip
    serve.add_argument(
        "--near-cache",
        type=near_cache,
        metavar="DURATION",
        help="how old the answer to a verification may be, such as 2s",
    )
    serve.add_argument("--no-first-key", action="store_true", help="make and print no first admin key")
    serve.add_argument("--audit", action="store_true", help="keep an audit log on the store")
    serve.add_argument("--audit-anchor", metavar="FILE", help="where its heads are anchored; else in the log")
    serve.add_argument(
        "--console-port", type=whole_number, metavar="PORT", help="a listener of the console's own; 0: a free one"
    )
    serve.add_argument("--console-host", metavar="HOST", help="where that listens; 127.0.0.1 if not given")
    serve.add_argument("--session-cookie", default="session", metavar="NAME", help="which /forward-auth looks into")
    serve.add_argument(
        "--owner-header", default="X-Session-Owner", metavar="NAME", help="in which /forward-auth names the owner"
    )
    serve.add_argument(
        "--identity-header", action="append", metavar="NAME=FIELD", help="what else it says of who is let in"
    )
    serve.add_argument("--login-url", metavar="URL", help="where /forward-auth sends browsers, such as /log-in")


def _key_commands(command: Command) -> None:
    keys = command("keys", "operating:keys", "manage service keys")
    keys.add_argument("action", choices=("create", "list", "find", "rotate", "revoke"))
    keys.add_argument("id", nargs="?", metavar="KEY_ID")
    keys.add_argument("--secret-file", metavar="FILE", help="for find; mode 0600; else standard input")
    keys.add_argument("--role", choices=ROLES)
    keys.add_argument("--label")
    keys.add_argument("--network", action="append", metavar="NETWORK", help="the only place it is used from; again")
    keys.add_argument("--owner-prefix", metavar="PREFIX", help="how the owners begin for whom it acts, such as app1:")
    keys.add_argument("--namespace", metavar="NAME", help="what it makes belongs to it, and it sees nothing else")
    keys.add_argument("--audience", metavar="WHOM", help="a verify key sees only tokens that were issued for it")
    keys.add_argument("--max-age", type=duration, metavar="DURATION", help="the longest life that it may give")
    keys.add_argument("--rate", type=whole_number, metavar="N", help="requests a second that it may send")
    keys.add_argument(
        "--owner-creations", type=whole_number, metavar="N", help="what it may make for one owner a minute"
    )
    keys.add_argument("--expires", type=duration, default=UNSET, metavar="DURATION", help="90d if not given")
    keys.add_argument("--overlap", type=duration, default=UNSET, metavar="DURATION", help="1d if not given")


def _event_commands(command: Command) -> None:
    events = command("events", "events:events", "show what happened, follow it, or have the store keep events or none")
    events.add_argument("--after", metavar="EVENT_ID", help="the last one that you have")
    events.add_argument("--owner", help="only what concerns them, or did before")
    events.add_argument("--limit", type=whole_number, metavar="N", help="1 to 500, of a page; else 100")
    events.add_argument("--follow", action="store_true", help="wait for those to come, one a line")
    events.add_argument("--name", metavar="FOLLOWER", help="go on where the follower of that name had come to")
    switch = events.add_mutually_exclusive_group()
    switch.add_argument("--on", dest="switch", action="store_const", const="durable", help="keep events from now on")
    switch.add_argument("--off", dest="switch", action="store_const", const="off", help="keep none from now on")

    hooks = command("webhooks", "webhooks:webhooks", "manage who is told of events over HTTP")
    hooks.add_argument("action", choices=("add", "list", "change", "remove", "rotate", "dead", "replay"))
    hooks.add_argument("subject", nargs="?", metavar="URL|ID", help="the address to add; else which one")
    told = hooks.add_mutually_exclusive_group()
    told.add_argument("--kind", action="append", metavar="KIND", help="of events that are told; again; add: else all")
    told.add_argument("--every-kind", action="store_true", help="change: tell all kinds of events")
    hooks.add_argument("--url", dest="leads_to", metavar="URL", help="change: where it leads from now on")
    state = hooks.add_mutually_exclusive_group()
    state.add_argument("--on", action="store_const", const=True, help="change: send to it again")
    state.add_argument("--off", dest="on", action="store_const", const=False, help="change: let events wait")
    hooks.add_argument(
        "--overlap", type=duration, default=UNSET, metavar="DURATION",
        help="1d if not given; never: the key before ends at once",
    )  # fmt: skip
    hooks.add_argument("--after", metavar="EVENT_ID", help="replay everything after it, not what was given up")
