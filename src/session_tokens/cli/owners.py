"""The command on owners as such: who there is, disabling and enabling one, giving one another name, forgetting one."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from . import exits
from .commands import insist_on, opened, say_what_is_missing
from .exits import UsageError
from .output import print_json, print_table

COLUMNS = ("owner", "sessions", "since_at", "disabled_at")


def owners(options: Namespace) -> int:
    """List owners, disable one, enable one again, give one another name, or forget one."""
    if (options.owner is None) != (options.action == "list") or (options.to is None) != (options.action != "rename"):
        raise UsageError(
            "say owners list, owners disable OWNER, owners enable OWNER, owners rename OWNER --to OTHER, "
            "or owners forget OWNER"
        )
    if options.action != "list" and (options.disabled or options.anonymous or options.after is not None):
        raise UsageError("--disabled, --anonymous and --after go with owners list")
    if options.action == "list":
        return _list(options)
    if options.action == "rename":
        return _rename(options)
    if options.action == "forget":
        return _forget(options)
    with opened(options, make=options.action == "disable") as tokens:
        act = tokens.disable_owner if options.action == "disable" else tokens.enable_owner
        changed = act(options.owner, idempotency_key=options.idempotency_key)
    if options.json:
        print_json({"owner": options.owner, "disabled": options.action == "disable", "changed": changed})
    else:
        print(f"{options.action}d" if changed else f"was {options.action}d already")
    return exits.OK


def _list(options: Namespace) -> int:
    with opened(options) as tokens:
        if options.disabled:
            page = tokens.list_disabled_owners(after=options.after, limit=options.limit)
        else:
            page = tokens.list_owners(
                anonymous=options.anonymous, newest=options.newest, after=options.after, limit=options.limit
            )
    rows: list[dict[str, Any]] = [owner._asdict() for owner in page]
    if options.json:
        print_json({"items": rows, "next": page.after, "unreadable": list(page.unreadable)})
        return exits.OK
    if rows:
        print_table(COLUMNS, [{**row, "since_at": row["since"]} for row in rows])
    say_what_is_missing(page)
    return exits.OK


def _rename(options: Namespace) -> int:
    with opened(options) as tokens:
        count = tokens.rename_owner(options.owner, options.to, idempotency_key=options.idempotency_key)
    if options.json:
        print_json({"owner": options.to, "renamed": count})
    else:
        print(f"sessions and tokens renamed: {count}")
    return exits.OK if count else exits.INACTIVE


def _forget(options: Namespace) -> int:
    if not options.yes:
        insist_on("ends all that is theirs, for good, and forgets", options.owner)
    with opened(options) as tokens:
        forgotten = tokens.forget_owner(options.owner, idempotency_key=options.idempotency_key)._asdict()
    if options.json:
        print_json(forgotten)
    else:
        for name, value in forgotten.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return exits.OK
