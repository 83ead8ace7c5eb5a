"""The commands on a whole store: migrate its tables, check it, copy it into another by several ways, give that up."""

from __future__ import annotations

import sys
from argparse import Namespace

from . import exits
from .operating import check, store_url
from .output import print_json, print_record, progress

__all__ = ["abandon", "backup", "check", "copy", "export", "import_", "migrate", "restore"]


def migrate(options: Namespace) -> int:
    """Bring a store's tables up to this version, those of ``SessionTokens`` and those of ``TokenTables``."""
    from ..stores.connect import migrate_store

    taken = migrate_store(store_url(options), grant_to=options.grant_to)
    steps = sum(map(len, (taken or {}).values()))
    if options.json:
        print_json({"steps": steps, "needed": taken is not None})
    elif taken is None:
        print("there is nothing to migrate: this store is brought up to date when it is opened")
    else:
        print(f"{steps} steps taken" if steps else "the tables are of this version already")
    return exits.OK


def copy(options: Namespace) -> int:
    """Copy everything into another store; exit code 4 where that one holds something else."""
    from ..rules.copied_settings import setting_moved
    from ..stores.connect import copy_store

    with progress("copied and compared", quiet=options.json) as show:
        counts, written, events = copy_store(
            options.source, options.target, show, setting_moved, sealed=_sealed(options)
        )
    if events:
        print(
            "events have other ids in the copy: named followers and webhooks go on where they were, whoever keeps the "
            "id of an event elsewhere begins anew",
            file=sys.stderr,
        )
    if options.json:
        print_json({"records": counts, "written": written, "events": events})
        return exits.OK
    print_record({**{f"{kind} records": count for kind, count in counts.items()}, "events": events})
    if not written:
        print("the target held all of it already", file=sys.stderr)
    return exits.OK


def _sealed(options: Namespace) -> bool | None:
    """Return what was said of whether a new store seals values."""
    said: str | None = options.sealed
    return None if said is None else said == "yes"


def backup(options: Namespace) -> int:
    """Write everything that a store holds into a new file, while it is in use."""
    from ..rules.copied_settings import ENDS, setting_moved, within_ends
    from ..stores.backup import Moving, backup_store

    with progress("backed up", quiet=options.json) as show:
        made = backup_store(store_url(options), options.file, show, Moving(setting_moved, ENDS, within_ends))
    if options.json:
        print_json({"file": options.file, "records": made.records, "key_file": made.key_file})
        return exits.OK
    print(f"{made.records} records are in {options.file}")
    if made.key_file is not None:
        print(f"It needs {made.key_file}: keep that elsewhere, who has both has every record", file=sys.stderr)
    else:
        print("It needs the keys that the store was opened with; they are not in it", file=sys.stderr)
    return exits.OK


def restore(options: Namespace) -> int:
    """Put a backup into a store that is empty, or not there; exit code 4 where it holds something."""
    from ..rules.copied_settings import setting_moved
    from ..stores.backup import restore_store

    with progress("put back", quiet=options.json) as show:
        made = restore_store(options.file, store_url(options), show, setting_moved, sealed=_sealed(options))
    if options.json:
        print_json({"records": made.records, "key_file": made.key_file})
    else:
        print(f"{made.records} records were put back")
    return exits.OK


def export(options: Namespace) -> int:
    """Write everything that a store holds as lines of JSON, into a new file or onto standard output."""
    from ..rules.copied_settings import ENDS, setting_moved, within_ends
    from ..stores.backup import Moving
    from ..stores.export import export_store, export_to_file

    moving, is_shown = Moving(setting_moved, ENDS, within_ends), options.file == "-"
    with progress("exported", quiet=options.json) as show:
        if is_shown:
            made = export_store(store_url(options), sys.stdout.buffer.write, show, moving)
            sys.stdout.buffer.flush()
        else:
            made = export_to_file(store_url(options), options.file, show, moving)
    if options.json:
        if not is_shown:
            print_json({"file": options.file, **made._asdict()})
        return exits.OK
    place = "on standard output" if is_shown else f"in {options.file}"
    print(
        f"{made.records} records and {made.events} events are {place}",
        file=sys.stderr if is_shown else sys.stdout,
    )
    opened = "Values are in clear in it, which the store seals. " if made.unsealed else ""
    keys = f"the keys in {made.keys}" if made.keys is not None else "the keys that the store was opened with"
    print(f"{opened}An import needs {keys}; they are not in it", file=sys.stderr)
    return exits.OK


def import_(options: Namespace) -> int:
    """Put what was exported into a store that is empty, or not there; exit code 4 where it holds something."""
    from ..rules.copied_settings import setting_moved
    from ..stores.export import import_store

    with progress("put in", quiet=options.json) as show:
        made = import_store(options.file, store_url(options), show, setting_moved, sealed=_sealed(options))
    if options.json:
        print_json({"records": made.records, "events": made.events})
    else:
        print(f"{made.records} records and {made.events} events were put in")
    return exits.OK


def abandon(options: Namespace) -> int:
    """Empty a store into which a copy was not finished; exit code 4 where none was begun."""
    from ..stores.connect import abandon_store

    abandon_store(store_url(options))
    if options.json:
        print_json({"abandoned": True})
    else:
        print("the store is empty")
    return exits.OK
