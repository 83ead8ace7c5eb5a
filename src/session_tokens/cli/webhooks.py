"""The command that manages webhooks: who is told of events over HTTP."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any
from urllib.parse import urlsplit

from .._async.api import AsyncSessionTokens
from ..audit.log import Audit
from ..audit.reader import is_kept, read
from ..settings import UNSET
from ..stores.connect import insist_it_is_there
from ..webhooks import hooks
from . import exits
from .exits import UsageError
from .going_together import WEBHOOKS, insist_on_action
from .operating import store_url
from .output import print_json, print_record, print_table

COLUMNS = ("id", "url", "kinds", "created_at", "is_on")
DEAD_COLUMNS = ("at", "id", "kind", "subject_id", "attempts", "why")


def webhooks(options: Namespace) -> int:
    """Add, list, change, remove or rotate webhooks, show what was given up, or send it again."""
    import asyncio

    if (options.subject is None) != (options.action == "list"):
        what = {"add": "a URL", "list": "nothing more"}.get(
            options.action, "the id of a webhook; webhooks list has them"
        )
        raise UsageError(f"webhooks {options.action} takes {what}")
    if options.kind is not None and options.action not in ("add", "change"):
        raise UsageError("--kind goes with webhooks add and change")
    if options.action != "change" and (options.leads_to is not None or options.every_kind or options.on is not None):
        raise UsageError("--url, --every-kind, --on and --off go with webhooks change")
    if options.after is not None and options.action != "replay":
        raise UsageError("--after goes with webhooks replay")
    insist_on_action(options, WEBHOOKS)
    insist_it_is_there(store_url(options))
    return asyncio.run(_webhooks(options))


async def _webhooks(options: Namespace) -> int:
    async with await AsyncSessionTokens.open(store_url(options), sweep=False, near_cache=0) as plain:
        tokens = AsyncSessionTokens(plain.store, audit=Audit()) if await read(plain.store, is_kept()) else plain
        subject = options.subject
        if options.action == "add":
            hook, secret = await hooks.add_webhook(tokens, subject, kinds=options.kind)
            if urlsplit(hook.url).scheme == "http":
                print(f"By http it is sent only by: serve --webhook-allow {urlsplit(hook.url).netloc}", file=sys.stderr)
            return _issued(options, {**hooks.webhook_json(hook), "secret": secret})
        if options.action == "change":
            return await _changed(options, tokens)
        if options.action == "rotate":
            given = {} if options.overlap is UNSET else {"overlap": options.overlap}
            hook, secret = await hooks.rotate_webhook(tokens, subject, **given)
            return _issued(options, {**hooks.webhook_json(hook), "secret": secret})
        if options.action == "list":
            listed = [hooks.webhook_json(hook) for hook in await hooks.list_webhooks(tokens)]
            return _listed(options, COLUMNS, listed)
        if options.action == "dead":
            return _listed(options, DEAD_COLUMNS, hooks.dead_json(await hooks.state_of_webhook(tokens, subject)))
        if options.action == "replay":
            count = await hooks.replay_webhook(tokens, subject, after=options.after)
            _tell(options, {"replayed": count})
            return exits.OK
        is_gone = await hooks.remove_webhook(tokens, subject)
        _tell(options, {"removed": is_gone})
        return exits.OK if is_gone else exits.INACTIVE


async def _changed(options: Namespace, tokens: AsyncSessionTokens) -> int:
    kinds = None if options.every_kind else UNSET if options.kind is None else options.kind
    hook = await hooks.change_webhook(
        tokens,
        options.subject,
        url=UNSET if options.leads_to is None else options.leads_to,
        kinds=kinds,
        is_on=UNSET if options.on is None else options.on,
    )
    _tell(options, hooks.webhook_json(hook))
    return exits.OK


def _issued(options: Namespace, record: dict[str, Any]) -> int:
    _tell(options, record)
    if not options.json:
        print("The secret proves to the receiver who sends; give it to nobody else.", file=sys.stderr)
    return exits.OK


def _listed(options: Namespace, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> int:
    if options.json:
        print_json({"items": rows, "next": None})
    elif rows:
        print_table(columns, rows)
    return exits.OK


def _tell(options: Namespace, record: dict[str, Any]) -> None:
    if options.json:
        print_json(record)
    else:
        print_record(record)
