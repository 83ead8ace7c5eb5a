#!/usr/bin/env bash
# Litestar 2.25.0, sessions on the server's side: each visitor who sends no cookie is given a record and a cookie, even
# where the handler never looks at the session; and the answer does not say that it varies with the cookie.
#
# Health checks and robots thus fill the store until max_age (14 days) is over. Seen on 2026-11-28 with the store in
# memory; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install litestar==2.25.0 httpx==0.28.1
cat > "$folder/see.py" <<'PY'
import logging

from litestar import Litestar, get
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.memory import MemoryStore
from litestar.testing import TestClient

logging.disable()
store = MemoryStore()


@get("/")
async def index() -> str:
    return "no session is looked at"


app = Litestar([index], middleware=[ServerSideSessionConfig().middleware], stores={"sessions": store})
with TestClient(app) as client:
    for visitor in range(1, 4):
        answer = client.get("/")
        client.cookies.clear()
        told = ("a cookie" if "set-cookie" in answer.headers else "no cookie", answer.headers.get("vary"))
        print("visitor", visitor, "|", told[0], "| vary", told[1], "| records", len(store._store))
PY
"$folder/venv/bin/python" "$folder/see.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
visitor 1 | a cookie | vary None | records 1
visitor 2 | a cookie | vary None | records 2
visitor 3 | a cookie | vary None | records 3
SEEN
