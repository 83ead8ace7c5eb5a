"""What the command line takes: durations, secrets from stdin or a file, and never a secret as an argument."""

from __future__ import annotations

import json
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..crypto.secret_form import SECRET_BEGINNINGS, holds_secret
from ..errors import InvalidInput
from ..stored_settings import VARIABLES, seconds_written
from .exits import UsageError

SECRET_BYTES_MAX = 4_096
ENVIRONMENT = frozenset(
    {
        "STORE",
        "KEY_FILE",
        "PEPPER",
        "PEPPER_FILE",
        "PROVE",
        "SEALED",
        "NEAR_CACHE",
        *(name.removeprefix("SESSION_TOKENS_") for name in VARIABLES),
    }
)
"""What follows ``SESSION_TOKENS_`` in the names of environment variables that mean something."""


OF_ALL_COMMANDS = {"--store": 2, "--key-file": 2, "--json": 1}
"""Options that may stand before the command too, and of how many words each is."""


def command_first(words: Sequence[str]) -> list[str]:
    """Return a command line whose options before the command, of those that all take, stand behind it.

    They stand before its other options there, so that of two values the one said last counts.
    """
    first = 0
    while first < len(words) and (name := words[first].partition("=")[0]) in OF_ALL_COMMANDS:
        first += OF_ALL_COMMANDS[name] if words[first] == name else 1
    options, rest = list(words[:first]), list(words[first:])
    if not rest:
        return []
    place = next((number for number, word in enumerate(rest) if word.startswith("-")), len(rest))
    return [*rest[:place], *options, *rest[place:]]


def refuse_secrets(arguments: Sequence[str]) -> None:
    """Refuse a command line that holds a secret: every user of the machine could read it there.

    Raises:
        UsageError: names how to give it instead.
    """
    for argument in arguments:
        text = argument.partition("=")[2] if argument.startswith("--") else argument
        if holds_secret(argument) or (text.startswith(SECRET_BEGINNINGS) and len(text) > 20):
            raise UsageError("a secret is never an argument; give it on standard input, or in a file (--secret-file)")


def refuse_unknown_environment() -> None:
    """Refuse variables that look like ours and mean nothing, and two that contradict each other.

    Raises:
        UsageError: names them.
    """
    for name in os.environ:
        if name.startswith("SESSION_TOKENS_") and name.removeprefix("SESSION_TOKENS_") not in ENVIRONMENT:
            known = ", ".join(f"SESSION_TOKENS_{known}" for known in sorted(ENVIRONMENT - {"PROVE"}))
            raise UsageError(f"the environment variable {name} means nothing here; known: {known}")
    if os.environ.get("SESSION_TOKENS_PEPPER") and os.environ.get("SESSION_TOKENS_PEPPER_FILE"):
        raise UsageError("SESSION_TOKENS_PEPPER and SESSION_TOKENS_PEPPER_FILE are both set; unset one")


def duration_of(text: str) -> float | None:
    """Return a duration in seconds: ``3600``, ``90s``, ``15m``, ``12h``, ``30d``; ``never`` is ``None``.

    Raises:
        UsageError: it is written in another way.
    """
    try:
        return seconds_written(text)
    except InvalidInput as error:
        raise UsageError(str(error)) from None


def json_of(text: str) -> Any:
    """Return a JSON value.

    Raises:
        UsageError: it is no JSON, or an object has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise UsageError("that is no JSON value (keys once each, no NaN); quote it for the shell") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def secret_from(file: str | None) -> str:
    """Return a secret from a file of mode 0600 or from standard input, less exactly one final newline.

    At a terminal it is asked for, and what is typed is not shown.

    Raises:
        UsageError: the file is no plain file, is open to others or is not UTF-8; or there is nothing.
    """
    if file is None and sys.stdin.isatty():
        return _typed_secret()
    raw = sys.stdin.buffer.read(SECRET_BYTES_MAX + 1) if file is None or file == "-" else _read_private(Path(file))
    if len(raw) > SECRET_BYTES_MAX:
        return ""  # no secret is that long; it is answered as every other string that is none
    text = raw.decode("utf-8", "replace")
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def service_key_of(options: Namespace) -> str:
    """Return the service key with which a service is asked: from ``--key-file``, else ``SESSION_TOKENS_KEY_FILE``.

    Raises:
        UsageError: no file is named, or it is none that holds a secret as it should.
    """
    file = options.key_file or os.environ.get("SESSION_TOKENS_KEY_FILE")
    if not file:
        raise UsageError("a service is asked with a service key: give --key-file FILE or set SESSION_TOKENS_KEY_FILE")
    return secret_from(file)


def _typed_secret() -> str:
    from getpass import getpass

    try:
        return getpass("Secret: ", stream=sys.stderr)
    except EOFError:
        raise UsageError("no secret was typed") from None


def _read_private(path: Path) -> bytes:
    try:
        # A pipe that nobody writes to is no plain file either, and is not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(f"the secret file {path} cannot be read ({error.strerror}); a link is not followed") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"the secret file {path} is no plain file")
        if status.st_mode & 0o077:
            raise UsageError(f"the secret file {path} is open to others; chmod 600 it")
        raw = os.read(descriptor, SECRET_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if not raw:
        raise UsageError(f"the secret file {path} is empty")
    return raw
