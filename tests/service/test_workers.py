"""Several workers behind one socket: what they share, what dies and comes again, and that nobody notices a reload."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.service.workers.serving import check_workers
from tests.helpers.managed_service import Managed
from tests.helpers.project import ROOT
from tests.helpers.running_service import request, told_in
from tests.helpers.steady_load import SteadyLoad, answer_on, answered_by
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server


class Workers:
    """Two workers on a socket that was handed over, reporting to a manager that is the test."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.bind(f"{folder}/notify")
        self.heard.settimeout(30)
        self.managed = Managed(
            folder / "log", "--store", f"sqlite:///{folder}/tokens.db", "--workers", "2", sockets=[self.socket],
            environment={"NOTIFY_SOCKET": f"{folder}/notify"},
        )  # fmt: skip
        self.said = [self.hear()]
        self.secret = self.managed.secret

    def hear(self) -> str:
        """Return what the manager is told next."""
        return self.heard.recv(4_096).decode()

    def http(self) -> httpx.Client:
        """Return a client whose connections are never used twice, so that either worker may answer."""
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {self.secret}"}
        return httpx.Client(base_url=self.url, headers=headers, limits=limits, timeout=30)

    def make_token(self) -> str:
        with self.http() as http:
            id = http.post("/v1/sessions", json={"owner": "ann"}).json()["session"]["id"]
            secret: str = http.post("/v1/tokens", json={"session": id}).json()["secret"]
        return secret

    def processes(self) -> list[int]:
        """Return the workers that are there."""
        of = Path(f"/proc/{self.managed.process.pid}/task/{self.managed.process.pid}/children")
        return [int(word) for word in of.read_text().split()]

    def stop(self) -> None:
        self.managed.stop()
        self.socket.close()
        self.heard.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("workers"))
    yield workers
    workers.stop()


class Held:
    """Connections that stay open: eight, and as many more as it takes until each worker holds two.

    Attributes:
        alive: heads of the answers to ``GET /livez``, one of each connection.
    """

    def __init__(self, workers: Workers) -> None:
        self._connections: list[socket.socket] = []
        self.alive: list[bytes] = []
        while len(self.alive) < 8 or not self._are_shared_out():
            assert len(self._connections) < 200, "one worker takes all connections"
            self._connections.append(socket.create_connection(("127.0.0.1", workers.port), timeout=30))
            self.alive += self._asked(self._connections[-1:], request("GET", "/livez", close=False))

    def _are_shared_out(self) -> bool:
        by = Counter(map(answered_by, self.alive))
        return len(by) == 2 and min(by.values()) >= 2

    def ask(self, data: bytes, most: int = 200) -> list[bytes]:
        """Send the same over each connection, or over so many; return the heads of the answers."""
        return self._asked(self._connections[:most], data)

    def _asked(self, connections: list[socket.socket], data: bytes) -> list[bytes]:
        heads = []
        for connection in connections:
            connection.sendall(data)
            head = answer_on(connection)
            assert head is not None
            heads.append(head)
        return heads

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()


def introspection(key: str) -> bytes:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-www-form-urlencoded"}
    return request("POST", "/introspect", headers, b"token=x", close=False)


def statuses(heads: list[bytes]) -> list[int]:
    return [int(head[9:12]) for head in heads]


def counted(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE))


LIVEZ = r'session_tokens_http_requests_total\{method="GET",route="/livez",status="200"\}'


def test_both_workers_take_connections_and_the_metrics_are_of_both(workers: Workers) -> None:
    metrics = request("GET", "/metrics", {"Authorization": f"Bearer {workers.secret}"}, close=False)
    with Held(workers) as held:
        by = set(map(answered_by, held.ask(metrics)))
        with workers.http() as http:
            texts = [http.get("/metrics").text for _ in range(4)]

    assert workers.managed.lines[0] == f"session-tokens serves on {workers.url}\n"
    assert workers.said[0] == f"READY=1\nSTATUS=serving on {workers.url} with 2 workers"
    assert len(by) == 2
    assert {counted(text, LIVEZ) for text in texts} == {len(held.alive)}
    assert {counted(text, "session_tokens_workers") for text in texts} == {2.0}
    assert re.search(r"^# TYPE session_tokens_http_request_seconds histogram$", texts[0], re.MULTILINE)


def test_what_a_key_may_ask_and_who_guesses_is_counted_together(workers: Workers) -> None:
    with workers.http() as http, Held(workers) as held:
        made = http.post("/v1/keys", json={"role": "verify", "rate": 4}).json()
        began_s = time.monotonic()
        answers = statuses(held.ask(introspection(made["secret"])))
        took_s = time.monotonic() - began_s
        guesses: list[int] = []
        while len(guesses) < 32:
            guesses += statuses(held.ask(introspection("stk_guess")))

    assert 4 <= answers.count(200) <= 4 + 4 * took_s + 1, "four a second of all workers together"
    assert set(answers) <= {200, 429}
    assert guesses[:20] == [401] * 20 and set(guesses[20:]) == {429}


def test_the_console_shows_what_each_worker_saw(workers: Workers) -> None:
    body = b'{"owner":"of-the-console"}'
    headers = {"Authorization": f"Bearer {workers.secret}", "Content-Type": "application/json"}
    with Held(workers) as held:
        made = held.ask(request("POST", "/v1/sessions", headers, body, close=False))
    with workers.http() as http:
        entered = http.post("/console/enter", data={"secret": workers.secret}, headers={"Origin": workers.url})
        cookie = entered.headers["set-cookie"].partition(";")[0]
        pages = [http.get("/console/owners/of-the-console", headers={"Cookie": cookie}).text for _ in range(3)]
        overview = http.get("/console/overview", headers={"Cookie": cookie}).text
        http.post("/v1/owners/forget", json={"owner": "of-the-console"}).raise_for_status()

        def shown() -> bool:
            texts = [http.get("/console/overview", headers={"Cookie": cookie}).text for _ in range(4)]
            return any("of-the-console" in text for text in texts)

        wait_until(lambda: not shown())

    assert set(statuses(made)) == {201} and len(set(map(answered_by, made))) == 2
    assert [page.count("<strong>session opened</strong>") for page in pages] == [min(len(made), 12)] * 3
    found = re.search(r"opened <b>(\d+)</b>", overview)
    assert found is not None and int(found[1]) >= len(made)


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_forgotten(workers: Workers) -> None:
    token = workers.make_token()
    with workers.http() as http:
        before = http.get("/metrics").text
        with SteadyLoad(workers.port, workers.secret, token) as load:
            wait_until(lambda: load.total > 40)
            told = http.get("/metrics").text
            killed, *_ = old = workers.processes()
            subprocess.run(["kill", "-KILL", str(killed)], check=True)
            wait_until(lambda: len(set(workers.processes()) - set(old)) == 1)
            wait_until(lambda: counted(http.get("/metrics").text, "session_tokens_workers") == 2)
            reached = load.total
            wait_until(lambda: load.total > reached + 40)
        after = http.get("/metrics").text

    asked = r'session_tokens_http_requests_total\{method="POST",route="/introspect",status="200"\}'
    assert not load.refused and len(load.dropped) <= 4, load.dropped
    assert counted(before, asked) <= counted(told, asked) <= counted(after, asked)
    assert counted(after, "session_tokens_workers_died_total") == 1
    log = told_in(workers.managed.log_path)
    assert re.search(rf"worker \d \(process {killed}\) was killed by SIGKILL after \d+ s", log)


def test_a_reload_puts_new_workers_in_their_place_and_drops_no_request(workers: Workers) -> None:
    token = workers.make_token()
    idle = socket.create_connection(("127.0.0.1", workers.port), timeout=30)
    idle.sendall(request("GET", "/livez", close=False))
    first = answer_on(idle)
    with workers.http() as http, SteadyLoad(workers.port, workers.secret, token) as load:
        before = counted(http.get("/metrics").text, LIVEZ)
        wait_until(lambda: load.total > 40)
        old = set(workers.processes())
        workers.managed.process.send_signal(signal.SIGHUP)
        said = [workers.hear(), workers.hear()]
        heads: list[bytes | None] = [b""]
        while (head := heads[-1]) is not None and b"connection: close" not in head:
            idle.sendall(request("GET", "/livez", close=False))
            heads.append(answer_on(idle))
        wait_until(lambda: not old & set(workers.processes()))
        reached = load.total
        wait_until(lambda: load.total > reached + 40)
        load.stop()
        after = counted(http.get("/metrics").text, LIVEZ)
    idle.close()

    assert [re.split("[=\n]", each)[0] for each in said] == ["RELOADING", "READY"]
    assert len(old) == 2 and len(set(workers.processes())) == 2
    assert (load.dropped, load.refused) == ([], [])
    assert first is not None and b"connection: close" not in first
    assert None not in heads, "an idle connection may ask once more"
    assert after == before + len(heads) - 1, "what the old ones counted is not forgotten"


def test_a_reload_that_fails_leaves_the_earlier_workers(workers: Workers) -> None:
    """The key file of the store is away for a moment."""
    store = Path(workers.managed.log_path.parent)
    (key,) = [path for path in store.iterdir() if path.name.startswith("tokens") and "key" in path.name]
    old = set(workers.processes())
    key.rename(store / "away")
    try:
        workers.managed.process.send_signal(signal.SIGHUP)
        said = [workers.hear(), workers.hear()]
    finally:
        (store / "away").rename(key)
    wait_until(lambda: set(workers.processes()) == old)

    assert [re.split("[=\n]", each)[0] for each in said] == ["RELOADING", "READY"]
    assert "new workers did not come up, the earlier ones stay" in told_in(workers.managed.log_path)


def test_a_stop_answers_what_was_asked_and_tells_streams(workers: Workers) -> None:
    """The last of the file: the workers are gone after it. The socket is the manager's, and connections wait on it."""
    token = workers.make_token()
    with workers.http() as http:
        http.put("/v1/settings/events", json={"value": "durable"})
        with http.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}) as stream:
            events = stream.iter_lines()
            with SteadyLoad(workers.port, workers.secret, token, reconnects=False) as load:
                wait_until(lambda: load.total > 40)
                processes = workers.processes()
                workers.managed.process.send_signal(signal.SIGTERM)
                rest = list(events)
                load.end()
                wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in processes))
        code = workers.managed.process.wait(60)  # a second signal would find nobody who heeds it

    assert rest is not None and stream.status_code == 200
    assert code == 0
    assert (load.dropped, load.refused) == ([], [])
    assert workers.hear().startswith("STOPPING=1")


def test_what_ends_is_over_in_the_near_cache_of_each_worker(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever worker ends it: the server tells each of them, and the bound is long."""
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", bytes(range(32)).hex())
    near = r'session_tokens_near_cache_verifications_total\{answered="near"\}'
    managed = Managed(
        tmp_path / "log", "--store", valkey_url, "--workers", "2", "--near-cache", "60s", "--port", "0"
    )  # fmt: skip
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+", "".join(managed.lines))[:1]
    once = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {managed.secret}"}, limits=once) as http:

        def is_active() -> bool:
            return http.post("/v1/verify", json={"secret": made["secret"]}).json().get("session") is not None

        try:
            made = http.post("/v1/sessions", json={"owner": "ann"}).json()
            known = all(is_active() for _ in range(40))
            answered_near = counted(http.get("/metrics").text, near)
            http.delete(f"/v1/sessions/{made['session']['id']}").raise_for_status()
            wait_until(lambda: not any(is_active() for _ in range(10)))
            revived = any(is_active() for _ in range(40))
        finally:
            managed.stop()

    assert known and answered_near > 10
    assert not revived


@pytest.mark.parametrize("number", [0, 65])
def test_a_number_of_workers_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match="--workers is 1 to 64"):
        check_workers(number, "sqlite:///tokens.db")


def test_a_store_in_memory_is_one_processs_own() -> None:
    with pytest.raises(InvalidInput, match=r"name one that processes share, such as sqlite:///"):
        check_workers(2, "memory://")
    check_workers(1, "memory://")


def test_what_is_wrong_is_told_once_and_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "tokens.db").write_text("this is longer than the header of a database would be, and is none")
    words = [sys.executable, "-m", "session_tokens.cli.main", "serve", "--workers", "2", "--port", "0"]
    run = subprocess.run(
        [*words, "--store", f"sqlite:///{tmp_path}/tokens.db"], cwd=ROOT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert run.returncode == 2
    assert run.stdout == ""
    assert re.fullmatch(r"session-tokens: \S+ is no database; name another file\n", run.stderr)
