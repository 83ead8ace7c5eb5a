"""Real Sentinels that watch a real primary and its replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import valkey

from tests.helpers.servers.failover import command, follow
from tests.helpers.servers.valkey import ValkeyServer, program
from tests.helpers.waiting import wait_until

NAME = "main"
DOWN_AFTER_MS = 2000
"""What a Sentinel waits for a server; the time-out of a store is shorter."""


class Sentinel(ValkeyServer):
    """A Sentinel with a folder of its own.

    Args:
        primary: the server that it watches.
        quorum: how many have to agree that it is down.
        lines: of its configuration, besides.
    """

    def __init__(self, primary: ValkeyServer, quorum: int, *lines: str) -> None:
        super().__init__()
        settings = (
            f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}",
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 6000", *lines,
        )  # fmt: skip
        (self.folder / "sentinel.conf").write_text("\n".join((*settings, "")))

    def _command(self) -> list[str]:
        return [str(program()), str(self.folder / "sentinel.conf"), "--sentinel"]

    def told(self) -> dict[str, object]:
        """Return what it knows of the primary."""
        with valkey.Valkey(port=self.port) as client:
            told: dict[str, object] = client.sentinel_master(NAME)
            return told

    def fails_over(self) -> bool:
        """Have it promote a replica; whether it has one that it has heard of lately."""
        try:
            return command(self, "SENTINEL", "FAILOVER", NAME) == b"OK"
        except valkey.ResponseError:
            return False


class Watched:
    """A primary, its replicas, and the Sentinels that watch them.

    Attributes:
        servers: of which one is the primary, the first at the beginning.
        sentinels: the Sentinels.
        url: of a store that asks these.
    """

    def __init__(self, servers: list[ValkeyServer], sentinels: list[Sentinel]) -> None:
        self.servers, self.sentinels = servers, sentinels
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        self.url = f"valkey+sentinel://{hosts}/{NAME}"

    def know_each_other(self) -> None:
        """Wait until each Sentinel knows all replicas and all other Sentinels."""
        known = (len(self.servers) - 1, len(self.sentinels) - 1)

        def does(sentinel: Sentinel) -> bool:
            told = sentinel.told()
            return (told["num-slaves"], told["num-other-sentinels"]) == known

        wait_until(lambda: all(map(does, self.sentinels)))

    def primary(self) -> ValkeyServer:
        """Return the server that the first Sentinel which answers names."""
        port = self.sentinels[0].told()["port"]
        return next(server for server in self.servers if server.port == port)


@contextmanager
def watched(start: Callable[..., ValkeyServer], replicas: int, sentinels: int, *words: str) -> Iterator[Watched]:
    """Run a primary, so many replicas, and so many Sentinels, of which the greater part has to agree.

    Args:
        start: what the fixture ``private_valkey`` gives.
        replicas: how many.
        sentinels: how many.
        words: further settings of the servers.
    """
    servers = [start("--repl-diskless-sync-delay", "0", *words) for _ in range(1 + replicas)]
    for replica in servers[1:]:
        follow(replica, servers[0])
    watchers = [Sentinel(servers[0], sentinels // 2 + 1) for _ in range(sentinels)]
    try:
        for watcher in watchers:
            watcher.start()
        group = Watched(servers, watchers)
        group.know_each_other()
        yield group
    finally:
        for watcher in watchers:
            watcher.remove()
