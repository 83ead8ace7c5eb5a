"""Networks of this machine's own, one for each server, that are cut for real: for tests that run as root on Linux.

Theory of operation. A network namespace has interfaces and addresses of its own. One stands in the middle with a
bridge, and in it the test and its clients run; each server's is joined to that bridge by a pair of interfaces. The
addresses exist in these namespaces alone, and go with them.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.servers.valkey import Place

CLONE_NEWNET = 0x4000_0000
PREFIX = "10.99.0"


def ip(*words: str) -> None:
    """Run the program ``ip``."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr}")


def may_make_networks() -> bool:
    """Whether this process may make a network namespace."""
    name = f"st{os.getpid()}try"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except OSError:
        return False
    return True


def enter(descriptor: int) -> None:
    """Let this thread, and what it starts from now on, be in a network namespace."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Networks:
    """The networks of some servers.

    Attributes:
        places: where the servers run.
    """

    def __init__(self, count: int) -> None:
        self._middle = f"st{os.getpid()}m"
        self._names = [f"st{os.getpid()}n{number}" for number in range(count)]
        self.places = [
            Place(f"{PREFIX}.{10 + number}", ("ip", "netns", "exec", name)) for number, name in enumerate(self._names)
        ]

    def make(self) -> None:
        """Make them."""
        middle = self._middle
        ip("netns", "add", middle)
        ip("-n", middle, "link", "set", "lo", "up")
        ip("-n", middle, "link", "add", "bridge", "type", "bridge")
        ip("-n", middle, "addr", "add", f"{PREFIX}.1/24", "dev", "bridge")
        ip("-n", middle, "link", "set", "bridge", "up")
        for number, name in enumerate(self._names):
            ip("netns", "add", name)
            ip("-n", middle, "link", "add", f"to{number}", "type", "veth", "peer", "name", "out", "netns", name)
            ip("-n", middle, "link", "set", f"to{number}", "master", "bridge", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"{self.places[number].host}/24", "dev", "out")
            ip("-n", name, "link", "set", "out", "up")

    def cut(self, number: int) -> None:
        """Cut a server off from everybody."""
        ip("-n", self._middle, "link", "set", f"to{number}", "down")

    def join(self, number: int) -> None:
        """Undo ``cut``."""
        ip("-n", self._middle, "link", "set", f"to{number}", "up")

    def part(self, number: int) -> None:
        """Let a server reach no other server, though clients reach it."""
        for place in self.places[:number] + self.places[number + 1 :]:
            ip("-n", self._names[number], "route", "add", "blackhole", f"{place.host}/32")

    def rejoin(self, number: int) -> None:
        """Undo ``part``."""
        for place in self.places[:number] + self.places[number + 1 :]:
            ip("-n", self._names[number], "route", "del", "blackhole", f"{place.host}/32")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread, and the threads and processes that it starts, be in the middle."""
        outside, middle = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", self._path()))
        try:
            enter(middle)
            yield
        finally:
            enter(outside)
            os.close(outside)
            os.close(middle)

    def _path(self) -> str:
        return f"/run/netns/{self._middle}"

    def remove(self) -> None:
        """Remove them."""
        for name in [*self._names, self._middle]:
            if (Path("/run/netns") / name).exists():
                ip("netns", "del", name)


@contextmanager
def networks_of(count: int) -> Iterator[Networks]:
    """Make networks for so many servers, and be in their middle for the length of a block."""
    networks = Networks(count)
    try:
        networks.make()
        with networks.inside():
            yield networks
    finally:
        networks.remove()
