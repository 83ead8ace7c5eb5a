"""The entry point of ``session-tokens``: what can be said, and how it ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from ..audit.log import act_of_user, acting
from ..errors import SessionTokensError
from . import exits
from .arguments import parsed
from .exits import UsageError
from .going_together import KEYS, insist_on_action
from .inputs import command_first, refuse_secrets, refuse_unknown_environment
from .operators_arguments import ROLES

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What is said of a disk that takes no more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 inactive, 2 bad input, 3 unavailable, 4 conflict, 5 denied."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    return exit_code_of(lambda: _run(words), as_json="--json" in words)


def exit_code_of(run: Callable[[], int], *, as_json: bool) -> int:
    """Run something and return its exit code; what it raises is told on standard error."""
    _mend_closed_streams()
    try:
        code = run()
        sys.stdout.flush()
    except SessionTokensError as error:
        return _failed(exits.code_of(error), error.code, str(error), as_json)
    except (TypeError, UnicodeError) as error:
        return _failed(exits.BAD_INPUT, "invalid_input", str(error), as_json)
    except BrokenPipeError:
        _say_no_more()  # nobody reads on
        return exits.OK
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:  # stores and files say which they are
            _say_no_more()
            said = f"the answer cannot be written to standard output: {error.strerror}; what was asked for may be done"
            return _failed(exits.UNAVAILABLE, "output_lost", said, as_json)
        return _failed(exits.UNAVAILABLE, "store_unavailable", error.strerror or str(error), as_json)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def _say_no_more() -> None:
    """Let standard output swallow what it still holds, which is tried once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mend_closed_streams() -> None:
    """Let what was closed before we began (``>&-``, ``<&-``) swallow what is printed, and hold nothing to be read."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for as long as we run


def _run(words: list[str]) -> int:
    refuse_secrets(words)
    refuse_unknown_environment()
    options = parsed(command_first(words))
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
    warn(quiet=options.command not in ("serve", "check", "store"))
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


def warn(*, quiet: bool) -> None:
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
    insist_on_action(options, KEYS)
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
