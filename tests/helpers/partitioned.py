"""Several partitions without a store over them: tokens that change hands between owners who lie in different ones.

What lies where stands in the names: ``t:02-hat`` in partition 2. A token is a record that says whose it is,
under which secret, and how often it changed hands; its secret's look-up key lies with its owner, as does the owner's
session with the bucket of the tokens that it holds. So each transfer writes in two partitions or three, and a half one
would show: as a token with two living secrets or none, or with a session that ended before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import valkey

from session_tokens import StoreBusy, StoreError, StoreUnavailable
from session_tokens.clock import NEVER
from session_tokens.stores.common.retry import NotExecuted, OnTheMove
from session_tokens.stores.valkey.errors import trouble
from session_tokens.stores.valkey.held import is_in_doubt, unheld
from session_tokens.stores.valkey.joint import Call, Joining, Joint, Met, Outcome, met_in, words_of
from session_tokens.stores.valkey.packing import pack
from session_tokens.stores.valkey.primaries import slot_of

T = TypeVar("T")
Words = Sequence[bytes]
PATIENCE_MS = 300
TRIES = 200
PAUSE_S = 0.005
LIVING, ENDED = "living", "ended"


LENGTHS = {b"p": 4, b"k": 3, b"d": 2, b"a": 4, b"h": 6}
"""How many words each write has."""


def partition_of(name: bytes) -> int:
    """Return where something lies."""
    return int(name.partition(b":")[2][:2])


class Part(NamedTuple):
    """What a commit checks and writes in one partition."""

    checks: dict[bytes, bytes]
    words: list[bytes]


def cut(checks: Mapping[bytes, bytes], words: Words) -> tuple[int, dict[int, Part]]:
    """Return which partition decides, that of the first token or record that is written, and the part of each."""
    parts: dict[int, Part] = {}
    written: list[bytes] = []

    def part(name: bytes) -> Part:
        return parts.setdefault(partition_of(name), Part({}, []))

    for name, stamp in checks.items():
        part(name).checks[name] = stamp
    at = 0
    while at < len(words):
        write = words[at : at + LENGTHS[words[at]]]
        at += len(write)
        if write[0] != b"h":
            part(write[1]).words.extend(write)
            written.append(write[1])
            continue
        _, id, score, was_in, is_in, how = write
        if was_in:
            part(b"bh:" + was_in).words.extend((b"h", id, score, was_in, b"", how))
        if is_in:
            part(b"bh:" + is_in).words.extend((b"h", id, score, b"", is_in, how))
    first = next((name for name in written if name[:2] == b"t:"), written[0])
    return partition_of(first), parts


def body_of(*said: object) -> bytes:
    """Return what follows the stamp of a record."""
    return b"\n\n" + " ".join(map(str, said)).encode()


def words_in(value: bytes | None) -> list[str]:
    """Return what a record says, nothing for one that is not there."""
    return [] if value is None else value[18:].decode().split()


@dataclass(frozen=True)
class Token:
    """A token as it was read."""

    stamp: bytes
    owner: str
    secret: str
    epoch: int


class Partitions:
    """The partitions of one name space on one server, or on the nodes of a cluster; each thread has its connections.

    Args:
        ports: of servers that know where everything is; the only one holds everything.
        on_call: called before each call with it and its number, and afterwards with ``is_done``.
    """

    def __init__(
        self,
        ports: Sequence[int],
        namespace: str,
        *,
        timeout_s: float = 1.0,
        patience_ms: int = PATIENCE_MS,
        replicas: int = 0,
        on_call: Callable[[Call, int, bool], None] | None = None,
    ) -> None:
        self.joint = Joint(self.prefix_of, patience_ms, is_replicated=replicas > 0)
        self._ports, self._namespace, self._timeout_s, self._replicas = ports, namespace, timeout_s, replicas
        self._on_call = on_call or (lambda call, number, is_done: None)
        self._mine = threading.local()
        self._map: list[tuple[int, int, int]] = []
        self.calls = 0

    def prefix_of(self, partition: int) -> bytes:
        """Return what the keys of a partition begin with."""
        return f"{{{self._namespace}:{partition:02}}}:".encode()

    def key(self, name: str) -> bytes:
        """Return the key of a name."""
        return self.prefix_of(partition_of(name.encode())) + name.encode()

    # --- calls ---

    def port_of(self, partition: int) -> int:
        """Return the port of the node that holds a partition, as far as is known."""
        if len(self._ports) == 1:
            return self._ports[0]
        slot = slot_of(self.prefix_of(partition))
        return next(port for first, last, port in self._map or self._looked_up() if first <= slot <= last)

    def _looked_up(self) -> list[tuple[int, int, int]]:
        for port in self._ports:
            try:
                shards = self._exchange(port, [b"CLUSTER", b"SLOTS"])
            except (valkey.exceptions.ValkeyError, OSError):
                continue
            self._map = [(shard[0], shard[1], shard[2][1]) for shard in shards]
            return self._map
        raise NotExecuted("no node answers")

    def _exchange(self, port: int, words: Words, *more: Words) -> Any:
        """Return the reply to the first of some commands, after that to the last of them is there."""
        lines = self._mine.__dict__.setdefault("lines", {})
        line = lines.get(port)
        if line is None:
            line = valkey.Connection(  # type: ignore[no-untyped-call]  # the driver's
                host="127.0.0.1", port=port, socket_timeout=self._timeout_s, socket_connect_timeout=self._timeout_s,
                retry_on_timeout=False,
            )  # fmt: skip
            line.connect()  # type: ignore[no-untyped-call]  # the driver's
            lines[port] = line
        try:
            line.send_packed_command([b"".join(map(pack, (words, *more)))], check_health=False)
            reply = line.read_response(disable_decoding=True)
            for _ in more:
                self._mine.last = line.read_response(disable_decoding=True)
            return reply
        except BaseException:
            del lines[port]
            line.disconnect()
            raise

    def ask(self, call: Call) -> Any:
        """Return the reply to a call, or its error; again, for a time, where it surely was not carried out."""
        number, self.calls = self.calls, self.calls + 1
        self._on_call(call, number, False)
        until_s = time.monotonic() + self._timeout_s
        while True:
            answer = self._ask_once(call)
            if not isinstance(answer, OnTheMove) or time.monotonic() > until_s:
                break
            time.sleep(PAUSE_S)
            self._map = []
        self._on_call(call, number, True)
        return answer

    def _ask_once(self, call: Call) -> Any:
        waiting = [[b"WAIT", b"%d" % self._replicas, b"500"]] if call.writes and self._replicas else []
        probe = [[b"EXISTS", self.prefix_of(call.partition) + b"0"]] if not call.writes else []
        sent = False
        try:
            port = self.port_of(call.partition)
            sent = True
            reply = self._exchange(port, call.words, *waiting, *probe)
        except NotExecuted as error:
            return error
        except (valkey.exceptions.ValkeyError, OSError) as error:
            self._map = []
            return trouble(error, sent=sent and not isinstance(error, ConnectionRefusedError))
        if waiting and self._mine.last < self._replicas:
            return StoreUnavailable("too few replicas have confirmed; its outcome is unknown")
        return reply

    def carry(self, steps: Joining[T]) -> T:
        """Return what a generator returns, after asking what it yields."""
        try:
            calls = next(steps)
            while True:
                calls = steps.send([self.ask(call) for call in calls])
        except StopIteration as stop:
            result: T = stop.value
            return result

    def load(self, library: bytes) -> None:
        """Load the function library wherever partitions may lie."""
        ports = self._ports if len(self._ports) == 1 else sorted({port for *_, port in self._looked_up()})
        for port in ports:
            self._exchange(port, [b"FUNCTION", b"LOAD", b"REPLACE", library])

    # --- reads ---

    def look(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what stands under some names, or the stamps of buckets, each as of one instant, without any mark."""
        found: dict[str, bytes | None] = {}
        for _ in range(TRIES):
            met: dict[int, dict[bytes, bytes]] = {}
            for name in names:
                if name not in found:
                    value = self._stands(name)
                    if value is not None and is_in_doubt(value):
                        met.setdefault(partition_of(name.encode()), {})[name.encode()] = (
                            value if name[0] == "b" else value[:16]
                        )
                    found[name] = unheld(value)
            if not met or not self.carry(self.joint.looking(met)):
                return [found[name] for name in names]
            for some in met.values():
                for doubted in some:
                    del found[doubted.decode()]
        raise StoreBusy("others went on changing what was read")

    def _stands(self, name: str) -> bytes | None:
        key, bucket = self.key(name), name.startswith("b")
        words = [b"ZSCORE", key, b"#"] if bucket else [b"GET", key]
        answer = self.ask(Call(partition_of(name.encode()), words, writes=False))
        if isinstance(answer, StoreError):
            raise answer
        value: bytes | None = answer
        return value

    def token(self, id: str) -> Token:
        """Return a token."""
        (value,) = self.look([f"t:{id}"])
        assert value is not None
        owner, secret, epoch = words_in(value)
        return Token(value[:16], owner, secret, int(epoch))

    def session(self, owner: str) -> tuple[bytes, str]:
        """Return the stamp of an owner's session, and how it is."""
        (value,) = self.look([f"s:{owner}"])
        assert value is not None
        return value[:16], words_in(value)[0]

    def leads_to(self, secret: str) -> str | None:
        """Return the id of the token to which a secret leads, ``None`` for a dead one."""
        (value,) = self.look([f"T:{secret}"])
        return None if value is None else words_in(value)[0]

    def held_by(self, owner: str) -> list[str]:
        """Return the ids of the tokens in the bucket of an owner's session."""
        self.look([f"bh:{owner}"])  # what is decided there is finished
        ids = self.ask(Call(int(owner[:2]), [b"ZRANGE", self.key(f"bh:{owner}"), b"0", b"-1"], writes=False))
        return [id.decode() for id in ids if id != b"#"]

    # --- commits ---

    def commit(
        self,
        checks: dict[str, bytes],
        words: Words,
        *,
        not_after: int = NEVER,
        though_full: bool = False,
        finishes: bool = True,
    ) -> Outcome:
        """Carry out a commit, over as many partitions as it takes."""
        decider, parts = cut({name.encode(): stamp for name, stamp in checks.items()}, words)
        if len(parts) == 1:
            return self._commit_alone(decider, parts[decider], not_after)
        now = int(time.time() * 1000)
        outcome = self.carry(self.joint.committing(parts, decider, not_after, {}, now, though_full=though_full))
        if outcome.stamp and finishes:
            self.carry(self.joint.finishing(outcome.txn, parts))
        return outcome

    def _commit_alone(self, partition: int, part: Part, not_after: int) -> Outcome:
        words = [b"FCALL", b"session_tokens_commit_v1", b"1", self.prefix_of(partition) + b"n", b"0", b"%d" % not_after]
        answer = self.ask(Call(partition, [*words, *words_of(part)], writes=True))
        if isinstance(answer, StoreError):
            raise answer
        if isinstance(answer[1], bytes):
            return Outcome(0, b"", [met_in(partition, answer[1])])
        return Outcome(answer[1], b"", [])

    def until_committed(self, attempt: Callable[[], Outcome | str]) -> str:
        """Try a command until it is carried out (empty) or refused (why), resolving what others hold."""
        for _ in range(TRIES):
            outcome = attempt()
            if isinstance(outcome, str):
                return outcome
            if outcome.stamp:
                return ""
            self.resolve(outcome.met)
        raise StoreBusy("others changed the same records first; try again later")

    def resolve(self, met: Sequence[Met]) -> None:
        """Resolve what others hold; wait a little where that is undecided."""
        if not met or not self.carry(self.joint.resolving(met)):
            time.sleep(PAUSE_S * (1 + os.urandom(1)[0] / 64))

    # --- commands ---

    def open_session(self, owner: str) -> None:
        """Open the only session of an owner."""
        name = f"s:{owner}"
        assert self.commit({name: b""}, [b"p", name.encode(), b"0", body_of(LIVING)]).stamp

    def issue(self, id: str, owner: str) -> str:
        """Issue a token to an owner; return its secret."""
        secret = f"{owner[:2]}-{os.urandom(6).hex()}"
        words = [
            b"p", f"t:{id}".encode(), b"0", body_of(owner, secret, 0),
            b"p", f"T:{secret}".encode(), b"0", body_of(id),
            b"h", id.encode(), b"5", b"", owner.encode(), b"x",
        ]  # fmt: skip
        assert self.commit({f"t:{id}": b"", f"s:{owner}": self.session(owner)[0]}, words).stamp
        return secret

    def transfer(self, id: str, giver: str, receiver: str, *, finishes: bool = True) -> str:
        """Transfer a token; return its new secret, or why not."""
        secret = f"{receiver[:2]}-{os.urandom(6).hex()}"

        def attempt() -> Outcome | str:
            token = self.token(id)
            stamp, state = self.session(receiver)
            if token.owner != giver or state != LIVING:
                return self._refused(token, stamp, id, receiver, giver)
            words = [
                b"p", f"t:{id}".encode(), b"0", body_of(receiver, secret, token.epoch + 1),
                b"d", f"T:{token.secret}".encode(),
                b"p", f"T:{secret}".encode(), b"0", body_of(id),
                b"h", id.encode(), b"5", giver.encode(), receiver.encode(), b"x",
            ]  # fmt: skip
            return self.commit({f"t:{id}": token.stamp, f"s:{receiver}": stamp}, words, finishes=finishes)

        return self.until_committed(attempt) or secret

    def _refused(self, token: Token, stamp: bytes, id: str, receiver: str, giver: str) -> Outcome | str:
        """Refuse once both reads are known to hold together."""
        if self.token(id) != token or self.session(receiver)[0] != stamp:
            return Outcome(0, b"", [])
        return "not owner" if token.owner != giver else "no session"

    def end(self, owner: str) -> str:
        """End an owner's session; return why not, empty if it was."""

        def attempt() -> Outcome | str:
            stamp, state = self.session(owner)
            if state != LIVING:
                return "ended before"
            return self.commit({f"s:{owner}": stamp}, [b"p", f"s:{owner}".encode(), b"0", body_of(ENDED)])

        return self.until_committed(attempt)

    def sweep(self, partitions: Sequence[int]) -> int:
        """Resolve what nobody came for; return how many transactions that were."""
        return sum(self.carry(self.joint.sweeping(partition)) for partition in partitions)
