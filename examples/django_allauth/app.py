"""A Django site with allauth, a page of devices, log-out everywhere, and a page that wants a recent log-in.

Run it with ``make example NAME=django_allauth`` and open it in two browsers. What to copy is in ``settings.py``.
It needs ``pip install "session-tokens[django]" django-allauth``.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")


def prepare() -> None:
    """Make the tables and two users whose passwords are their names, if they are not there."""
    from django.contrib.auth import get_user_model

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    for name in ("alice", "bob"):
        if not users.filter(username=name).exists():
            users.create_user(name, password=name)


if __name__ == "__main__":
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    django.setup()
    prepare()
    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False)
