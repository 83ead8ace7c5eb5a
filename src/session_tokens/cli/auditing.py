"""The command that verifies the audit log of a store, lists its last entries, or exports them as JSON lines."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from ..settings import PAGE_LIMIT_MAX
from . import exits
from .commands import opened
from .exits import UsageError
from .operating import store_url
from .output import print_json, print_table, progress

COLUMNS = ("chain", "n", "at", "kind", "subject_id", "owner", "reason", "previous_owner", "actor", "request")
FILTERS = ("kind", "owner", "subject", "actor", "since", "until", "after")


def audit(options: Namespace) -> int:
    """Verify the audit log against its anchors (exit code 4 if it is broken), list its last entries, or export all."""
    given = {name: value for name in FILTERS if (value := getattr(options, name)) is not None}
    if options.action == "verify":
        if given:
            raise UsageError("audit verify looks at all entries; filters go with audit list and audit export")
        return _verify(options)
    if options.anchor is not None:
        raise UsageError("--anchor goes with audit verify")
    return _export(options, given) if options.action == "export" else _list(options, given)


def _list(options: Namespace, given: dict[str, Any]) -> int:
    with opened(options) as tokens:
        page = tokens.list_audit(**given, limit=options.limit)
    if options.json:
        print_json({"items": list(page), "next": page.after})
        return exits.OK
    if page.items:
        print_table(COLUMNS, list(page))
    elif not given and page.after is None:
        print("no entry; an audit log is begun by session-tokens serve --audit, or open(audit=)", file=sys.stderr)
    if page.after is not None:
        print(f"more: --after {page.after}", file=sys.stderr)
    return exits.OK


def _export(options: Namespace, given: dict[str, Any]) -> int:
    """Print all entries that are asked for, one JSON object a line, the newest first."""
    done = 0
    with opened(options) as tokens, progress("exported", quiet=options.json) as show:
        while True:
            page = tokens.list_audit(**given, limit=PAGE_LIMIT_MAX)
            for entry in page:
                print_json(entry)
            done += len(page)
            show(done)
            if page.after is None:
                return exits.OK
            given["after"] = page.after


def _verify(options: Namespace) -> int:
    from ..audit.log import read_anchors
    from ..audit.reader import read_now, verifying
    from ..stores.connect import insist_it_is_there, open_store_now

    insist_it_is_there(store_url(options))
    anchors = [] if options.anchor is None else read_anchors(Path(options.anchor))
    store = open_store_now(store_url(options))
    try:
        with progress("verified", quiet=options.json) as show:
            verdict = read_now(store, verifying(store.keyring, anchors, show))
    finally:
        store.close_now()
    if options.json:
        print_json(verdict._asdict())
    else:
        print("\n".join(verdict.findings) or f"whole: {verdict.entries} entries, {verdict.anchors} anchors")
        if not anchors:
            print("without an anchor a chain that was cut short is not noticed", file=sys.stderr)
    return exits.CONFLICT if verdict.findings else exits.OK
