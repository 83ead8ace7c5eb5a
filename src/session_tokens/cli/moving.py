"""The command ``import``: moves sessions of another library in before their cookies are presented, and finishes that.

Their cookies are needed all the same: what is imported waits for the browser that brings its cookie to an application
with ``migrate_from``. So nothing is imported that the application would not take, and no secret is printed.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from . import exits
from .commands import opened
from .exits import UsageError
from .going_together import insist_on_nothing_else
from .inputs import duration_of
from .operating import store_url
from .output import print_json, print_record, progress


def import_sessions(options: Namespace) -> int:
    """Move in what is stored there, or finish moving in."""
    if options.finish == (options.kind is not None):
        raise UsageError("import needs --from and --server, or --finish")
    store_url(options)  # a service moves nobody in
    if options.finish:
        insist_on_nothing_else(options, "--finish", "--server", "--prefix", "--owner", "--lifetime", "--time-zone")
        with opened(options) as tokens:
            answer: dict[str, Any] = {"finished": True, "new": tokens.finish_moving_in()}
    else:
        answer = _imported(options)
        if answer["visitors_among_them"]:
            print(_of_visitors(answer["visitors_among_them"], answer["moved"]), file=sys.stderr)
    if options.json:
        print_json(answer)
    else:
        print_record(answer)
    return exits.OK


def _imported(options: Namespace) -> dict[str, Any]:
    from ..web.moving_in import moving_in_stored
    from ..web.session import drive

    peer = _peer_of(options)
    with opened(options, make=True) as tokens, progress("read", quiet=options.json) as show:
        return dict(moving_in_stored(peer, partial(drive, tokens), show, wants_owners=True))


def _of_visitors(count: int, moved: int) -> str:
    """Return what is said of those who may be users all the same."""
    are = "is a visitor's" if count == 1 else "are visitors'"
    return (
        f"{count} of the {moved} sessions that were moved {are}, and that for good: nothing in them says who is logged "
        "in. If users are among them, their sessions name them by another field than the one that was looked at "
        "(--owner); they log in once more"
    )


def _peer_of(options: Namespace) -> Any:
    from ..web.moving_in import peers

    server = options.server
    if server is None:
        raise UsageError("import --from needs --server, where the sessions are: redis://…, postgresql://…, or a folder")
    given: dict[str, Any] = {} if options.prefix is None else {"prefix": options.prefix}
    if options.owner is not None:
        given["owner"] = options.owner
    elif options.kind in ("starsessions", "beaker"):
        raise UsageError(f"import --from {options.kind} needs --owner, the field that says who is logged in")
    if options.kind in ("aiohttp", "beaker"):
        if options.lifetime is None:
            raise UsageError(f"import --from {options.kind} needs --lifetime, as it has it: 30d, never")
        given["lifetime" if options.kind == "aiohttp" else "timeout"] = duration_of(options.lifetime)
    else:
        insist_on_nothing_else(options, f"--from {options.kind}", "--lifetime")
    is_postgres = options.kind == "express" and server.startswith(("postgres://", "postgresql://"))
    if not is_postgres:
        insist_on_nothing_else(options, "what is not in PostgreSQL", "--time-zone")
    if is_postgres:
        if options.time_zone is None:
            raise UsageError("import --from express needs --time-zone with PostgreSQL; SHOW TimeZone says it there")
        return _made(peers.ExpressPostgres, server, secret="unused", time_zone=options.time_zone, **given)
    if options.kind == "express":  # cookies are not looked at here, so that no secret is needed
        return _made(peers.ExpressRedis, server, secret="unused", **given)
    made = {
        "flask-session": peers.FlaskSessionRedis,
        "starsessions": peers.StarsessionsRedis,
        "aiohttp": peers.AiohttpRedis,
        "beaker": peers.BeakerRedis if "://" in server else peers.BeakerFiles,
    }
    return _made(made[options.kind], server, **given)


def _made(peer: Callable[..., Any], server: str, **given: Any) -> Any:
    """Return the peer.

    Raises:
        UsageError: it has no option of that name.
    """
    if "prefix" in given and "prefix" not in signature(peer).parameters:
        raise UsageError("--prefix is for flask-session, starsessions and express on Redis")
    return peer(server, **given)
