#!/usr/bin/env bash
# Flask-Session 0.8.0 keeps other types than Flask's own signed cookie, in both of its formats.
#
# Flask 3.1.3 gives back a tuple, a UUID and Markup as they were put in, and makes text of a number that is a key.
# With Flask-Session 0.8.0 (msgspec, format "msgpack", its default) a tuple comes back as a list and a UUID as text,
# Markup is a TypeError when the session is saved, so that flash(Markup(…)) fails; a number that is a key stays one.
# With its format "json" bytes and instants come back as text too. Seen on 2026-11-28; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install Flask==3.1.3 Flask-Session==0.8.0 msgspec==0.20.0 cachelib==0.13.0
cat > "$folder/see.py" <<'PY'
import datetime
import logging
import uuid

from flask import Flask
from flask.json.tag import TaggedJSONSerializer
from flask_session.base import MsgSpecSerializer
from markupsafe import Markup

logging.disable()
when = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
VALUES = {"tuple": (1, 2), "uuid": uuid.UUID(int=5), "markup": Markup("<b>"), "bytes": b"a", "when": when, "key": {1: 2}}
own = TaggedJSONSerializer()
WAYS = {"flask": lambda value: own.loads(own.dumps(value))}
for form in ("msgpack", "json"):
    WAYS[form] = lambda value, its=MsgSpecSerializer(Flask("x"), form): its.decode(its.encode(value))
for way, through in WAYS.items():
    kinds = []
    for name, value in VALUES.items():
        try:
            back = through({name: value})[name]
        except TypeError as error:
            kinds.append(f"{name}: {type(error).__name__}")
        else:
            kinds.append(f"{name}: {type(next(iter(back)) if name == 'key' else back).__name__}")
    print(way, "|", ", ".join(kinds))
PY
"$folder/venv/bin/python" "$folder/see.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
flask | tuple: tuple, uuid: UUID, markup: Markup, bytes: bytes, when: datetime, key: str
msgpack | tuple: list, uuid: str, markup: TypeError, bytes: bytes, when: datetime, key: int
json | tuple: list, uuid: str, markup: TypeError, bytes: str, when: str, key: str
SEEN
