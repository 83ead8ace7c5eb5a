"""The log is written beside the loop: nobody who does not read it stops the service."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from session_tokens.service.logs import LINES_MAX, JSONLines, WrittenBeside
from tests.helpers.running_service import ROOT

pytestmark = pytest.mark.server


@pytest.fixture
def unread() -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A service whose log goes into a pipe that nobody reads; its address and its admin key."""
    argv = [sys.executable, "-m", "tests.helpers.running_service", "memory://", "{}"]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().split()[-1]
    secret = process.stdout.readline().split()[-1]
    yield process, url, secret
    process.kill()
    process.wait(timeout=20)
    process.stdout.close()
    process.stderr.close()


def dropped_in(metrics: str) -> int:
    (line,) = [line for line in metrics.splitlines() if line.startswith("session_tokens_log_lines_dropped_total")]
    return int(float(line.split()[-1]))


def test_a_log_that_nobody_reads_stops_neither_answers_nor_the_end(
    unread: tuple[subprocess.Popen[str], str, str],
) -> None:
    process, url, secret = unread
    with httpx.Client(base_url=url, timeout=20) as http:
        refused = {http.get("/v1/sessions").status_code for _ in range(LINES_MAX + 700)}
        alive = http.get("/livez").status_code
        dropped = dropped_in(http.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).text)
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=20)
    assert process.stderr is not None
    lines = process.stderr.read().splitlines()

    assert refused <= {401, 429}
    assert alive == 200
    assert dropped > 0
    assert code == 0
    assert all(json.loads(line) for line in lines[:-1])


def test_what_was_dropped_is_counted_and_told_once_somebody_reads_again() -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading) as reader:
        handler = WrittenBeside(stream)
        handler.setFormatter(JSONLines())
        count = LINES_MAX * 3
        for _ in range(count):
            handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "x" * 200, (), None))
        dropped = handler.dropped
        told = 0
        while told < dropped:
            line = json.loads(reader.readline())
            told += int(line["message"].split()[0]) if line.get("event") == "log_dropped" else 0
        handler.close()

    assert 0 < dropped < count
    assert told == dropped


def test_lines_come_out_whole_and_in_order_before_it_closes(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("w") as stream:
        handler = WrittenBeside(stream)
        handler.setFormatter(JSONLines())
        for number in range(500):
            handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "%d", (number,), None))
        handler.close()
        handler.close()

    assert [int(json.loads(line)["message"]) for line in file.read_text().splitlines()] == list(range(500))


def test_a_stream_that_is_no_file_is_written_to_as_well() -> None:
    stream = io.StringIO()
    handler = WrittenBeside(stream)
    handler.setFormatter(JSONLines())
    handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "told", (), None))
    handler.close()

    assert json.loads(stream.getvalue())["message"] == "told"


def test_a_log_whose_reader_is_gone_costs_its_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        handler = WrittenBeside(stream)
        handler.setFormatter(JSONLines())
        for _ in range(10):
            handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "lost", (), None))
        handler.close()

    assert handler.dropped == 10
