"""The command that says why something is as it is."""

from __future__ import annotations

from argparse import Namespace

from . import exits
from .commands import opened
from .output import print_json, print_record


def explain(options: Namespace) -> int:
    """Say why a session, token or service key is as it is; exit code 1 if it does not live."""
    with opened(options) as tokens:
        explained = tokens.explain(options.id)
    record = explained.to_dict()
    if options.json:
        print_json(record)
    else:
        record.pop("because")
        record["since_at"] = record.pop("since")
        print_record(record)
        print("\n".join(("", *explained.because)))
    return exits.OK if explained.is_alive else exits.INACTIVE
