#!/usr/bin/env bash
# Hypercorn 0.18.0, serving WSGI: an answer whose body is an empty list is a 500, whatever the application said.
#
# Hypercorn begins the answer with the first part of the body, and an empty list has none; PEP 3333 lets it be empty.
# Falcon's views that set no body answer so, and Bottle's 204 and 304. With one empty part, as from Flask, it goes
# through. Seen on 2026-11-30 over HTTP/1.1; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install Hypercorn==0.18.0 falcon==4.4.0
cat > "$folder/pages.py" <<'PY'
import falcon


class NoBody:
    def on_get(self, req, resp, status):
        resp.status = int(status)


of_falcon = falcon.App()
of_falcon.add_route("/{status}", NoBody())


def app(environ, start_response):
    if environ["PATH_INFO"] == "/one-empty-part":
        start_response("204 No Content", [])
        return [b""]
    return of_falcon(environ, start_response)
PY
cat > "$folder/see.py" <<'PY'
import http.client
import socket
import sys
import time
from importlib.metadata import version

port = int(sys.argv[1])
print("Hypercorn", version("hypercorn"), "| Falcon", version("falcon"))
while True:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.1)
for path in ("200", "204", "303", "one-empty-part"):
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked.request("GET", f"/{path}")
    print(path, "| answered", asked.getresponse().status)
PY
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$folder" && exec venv/bin/hypercorn --bind "127.0.0.1:$port" wsgi:pages:app) > "$folder/log" 2>&1 &
server=$!
timeout 60 "$folder/venv/bin/python" "$folder/see.py" "$port" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Hypercorn 0.18.0 | Falcon 4.4.0
200 | answered 500
204 | answered 500
303 | answered 500
one-empty-part | answered 204
SEEN
