"""What can be said to the commands on sessions and tokens, and to all of them."""

from __future__ import annotations

import argparse
import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..crypto.secret_form import SECRET_BEGINNINGS
from ..settings import UNSET
from .argument_types import duration, json_value, whole_number
from .exits import UsageError
from .operators_arguments import MAX_DATA, add_operators_commands
from .store_arguments import add_store_commands

REASONS = (
    "logout", "idle", "expired", "detached_timeout", "replaced", "evicted", "revoked", "theft", "owner_disabled",
)  # fmt: skip


class Parser(ArgumentParser):
    """Ends with a ``UsageError`` where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what was wrong."""
        raise UsageError(f"{_without_secrets(message)}; see {self.prog} --help")


def parsed(words: Sequence[str]) -> Namespace:
    """Return what a command line says.

    Raises:
        UsageError: it cannot be; it names the help of the command that was given.
    """
    options, rest = parser().parse_known_args(words)
    if rest:
        command = "session-tokens" if options.command is None else f"session-tokens {options.command}"
        message = _without_secrets("unrecognized arguments: " + " ".join(rest))
        raise UsageError(f"{message}; see {command} --help")
    return options


def _without_secrets(message: str) -> str:
    """Return a message without words that look like secrets, also mistyped ones."""
    words = (
        word if not word.strip("'\"").startswith(SECRET_BEGINNINGS) else "(a secret)" for word in message.split(" ")
    )
    return " ".join(words)


@functools.cache
def parser() -> ArgumentParser:
    """Return the parser of the whole command line, made once: a program may call ``main`` often."""
    top = Parser(
        prog="session-tokens",
        description="Sessions, and the tokens that live under them.",
        epilog="--store URL, --key-file FILE and --json go before a command or behind it.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="store_true", help="say which version this is")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    shared = Parser(add_help=False, allow_abbrev=False)
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
    add_operators_commands(command)
    add_store_commands(commands, Parser)
    return top


def _session_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    opening = command("open", "commands:open_session", "open a session for an owner; prints its secret once")
    opening.add_argument("owner")
    opening.add_argument("--idle-timeout", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--max-age", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--detachable", action="store_true")
    opening.add_argument("--detached-timeout", type=duration, default=UNSET, metavar="DURATION")
    opening.add_argument("--data", type=json_value, metavar="JSON", help="a small JSON object")
    opening.add_argument("--max-data-bytes", **MAX_DATA)
    opening.add_argument("--label")
    opening.add_argument("--user-agent")
    opening.add_argument("--address")
    _proof_options(opening)
    _once(opening)

    logging_in = command("log-in", "commands:log_in", "open a session for who has logged in and end the former one")
    logging_in.add_argument("owner")
    logging_in.add_argument("--former", metavar="ID", help="the session that the browser had; its data is carried over")
    logging_in.add_argument("--data", type=json_value, metavar="JSON", help="fields beside those that are carried over")
    logging_in.add_argument("--max-data-bytes", **MAX_DATA)
    logging_in.add_argument("--remove", action="append", metavar="FIELD", help="is not carried over; again")
    logging_in.add_argument("--remember", action="store_true", help="it lasts, however little it is used")
    logging_in.add_argument("--idle-timeout", type=duration, default=UNSET, metavar="DURATION")
    logging_in.add_argument("--max-age", type=duration, default=UNSET, metavar="DURATION")
    logging_in.add_argument("--label")
    logging_in.add_argument("--user-agent")
    logging_in.add_argument("--address")
    _proof_options(logging_in)
    _once(logging_in)

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
    _once(issue)

    transfer = command("transfer", "commands:transfer", "hand a token to another owner; prints the new secret once")
    transfer.add_argument("token", metavar="TOKEN_ID")
    transfer.add_argument("--giver", help="its owner; not needed for an unassigned token")
    transfer.add_argument("--receiver", required=True)
    transfer.add_argument("--epoch", type=whole_number, help="only if it has not changed hands since")
    _once(transfer)

    claim = command("claim", "commands:claim", "take an unassigned token into a session; prints the new secret once")
    claim.add_argument("token", nargs="?", metavar="TOKEN_ID")
    claim.add_argument("--next", action="store_true", help="in place of an id: the one that has waited for longest")
    claim.add_argument("--tag", help="of the next one")
    claim.add_argument("--session", metavar="ID", required=True)
    _once(claim)

    end = command("end", "commands:end", "end a session or token by its id, or all sessions of an owner")
    end.add_argument("id", nargs="?")
    end.add_argument("--owner", help="end all their sessions")
    end.add_argument("--except", dest="except_session", metavar="ID", help="but this one")
    end.add_argument("--reason", choices=REASONS, help="of a session; without it: revoked")
    end.add_argument("--yes", action="store_true", help="do not ask")
    _once(end)


def _changing_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    rotate = command("rotate", "changing:rotate", "give a session a new secret; prints it once")
    rotate.add_argument("id", metavar="SESSION_ID")
    rotate.add_argument(
        "--grace", type=duration, metavar="DURATION", help="how long the old secret is good all the same"
    )
    rotate.add_argument("--authenticated", action="store_true", help="its owner has just proved who they are")
    _proof_options(rotate)
    _once(rotate)

    detach = command("detach", "changing:detach", "log a detachable session out and let it go on")
    detach.add_argument("id", metavar="SESSION_ID")
    _once(detach)

    attach = command("attach", "changing:attach", "log a detached session in again; prints its new secret once")
    attach.add_argument("id", metavar="SESSION_ID")
    _once(attach)

    change = command("change", "changing:change", "change a session or token by its id; what is not given stays")
    change.add_argument("id", metavar="ID")
    change.add_argument("--idle-timeout", type=duration, default=UNSET, metavar="DURATION")
    change.add_argument("--max-age", type=duration, default=UNSET, metavar="DURATION", help="from its opening")
    change.add_argument("--detached-timeout", type=duration, default=UNSET, metavar="DURATION")
    change.add_argument("--detachable", action=argparse.BooleanOptionalAction, default=UNSET)
    change.add_argument("--label", default=UNSET)
    change.add_argument("--data", type=json_value, metavar="JSON", help="fields to write; null is a value")
    change.add_argument("--max-data-bytes", **MAX_DATA)
    change.add_argument("--remove", action="append", metavar="FIELD", help="a field of the data that shall go; again")
    change.add_argument("--timeout", type=duration, default=UNSET, metavar="DURATION", help="of a token")
    change.add_argument("--disownment-timeout", type=duration, default=UNSET, metavar="DURATION", help="of a token")
    values = change.add_mutually_exclusive_group()
    values.add_argument("--value", default=UNSET, metavar="TEXT", help="of a token, kept verbatim")
    values.add_argument("--value-json", type=json_value, default=UNSET, metavar="JSON", help="of a token")
    change.add_argument(
        "--if-version", dest="expected", type=whole_number, metavar="N", help="only if it has not changed since"
    )
    _once(change)

    reissue = command("reissue", "changing:reissue", "give a token a new secret; prints it once")
    reissue.add_argument("token", metavar="TOKEN_ID")
    reissue.add_argument("--owner", help="its owner; a free token has none")
    _once(reissue)

    offer = command("offer", "changing:offer", "advertise a transferable token")
    offer.add_argument("token", metavar="TOKEN_ID")
    offer.add_argument("--price", metavar="DECIMAL", help="such as 12.50; below zero the giver pays")
    offer.add_argument("--currency")
    offer.add_argument("--gift", action="store_true")
    offer.add_argument("--to", metavar="OWNER", help="for whom alone it is")
    offer.add_argument("--until", type=duration, metavar="DURATION", help="for how long it is theirs alone")
    _once(offer)

    withdraw = command("withdraw", "changing:withdraw", "take a token's offer away")
    withdraw.add_argument("token", metavar="TOKEN_ID")
    _once(withdraw)


def _passing_commands(command: Callable[[str, str, str], ArgumentParser]) -> None:
    accept = command("accept", "passing:accept", "take an offered token; prints its new secret once")
    accept.add_argument("token", metavar="TOKEN_ID")
    accept.add_argument("--receiver", required=True)
    accept.add_argument("--price", metavar="DECIMAL", help="as it was seen")
    accept.add_argument("--currency")
    accept.add_argument("--settlement", metavar="TEXT", help="a reference to how it was paid; only kept")
    _once(accept)

    lend = command("lend", "passing:lend", "let a borrower use a token; prints the borrower's secret once")
    lend.add_argument("token", metavar="TOKEN_ID")
    lend.add_argument("--borrower", required=True)
    lend.add_argument("--until", type=duration, metavar="DURATION", help="needed where the borrower has no session")
    _once(lend)

    recall = command("recall", "passing:recall", "end the loans of a token")
    recall.add_argument("token", metavar="TOKEN_ID")
    recall.add_argument("--borrower", help="only those to this owner")
    _once(recall)

    consume = command(
        "consume", "passing:consume", "use a counted token up, by its id or by a secret on standard input"
    )
    consume.add_argument("token", nargs="?", metavar="TOKEN_ID")
    consume.add_argument("--secret-file", metavar="FILE", help="mode 0600; else standard input, if no id is given")
    consume.add_argument("--amount", type=whole_number, default=1, metavar="N")
    _once(consume)

    release = command("release", "passing:release", "put a token back among the unassigned ones")
    release.add_argument("token", metavar="TOKEN_ID")
    release.add_argument("--owner", required=True, help="its owner")
    _once(release)

    over = command("hand-over", "passing:hand_over", "hand all transferable tokens of a leaving owner to another")
    over.add_argument("owner")
    over.add_argument("--receiver", required=True)
    over.add_argument("--limit", type=whole_number, metavar="N", help="at most so many; say it again to go on")
    _once(over)


def _once(made: ArgumentParser) -> None:
    made.add_argument("--idempotency-key", metavar="KEY", help="the same again answers what was done the first time")


def _proof_options(made: ArgumentParser) -> None:
    made.add_argument("--acr", metavar="CLASS", help="how surely the owner has just proved who they are")
    made.add_argument(
        "--amr", action="append", default=[], metavar="METHOD", help="by which method, such as otp; again"
    )


def _page_options(made: ArgumentParser) -> None:
    made.add_argument("--after", metavar="CURSOR", help="the next of the page before")
    made.add_argument("--limit", type=whole_number, default=100, metavar="N", help="1 to 500")
