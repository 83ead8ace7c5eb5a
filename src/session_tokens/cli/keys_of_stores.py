"""The commands that change the keys of a store, pepper or data key, and say what is to be done next."""

from __future__ import annotations

import sys
from argparse import Namespace

from . import exits
from .exits import UsageError
from .operating import store_url
from .output import print_json, progress

NEXT = {
    "add": "Give the key file to every host and start every process anew; then: session-tokens {command} promote {id}",
    "promote": "Give the key file to every host and start every process anew; the old {kind} stays as the second one "
    "until session-tokens {command} retire takes it away",
    "retire": "Give the key file to every host; processes go on as they are",
}


def change(options: Namespace) -> int:
    """Add, promote or retire a pepper or data key; exit code 4 where it is too early for that."""
    from ..rules.data_keys import data_keys_of
    from ..stores.key_changes import DATA_KEY, PEPPER, add_key, promote_key, retire_key

    command: str = options.command
    kind = PEPPER if command == "pepper" else DATA_KEY
    url, key_id = store_url(options), options.id
    if options.action == "add":
        if key_id is not None:
            raise UsageError(f"{command} add makes a {kind.name} of its own; it takes no id")
        key_id = add_key(url, kind)
    elif options.action == "promote":
        key_id = promote_key(url, kind, key_id)
    else:
        if key_id is None:
            raise UsageError(f"{command} retire needs the id of a {kind.name}, as it stands in the key file")
        with progress("written anew", quiet=options.json) as show:
            retire_key(url, kind, key_id, show, data_keys_of)
    if options.json:
        print_json({"action": options.action, "key_id": key_id})
    else:
        print(key_id)
        print(NEXT[options.action].format(id=key_id, command=command, kind=kind.name), file=sys.stderr)
    return exits.OK
