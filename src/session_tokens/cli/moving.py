"""The command ``import``: moves sessions of another library in before their cookies are presented, and finishes that.

Their cookies are needed all the same: what is imported waits for the browser that brings its cookie to an application
with ``migrate_from``. So nothing is imported that the application would not take, and no secret is printed.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..errors import Refused
from . import exits
from .commands import opened
from .exits import UsageError
from .operating import store_url
from .output import print_json, print_record, progress


def import_sessions(options: Namespace) -> int:
    """Move in what is stored there, or finish moving in."""
    if options.finish == (options.kind is not None):
        raise UsageError("import needs --from and --server, or --finish")
    store_url(options)  # a service moves nobody in
    if options.finish:
        with opened(options) as tokens:
            answer: dict[str, Any] = {"finished": True, "new": tokens.finish_moving_in()}
    else:
        answer = _imported(options)
    if options.json:
        print_json(answer)
    else:
        print_record(answer)
    return exits.OK


def _imported(options: Namespace) -> dict[str, Any]:
    from ..web.moving_in import moving_in_as
    from ..web.session import drive

    peer = _peer_of(options)
    counts = {"moved": 0, "empty_or_unreadable": 0, "refused": 0}
    with opened(options, make=True) as tokens, progress("read", quiet=options.json) as show:
        for number, id in enumerate(peer.ids(), 1):
            former = peer.stored(id)
            if former is None:
                counts["empty_or_unreadable"] += 1
            else:
                try:
                    issued = drive(tokens, moving_in_as(former, options={"presented": False}))
                except Refused:
                    issued = None
                counts["refused" if issued is None else "moved"] += 1
            show(number)
    return counts


def _peer_of(options: Namespace) -> Any:
    from ..web.moving_in.redis import ExpressRedis, FlaskSessionRedis, StarsessionsRedis

    if options.server is None:
        raise UsageError("import --from needs --server, the address of the Redis or Valkey server with the sessions")
    given: dict[str, Any] = {} if options.prefix is None else {"prefix": options.prefix}
    if options.owner is not None:
        given["owner"] = options.owner
    if options.kind == "flask-session":
        return FlaskSessionRedis(options.server, **given)
    if options.kind == "express":  # cookies are not looked at here, so that no secret is needed
        return ExpressRedis(options.server, secret="unused", **given)
    if options.owner is None:
        raise UsageError("import --from starsessions needs --owner, the field that says who is logged in")
    return StarsessionsRedis(options.server, **given)
