"""What is killed: it transfers tokens over partitions and ends sessions; what was acknowledged is told.

``at PORT NAMESPACES``: one process for each call of one transfer, in a name space of its own, that is killed before the
call is sent; and one each that is killed after it was answered. ``on PORT NAMESPACE SEED``: transfers and ends until it
is killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys

from session_tokens import StoreBusy
from tests.helpers.partitioned import Partitions

HAT, OWNERS = "02-hat", ("00-ann", "01-ben", "03-cat")


def tell(*words: str) -> None:
    os.write(1, " ".join(words).encode() + b"\n")


def killed_at(port: int, namespaces: list[str]) -> None:
    for place, namespace in enumerate(namespaces):
        pid = os.fork()
        if not pid:

            def on_call(call: object, number: int, is_done: bool, at: tuple[int, int] = divmod(place, 2)) -> None:
                if (number, is_done) == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            Partitions([port], namespace, on_call=on_call).transfer(HAT, OWNERS[0], OWNERS[1])
            os._exit(0)
        tell("killed" if os.waitpid(pid, 0)[1] == signal.SIGKILL else "done")


def hand_on(port: int, namespace: str, seed: str) -> None:
    parts, choices = Partitions([port], namespace), random.Random(seed)
    tell("begun")
    while True:
        owner, receiver = parts.token(HAT).owner, choices.choice(OWNERS)
        try:
            said = parts.transfer(HAT, owner, receiver, finishes=choices.random() < 0.7)
        except StoreBusy:
            continue
        if said != "not owner":
            tell("transferred", said)
        brief = f"{choices.choice(('00', '01', '03'))}-{os.urandom(6).hex()}"
        parts.open_session(brief)
        parts.issue(f"02-{brief}", brief)
        cap = parts.transfer(f"02-{brief}", brief, receiver)
        tell("cap", f"02-{brief}", cap)
        if not parts.end(brief):
            tell("ended", brief)


if __name__ == "__main__":
    if sys.argv[1] == "at":
        killed_at(int(sys.argv[2]), sys.argv[3:])
    else:
        hand_on(int(sys.argv[2]), *sys.argv[3:])
