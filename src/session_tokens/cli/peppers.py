"""The command that changes the pepper of a store, and says what is to be done next."""

from __future__ import annotations

import sys
from argparse import Namespace

from . import exits
from .exits import UsageError
from .operating import store_url
from .output import print_json, progress

NEXT = {
    "add": "Give the key file to every host and start every process anew; then: session-tokens pepper promote {id}",
    "promote": "Give the key file to every host and start every process anew; the old pepper stays as the second one "
    "until session-tokens pepper retire takes it away",
    "retire": "Give the key file to every host; processes go on as they are",
}


def pepper(options: Namespace) -> int:
    """Add, promote or retire a pepper; exit code 4 where it is too early for that."""
    from ..stores.peppers import add_pepper, promote_pepper, retire_pepper

    url, key_id = store_url(options), options.id
    if options.action == "add":
        if key_id is not None:
            raise UsageError("pepper add makes a pepper of its own; it takes no id")
        key_id = add_pepper(url)
    elif options.action == "promote":
        key_id = promote_pepper(url, key_id)
    else:
        if key_id is None:
            raise UsageError("pepper retire needs the id of a pepper, as it stands in the key file")
        with progress("signed anew", quiet=options.json) as show:
            retire_pepper(url, key_id, show)
    if options.json:
        print_json({"action": options.action, "key_id": key_id})
    else:
        print(key_id)
        print(NEXT[options.action].format(id=key_id), file=sys.stderr)
    return exits.OK
