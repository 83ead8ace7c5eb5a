"""The job of a worker goes on while the session of its user is detached."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.running_example import ROOT, SECRET

pytestmark = pytest.mark.process

APP = str(ROOT / "examples" / "detached_work" / "app.py")


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET.search(done.stdout + done.stderr) is None
    return done.stdout


def is_told(story: str) -> bool:
    """Whether everything happened, with the right result: below 200,000 there are 17,984 primes."""
    gone = re.search(r"the worker goes on\.\s+from ([\d,]+) numbers to 200,000", story)
    assert gone is not None and int(gone[1].replace(",", "")) < 200_000
    assert "17,984 primes" in story
    return "the session of alice has ended; its job is dropped" in story


def test_it_goes_on_between_two_processes(tmp_path: Path) -> None:
    assert is_told(run(tmp_path, sys.executable, APP))


def test_it_runs_on_servers(tmp_path: Path, server_store: dict[str, str]) -> None:
    assert is_told(run(tmp_path, sys.executable, APP, **server_store))


@pytest.mark.proof
def test_the_command_of_the_examples_runs_it(tmp_path: Path) -> None:
    store = f"STORE=sqlite:///{tmp_path / 'work.db'}"
    assert is_told(run(ROOT, "make", "example", "NAME=detached_work", store))
    assert (tmp_path / "work.db").exists()


def test_an_example_that_is_not_there_names_those_that_are() -> None:
    done = subprocess.run(["make", "example", "NAME=nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    for name in ("fastapi_tickets", "django_allauth", "flask_devices", "detached_work"):
        assert name in done.stderr
