"""Checks where a store's files stand: nobody else may put another file, or a link, in their place.

Whoever may write to a folder can rename what is in it and plant files of the names that are opened next. In a folder
with the sticky bit, such as /tmp, others can plant but not rename; what they planted belongs to them and is refused.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from ..errors import InvalidInput

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database."""


def insist_on_safe_folder(path: Path, what: str) -> None:
    """Accept a file whose folder belongs to this user or to root, and can be written by nobody else.

    A folder that is not there is for others to complain of.

    Args:
        path: the file; it need not be there.
        what: what it is, for the error.

    Raises:
        InvalidInput: the folder is not safe; the message says what is wrong and the remedy.
    """
    folder = path.absolute().parent
    try:
        status, link = os.stat(folder), os.lstat(folder)
    except OSError:
        return
    own = {0, os.geteuid()}
    for found in (link, status):
        if found.st_uid not in own:
            kind = "symbolic link" if stat.S_ISLNK(found.st_mode) else "folder"
            raise InvalidInput(
                f"the {kind} {folder} of the {what} {path.name} belongs to {_user(found.st_uid)}, who could put "
                f"another file in its place; {_as_that_user(found.st_uid)}, or use a folder of your own"
            )
    if status.st_mode & stat.S_ISVTX:
        return
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_private_group(status)
    if stat.S_ISDIR(status.st_mode) and (others or group):
        raise InvalidInput(
            f"the folder {folder} of the {what} {path.name} can be written by others "
            f"({stat.filemode(status.st_mode)}), who could put another file in its place; chmod "
            f"{'o' if others else 'g'}-w it, or make a folder for the file alone (mkdir -m 700)"
        )


def insist_on_own_database(path: Path) -> None:
    """Accept a database that is not there yet, or is a file of this user with companions of this user.

    Raises:
        InvalidInput: it is a link, or it or a companion belongs to another user, root's own process included: what
            root leaves behind there, its user could not open any more, and what that user planted, root would follow.
    """
    for name, what in ((path, "database"), *((Path(f"{path}{end}"), "file") for end in COMPANIONS)):
        try:
            status = os.lstat(name)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            raise InvalidInput(f"the {what} {name} is a symbolic link; name the file itself, or remove the link")
        if stat.S_ISREG(status.st_mode) and status.st_uid != os.geteuid():
            raise InvalidInput(
                f"the {what} {name} belongs to {_user(status.st_uid)}; {_as_that_user(status.st_uid)}, or chown it"
            )


def _is_private_group(status: os.stat_result) -> bool:
    """Whether a group is that of the file's owner alone, as many systems give each user one of their own."""
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return status.st_gid == owner.pw_gid and group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}


def _user(uid: int) -> str:
    try:
        return f"user {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"user {uid}"


def _as_that_user(uid: int) -> str:
    return f"run as that user (setpriv --reuid={uid} --clear-groups …)" if os.geteuid() == 0 else "run as that user"
