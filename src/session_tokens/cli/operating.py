"""The commands for those who run a store and its service: check, keys, serve."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from ..settings import UNSET, Settings
from . import exits
from .exits import UsageError
from .inputs import secret_from
from .output import key_json, print_json, print_record, print_table, progress

KEY_COLUMNS = (
    "id", "role", "label", "networks", "owner_prefix", "namespace", "created_at", "expires_at", "last_used_at",
)  # fmt: skip

SERVED = {"keys": "/v1/keys", "webhooks": "/v1/webhooks"}
"""Commands that a service offers under an address, though not through this command line."""


def store_url(options: Namespace) -> str:
    """Return the URL of the store that a command is for; raise ``UsageError`` where none is named."""
    if options.store is None:
        raise UsageError("no store is named; give --store URL or set SESSION_TOKENS_STORE (such as sqlite:///file.db)")
    if is_service(options):
        address = SERVED.get(options.command)
        instead = "" if address is None else f"; with an admin key the service does it at {address}"
        raise UsageError(f"this works on the store itself: name its URL, not that of a service{instead}")
    url: str = options.store
    return url


def is_service(options: Namespace) -> bool:
    """Whether what the options name as store is a service, which is asked over HTTP."""
    return options.store is not None and options.store.lower().startswith(("https://", "http://"))


def check(options: Namespace) -> int:
    """Check a store's records and indexes; exit code 4 if something is wrong that was not mended."""
    from ..stores.connect import check_store, fix_store_clock

    url = store_url(options)
    if options.fix_clock:
        fix_store_clock(url)
        if not options.json:
            print("the high-water mark of the clock was cleared")
    with progress("checked", quiet=options.json) as show:
        lines = [str(finding) for finding in check_store(url, fix=options.fix, progress=show)]
        # What was mended shows when the check runs again: not everything that is found can be.
        mending = options.fix and lines
        left = [str(finding) for finding in check_store(url, fix=False, progress=show)] if mending else lines
    if options.json:
        print_json({"findings": lines, "fixed": options.fix, "left": left})
    else:
        print("\n".join(lines) or "nothing is wrong")
        if mending:
            print("\n".join(("could not be mended:", *left)) if left else "all of it was mended", file=sys.stderr)
    return exits.CONFLICT if left else exits.OK


def keys(options: Namespace) -> int:
    """Create, list, rotate or revoke service keys, or find the one of a secret."""
    import asyncio

    from ..stores.connect import insist_it_is_there

    if is_service(options):
        raise UsageError(
            f"keys {options.action} works on the store itself: run it where the service runs, with --store and the URL "
            "of its store; from elsewhere an admin key makes, lists, rotates and revokes keys over HTTP, at /v1/keys"
        )
    if options.action != "create":
        insist_it_is_there(store_url(options))
    return asyncio.run(_keys(options))


async def _keys(options: Namespace) -> int:
    from ..audit.log import Audit
    from ..audit.reader import is_kept, read
    from ..service_keys import keys as service_keys
    from ..service_keys.keys import last_used
    from ..stores.connect import open_store

    store = await open_store(store_url(options))
    try:
        log = Audit() if await read(store, is_kept()) else None
        if options.action == "list":
            found = await service_keys.list_keys(store)
            used = await last_used(store, found)
            listed = [key_json(key, used.get(key.id)) for key in found]
            if options.json:
                print_json({"items": listed, "next": None})
            elif listed:
                print_table(KEY_COLUMNS, listed)
            return exits.OK
        if options.action == "find":
            key = await service_keys.authenticate(store, secret_from(options.secret_file))
            if key is None:
                if options.json:
                    print_json({"active": False})
                else:
                    print("inactive")
                return exits.INACTIVE
            _tell(options, key_json(key, (await last_used(store, [key])).get(key.id)))
            return exits.OK
        if options.action == "revoke":
            gone = await service_keys.revoke_key(store, options.id, audit=log)
            _tell(options, {"revoked": gone})
            return exits.OK if gone else exits.INACTIVE
        if options.action == "create":
            issued = await service_keys.create_key(
                store,
                options.role,
                label=options.label,
                networks=options.network,
                owner_prefix=options.owner_prefix,
                namespace=options.namespace,
                audience=options.audience,
                max_age=options.max_age,
                rate=options.rate,
                owner_creations=options.owner_creations,
                audit=log,
                **({} if options.expires is UNSET else {"lifetime": options.expires}),
            )
        else:
            spans = {"overlap": options.overlap, "lifetime": options.expires}
            given = {name: span for name, span in spans.items() if span is not UNSET}
            issued = await service_keys.rotate_key(store, options.id, audit=log, **given)
        _tell(options, {**key_json(issued.key), "secret": issued.secret})
        if not options.json:
            print("The secret is shown this once; keep it where others cannot read it.", file=sys.stderr)
        return exits.OK
    finally:
        await store.close()


def _tell(options: Namespace, record: dict[str, Any]) -> None:
    if options.json:
        print_json(record)
    else:
        print_record(record)


def settings_of(options: Namespace) -> Settings:
    """Return the general settings that the options name."""
    names = ("max_data_bytes", "events")
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    return Settings(**given)
