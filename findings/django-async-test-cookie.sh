#!/usr/bin/env bash
# Django 5.2.19: adelete_test_cookie() does not mark the session as modified, so that nothing of it is saved.
#
# delete_test_cookie() deletes through the session and marks it; its twin for asyncio deletes from the cached data and
# marks nothing. The middleware saves a session that is modified: the test cookie is there again with the next request.
# Seen on 2026-11-28 with the engines signed_cookies and cache; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install Django==5.2.19
cat > "$folder/see.py" <<'PY'
import asyncio
from importlib import import_module

import django
from django.conf import settings

settings.configure(SECRET_KEY="x", INSTALLED_APPS=["django.contrib.sessions"])
django.setup()


async def by_asyncio(session):
    await session.aset_test_cookie()
    session.modified = False
    await session.adelete_test_cookie()


for engine in ("signed_cookies", "cache"):
    kind = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore
    blocking, awaited = kind(), kind()
    blocking.set_test_cookie()
    blocking.modified = False
    blocking.delete_test_cookie()
    asyncio.run(by_asyncio(awaited))
    print(engine, "| delete_test_cookie: modified", blocking.modified, "| adelete_test_cookie: modified", awaited.modified)
PY
"$folder/venv/bin/python" "$folder/see.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
signed_cookies | delete_test_cookie: modified True | adelete_test_cookie: modified False
cache | delete_test_cookie: modified True | adelete_test_cookie: modified False
SEEN
