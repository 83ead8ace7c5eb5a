"""Two real Valkey servers behind one address that moves: a primary, its replica, and a forwarder to either."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import valkey

from tests.helpers.servers.proxy import Proxy, proxy_to
from tests.helpers.servers.valkey import ValkeyServer

PATIENCE_S = 30


def command(server: ValkeyServer, *words: str) -> object:
    """Return what a server says to one command."""
    with valkey.from_url(server.url) as client:  # type: ignore[no-untyped-call]  # the driver's
        return client.execute_command(*words)


def info(server: ValkeyServer, section: str) -> dict[str, object]:
    """Return what a server tells of itself."""
    with valkey.from_url(server.url) as client:  # type: ignore[no-untyped-call]  # the driver's
        told: dict[str, object] = client.info(section)
        return told


def follow(server: ValkeyServer, primary: ValkeyServer) -> None:
    """Make a server the replica of another, and wait until it has everything."""
    command(server, "REPLICAOF", "127.0.0.1", str(primary.port))
    catch_up(server, primary)


def catch_up(replica: ValkeyServer, primary: ValkeyServer) -> None:
    """Wait until a replica has all that its primary has."""
    until_s = time.monotonic() + PATIENCE_S
    with valkey.from_url(replica.url) as there, valkey.from_url(primary.url) as here:  # type: ignore[no-untyped-call]  # the driver's
        while True:
            told, own = there.info("replication"), here.info("replication")
            if told.get("master_link_status") == "up" and told["slave_repl_offset"] >= own["master_repl_offset"]:
                return
            assert time.monotonic() < until_s, "the replica did not catch up"
            time.sleep(0.01)


class Pair:
    """A primary and its replica, and the one address under which applications know them.

    Attributes:
        first: the primary at the beginning.
        second: its replica.
        address: leads to ``first`` until it is moved.
        url: of a store at that address.
    """

    def __init__(self, first: ValkeyServer, second: ValkeyServer, address: Proxy) -> None:
        self.first, self.second, self.address = first, second, address
        self.url = f"valkey://127.0.0.1:{address.port}/0"
        follow(second, first)

    def promote_and_lose(self) -> None:
        """Promote the replica; what the first does from now on is lost with it."""
        catch_up(self.second, self.first)
        command(self.second, "REPLICAOF", "NO", "ONE")

    def move(self, *, is_first_dead: bool = True) -> None:
        """Let the address lead new connections to the second; those that are open stay where they are."""
        self.address.target_port = self.second.port
        if is_first_dead:
            self.first.kill()

    def demote(self) -> None:
        """Make the first a replica of nobody that answers, as one that lost its link; it stays up."""
        command(self.first, "REPLICAOF", "127.0.0.1", "1")

    def swap(self) -> None:
        """Exchange the roles and move the address; the first stays up and its connections stay open."""
        catch_up(self.second, self.first)
        self.demote()
        command(self.second, "REPLICAOF", "NO", "ONE")
        self.move(is_first_dead=False)


@contextmanager
def pair(start: Callable[..., ValkeyServer], *words: str) -> Iterator[Pair]:
    """Run a primary and its replica behind one address.

    Args:
        start: what the fixture ``private_valkey`` gives.
        words: further settings of both.
    """
    servers = [start("--repl-diskless-sync-delay", "0", *words) for _ in range(2)]
    with proxy_to(servers[0].port) as address:
        yield Pair(servers[0], servers[1], address)
