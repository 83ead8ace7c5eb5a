"""The entry point of ``session-tokens``: what can be said, and how it ends."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ..audit.log import act_of_user, acting
from ..crypto.minting import SECRET_BEGINNINGS
from ..errors import SessionTokensError
from ..settings import UNSET
from . import exits
from .argument_types import duration, json_value, whole_number
from .exits import UsageError
from .inputs import refuse_secrets, refuse_unknown_environment
from .operators_arguments import add_operators_commands
from .store_arguments import add_store_commands

ROLES = ("verify", "issue", "transfer", "revoke", "audit", "operator", "admin")
REASONS = (
    "logout", "idle", "expired", "detached_timeout", "replaced", "evicted", "revoked", "theft", "owner_disabled",
)  # fmt: skip


class _Parser(ArgumentParser):
    """Ends with a ``UsageError`` where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{_without_secrets(message)}; see {self.prog} --help")


def _without_secrets(message: str) -> str:
    """Return a message without words that look like secrets, also mistyped ones."""
    words = (
        word if not word.strip("'\"").startswith(SECRET_BEGINNINGS) else "(a secret)" for word in message.split(" ")
    )
    return " ".join(words)


_MAX_DATA: dict[str, Any] = {
    "type": whole_number, "metavar": "N", "help": "what one session's data may be as JSON text; 16384 if not given",
}  # fmt: skip


def parser() -> ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="session-tokens", description="Sessions, and the tokens that live under them.", allow_abbrev=False
    )
    top.add_argument("--version", action="store_true", help="say which version this is")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    shared = _Parser(add_help=False, allow_abbrev=False)
    shared.add_argument("--store", metavar="URL", help="such as sqlite:///file.db; else SESSION_TOKENS_STORE")
    shared.add_argument("--key-file", metavar="FILE", help="the service key for --store https://…; mode 0600")
    shared.add_argument("--json", action="store_true", help="answer JSON for programs")

    def command(name: str, function: str, summary: str) -> ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary, parents=[shared], allow_abbrev=False)
        made.set_defaults(function=function)
        return made

    _session_commands(command)
    _token_commands(command)
    _changing_commands(command)
    _passing_commands(command)
    _operating_commands(command)
    add_operators_commands(command)
    _event_commands(command)
    add_store_commands(commands, _Parser)
    return top


def _session_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    opening = command("open", "commands:open_session", "open a session for an owner; prints its secret once")
    opening.add_argument("owner")
    opening.add_argument("--idle-timeout", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--max-age", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--detachable", action="store_true")
    opening.add_argument("--detached-timeout", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--data", type=json_value, metavar="JSON", help="a small JSON object")
    opening.add_argument("--max-data-bytes", **_MAX_DATA)
    opening.add_argument("--label")
    opening.add_argument("--user-agent")
    opening.add_argument("--address")
    _proof_options(opening)
    opening.add_argument("--idempotency-key", metavar="KEY")

    verifying = command("verify", "commands:verify", "say whether a secret on standard input is active")
    verifying.add_argument("--secret-file", metavar="FILE", help="mode 0600; else standard input")
    verifying.add_argument("--no-touch", action="store_true", help="do not count this as a use of the session")

    sessions = command("sessions", "commands:list_sessions", "list living sessions, or show one by its id")
    sessions.add_argument("id", nargs="?")
    sessions.add_argument("--owner")
    sessions.add_argument("--detached", action=argparse.BooleanOptionalAction, default=None)
    sessions.add_argument("--anonymous", action="store_true", help="also those of visitors who have not logged in")
    sessions.add_argument("--newest", action="store_true", help="the last opened first")
    _page_options(sessions)


def _token_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    tokens = command("tokens", "commands:list_tokens", "list living tokens, or show one by its id")
    tokens.add_argument("id", nargs="?")
    tokens.add_argument("--owner")
    tokens.add_argument("--session", metavar="ID")
    tokens.add_argument("--tag", help="only those that were issued with it")
    for name in ("transferable", "sellable", "unassigned"):
        tokens.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=None)
    tokens.add_argument("--newest", action="store_true", help="the last issued first")
    _page_options(tokens)

    issue = command("issue", "commands:issue", "issue a token; prints its secret once")
    issue.add_argument(
        "--session", metavar="ID", help="that holds it; without one it is free, or unassigned if --transferable"
    )
    values = issue.add_mutually_exclusive_group()
    values.add_argument("--value", metavar="TEXT", help="kept verbatim")
    values.add_argument("--value-json", type=json_value, metavar="JSON")
    issue.add_argument("--transferable", action="store_true")
    issue.add_argument("--uses", type=whole_number, metavar="N", help="how often it can be used up; else not counted")
    issue.add_argument("--tag", help="what it is for; tokens --tag finds it, claim --next --tag takes it")
    issue.add_argument("--scope", metavar="WORDS", help="what it allows; introspection answers it")
    issue.add_argument("--audience", action="append", metavar="WHOM", help="for whom it is; may be given again")
    issue.add_argument("--for-client", metavar="CLIENT", help="the client for whom it is; introspection answers it")
    issue.add_argument("--timeout", type=duration, default=UNSET, metavar="DURATION")
    issue.add_argument("--disownment-timeout", type=duration, default=UNSET, metavar="DURATION")
    issue.add_argument("--idempotency-key", metavar="KEY")

    transfer = command("transfer", "commands:transfer", "hand a token to another owner; prints the new secret once")
    transfer.add_argument("token", metavar="TOKEN_ID")
    transfer.add_argument("--giver", help="its owner; not needed for an unassigned token")
    transfer.add_argument("--receiver", required=True)
    transfer.add_argument("--epoch", type=whole_number, help="only if it has not changed hands since")
    transfer.add_argument("--idempotency-key", metavar="KEY")

    claim = command("claim", "commands:claim", "take an unassigned token into a session; prints the new secret once")
    claim.add_argument("token", nargs="?", metavar="TOKEN_ID")
    claim.add_argument("--next", action="store_true", help="in place of an id: the one that has waited for longest")
    claim.add_argument("--tag", help="of the next one")
    claim.add_argument("--session", metavar="ID", required=True)
    claim.add_argument("--idempotency-key", metavar="KEY")

    end = command("end", "commands:end", "end a session or token by its id, or all sessions of an owner")
    end.add_argument("id", nargs="?")
    end.add_argument("--owner", help="end all their sessions")
    end.add_argument("--except", dest="except_session", metavar="ID", help="but this one")
    end.add_argument("--reason", choices=REASONS, default="revoked")
    end.add_argument("--yes", action="store_true", help="do not ask")


def _changing_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    rotate = command("rotate", "changing:rotate", "give a session a new secret; prints it once")
    rotate.add_argument("id", metavar="SESSION_ID")
    rotate.add_argument(
        "--grace", type=duration, metavar="DURATION", help="how long the old secret is good all the same"
    )
    rotate.add_argument("--authenticated", action="store_true", help="its owner has just proved who they are")
    _proof_options(rotate)
    rotate.add_argument("--idempotency-key", metavar="KEY")

    detach = command("detach", "changing:detach", "log a detachable session out and let it go on")
    detach.add_argument("id", metavar="SESSION_ID")

    attach = command("attach", "changing:attach", "log a detached session in again; prints its new secret once")
    attach.add_argument("id", metavar="SESSION_ID")
    attach.add_argument("--idempotency-key", metavar="KEY")

    change = command("change", "changing:change", "change a session or token by its id; what is not given stays")
    change.add_argument("id", metavar="ID")
    change.add_argument("--idle-timeout", type=duration, default=UNSET, metavar="DURATION")
    change.add_argument("--max-age", type=duration, default=UNSET, metavar="DURATION", help="from its opening")
    change.add_argument("--detached-timeout", type=duration, default=UNSET, metavar="DURATION")
    change.add_argument("--detachable", action=argparse.BooleanOptionalAction, default=UNSET)
    change.add_argument("--label", default=UNSET)
    change.add_argument("--data", type=json_value, metavar="JSON", help="fields to write; null is a value")
    change.add_argument("--max-data-bytes", **_MAX_DATA)
    change.add_argument("--remove", action="append", metavar="FIELD", help="a field of the data that shall go; again")
    change.add_argument("--timeout", type=duration, default=UNSET, metavar="DURATION", help="of a token")
    change.add_argument("--disownment-timeout", type=duration, default=UNSET, metavar="DURATION", help="of a token")
    values = change.add_mutually_exclusive_group()
    values.add_argument("--value", default=UNSET, metavar="TEXT", help="of a token, kept verbatim")
    values.add_argument("--value-json", type=json_value, default=UNSET, metavar="JSON", help="of a token")
    change.add_argument(
        "--if-version", dest="expected", type=whole_number, metavar="N", help="only if it has not changed since"
    )

    reissue = command("reissue", "changing:reissue", "give a token a new secret; prints it once")
    reissue.add_argument("token", metavar="TOKEN_ID")
    reissue.add_argument("--owner", help="its owner; a free token has none")
    reissue.add_argument("--idempotency-key", metavar="KEY")

    offer = command("offer", "changing:offer", "advertise a transferable token")
    offer.add_argument("token", metavar="TOKEN_ID")
    offer.add_argument("--price", metavar="DECIMAL", help="such as 12.50; below zero the giver pays")
    offer.add_argument("--currency")
    offer.add_argument("--gift", action="store_true")
    offer.add_argument("--to", metavar="OWNER", help="for whom alone it is")
    offer.add_argument("--until", type=duration, metavar="DURATION", help="for how long it is theirs alone")

    withdraw = command("withdraw", "changing:withdraw", "take a token's offer away")
    withdraw.add_argument("token", metavar="TOKEN_ID")


def _passing_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    accept = command("accept", "passing:accept", "take an offered token; prints its new secret once")
    accept.add_argument("token", metavar="TOKEN_ID")
    accept.add_argument("--receiver", required=True)
    accept.add_argument("--price", metavar="DECIMAL", help="as it was seen")
    accept.add_argument("--currency")
    accept.add_argument("--settlement", metavar="TEXT", help="a reference to how it was paid; only kept")
    accept.add_argument("--idempotency-key", metavar="KEY")

    lend = command("lend", "passing:lend", "let a borrower use a token; prints the borrower's secret once")
    lend.add_argument("token", metavar="TOKEN_ID")
    lend.add_argument("--borrower", required=True)
    lend.add_argument("--until", type=duration, metavar="DURATION", help="needed where the borrower has no session")
    lend.add_argument("--idempotency-key", metavar="KEY")

    recall = command("recall", "passing:recall", "end the loans of a token")
    recall.add_argument("token", metavar="TOKEN_ID")
    recall.add_argument("--borrower", help="only those to this owner")

    consume = command(
        "consume", "passing:consume", "use a counted token up, by its id or by a secret on standard input"
    )
    consume.add_argument("token", nargs="?", metavar="TOKEN_ID")
    consume.add_argument("--secret-file", metavar="FILE", help="mode 0600; else standard input, if no id is given")
    consume.add_argument("--amount", type=whole_number, default=1, metavar="N")
    consume.add_argument("--idempotency-key", metavar="KEY")

    release = command("release", "passing:release", "put a token back among the unassigned ones")
    release.add_argument("token", metavar="TOKEN_ID")
    release.add_argument("--owner", required=True, help="its owner")

    over = command("hand-over", "passing:hand_over", "hand all transferable tokens of a leaving owner to another")
    over.add_argument("owner")
    over.add_argument("--receiver", required=True)
    over.add_argument("--limit", type=whole_number, metavar="N", help="at most so many; say it again to go on")


def _operating_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    sweep = command("sweep", "commands:sweep", "clean up behind deadlines")
    sweep.add_argument("--limit", type=whole_number, metavar="N")

    check = command("check", "operating:check", "check a store's records and indexes")
    check.add_argument("--fix", action="store_true", help="set aside what is corrupt, mend what can be mended")
    check.add_argument("--fix-clock", action="store_true", help="clear a clock mark that lies in the future")

    serve = command("serve", "operating:serve", "serve HTTP")
    serve.add_argument("--max-data-bytes", **_MAX_DATA)
    serve.add_argument("--host", default="127.0.0.1", help="an address, or unix: and the path of a socket")
    serve.add_argument("--port", type=whole_number, default=8080, help="0 takes a free one")
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
    keys.add_argument("--expires", type=duration, default=90 * 86_400, metavar="DURATION", help="90d if not given")
    keys.add_argument("--overlap", type=duration, default=86_400, metavar="DURATION", help="1d if not given")


def _event_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    events = command("events", "events:events", "show what happened, follow it, or have the store keep events or none")
    events.add_argument("--after", metavar="EVENT_ID", help="the last one that you have")
    events.add_argument("--owner", help="only what concerns them, or did before")
    events.add_argument("--limit", type=whole_number, default=100, metavar="N", help="1 to 500")
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
        "--overlap", type=duration, default=86_400, metavar="DURATION",
        help="1d if not given; never: the key before ends at once",
    )  # fmt: skip
    hooks.add_argument("--after", metavar="EVENT_ID", help="replay everything after it, not what was given up")


def _proof_options(made: ArgumentParser) -> None:
    made.add_argument("--acr", metavar="CLASS", help="how surely the owner has just proved who they are")
    made.add_argument(
        "--amr", action="append", default=[], metavar="METHOD", help="by which method, such as otp; again"
    )


def _page_options(made: ArgumentParser) -> None:
    made.add_argument("--after", metavar="CURSOR", help="the next of the page before")
    made.add_argument("--limit", type=whole_number, default=100, metavar="N", help="1 to 500")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 inactive, 2 bad input, 3 unavailable, 4 conflict, 5 denied."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _mend_closed_streams()
    as_json = "--json" in words
    try:
        code = _run(words)
        sys.stdout.flush()
    except SessionTokensError as error:
        return _failed(exits.code_of(error), error.code, str(error), as_json)
    except (TypeError, UnicodeError) as error:
        return _failed(exits.BAD_INPUT, "invalid_input", str(error), as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: say no more, also at exit
        return exits.OK
    except OSError as error:
        return _failed(exits.UNAVAILABLE, "store_unavailable", error.strerror or str(error), as_json)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def _mend_closed_streams() -> None:
    """Let what was closed before we began (``>&-``) swallow what is printed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for as long as we run


def _run(words: list[str]) -> int:
    refuse_secrets(words)
    refuse_unknown_environment()
    options = parser().parse_args(words)
    if options.version:
        from .. import __version__
        from ..compiled_core import COMPILED

        print(f"session-tokens {__version__}{' (compiled core)' if COMPILED else ''}")
        return exits.OK
    if options.command is None:
        raise UsageError("no command; see session-tokens --help")
    if options.store is None:
        options.store = getattr(options, "url", None)
    if options.store is None:
        options.store = os.environ.get("SESSION_TOKENS_STORE") or None
    if options.command == "keys":
        _check_key_options(options)
    _say(quiet=options.command not in ("serve", "check", "store"))
    module, _, function = options.function.partition(":")
    run: Callable[[Namespace], int] = getattr(import_module(f".{module}", __package__), function)
    if options.command == "serve":  # which acts for those who ask it
        return run(options)
    before = acting.set(act_of_user())
    try:
        return run(options)
    finally:
        acting.reset(before)


class _ToStandardError(logging.Handler):
    """Writes to whatever standard error is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"session-tokens: {_printable(record.getMessage())}", file=sys.stderr)


def _say(*, quiet: bool) -> None:
    """Print the library's warnings on standard error; known defects of SQLite only where one can act on them."""
    root = logging.getLogger("session_tokens")
    if not any(isinstance(handler, _ToStandardError) for handler in root.handlers):
        root.addHandler(_ToStandardError())
    root.setLevel(logging.WARNING)
    logging.getLogger("session_tokens.keys").setLevel(logging.INFO)
    # Heads of an audit log are anchored by the service; a command that adds an entry need not say them.
    logging.getLogger("session_tokens.audit").setLevel(logging.ERROR if quiet else logging.NOTSET)
    if quiet:
        logging.getLogger("session_tokens.stores.sqlite").setLevel(logging.ERROR)


def _check_key_options(options: Namespace) -> None:
    if options.action == "create" and options.role is None:
        raise UsageError(f"keys create needs --role, one of {', '.join(ROLES)}")
    bounds = ("network", "owner_prefix", "namespace", "audience", "max_age", "rate", "owner_creations")
    for name in bounds if options.action != "create" else ():
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} goes with keys create; a rotated key keeps what it is bound to"
            )
    if options.action in ("rotate", "revoke") and options.id is None:
        raise UsageError(f"keys {options.action} needs the id of a key; keys list shows them")


def _failed(code: int, name: str, message: str, as_json: bool) -> int:
    text = json.dumps({"error": name, "message": message}) if as_json else f"session-tokens: {_printable(message)}"
    print(text, file=sys.stderr)
    return code


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    sys.exit(main())
