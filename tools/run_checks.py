"""Run every check of the project in one go, time each, and fail when any of them fails.

The still checks (style, types, floors, the generated twin) run first, two at a time; then pytest, whose closing line
ends the output, so that people and machines read the outcome in the same place. With --quick only the tests run that
start no server, no browser and no other process, for the loop of writing and trying. With --prove the random tests draw
many more examples, the tests of the core run on a compiled core too, nothing may be missing from the machine, and a
dated report is written.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# The marks of tests/helpers/marks.py; schemathesis, which takes seconds to load, serves one test that starts a server.
QUICK = ["-m", "not server and not process", "-p", "no:schemathesis", "--ignore=tests/service/test_openapi.py"]
CORES = os.cpu_count() or 1
WORKERS = 2 * CORES
MEMORY = Path("/dev/shm")
ROOM_B = 6 * 1024**3
"""What must be free there; four workers with their servers fill a fifth of it."""
TESTS_TIME_LIMIT_S = {"test": 30 * 60, "prove": 6 * 60 * 60}


@dataclass(frozen=True)
class Outcome:
    """How one check ended."""

    name: str
    passed: bool
    duration_s: float
    closing_line: str = ""


def still_checks() -> list[tuple[str, list[str]]]:
    """List the checks that start nothing and draw nothing, the slowest first."""
    python = sys.executable
    return [
        ("types", [str(BIN / "mypy")]),
        ("public types", [str(BIN / "pyright")]),
        ("floors", [str(BIN / "lint-imports"), "--no-cache"]),
        ("style", [str(BIN / "ruff"), "check"]),
        ("layout", [str(BIN / "ruff"), "format", "--check"]),
        ("generated twin", [python, "tools/generate_sync.py", "--check"]),
        # Loads every test once, and keeps what pytest makes of it: else each worker of the run makes it anew.
        ("tests load", [python, "-m", "pytest", "--collect-only", "-qq"]),
    ]


def run_still(name: str, command: Sequence[str]) -> Outcome:
    """Run one still check; its words are shown only when it fails."""
    began = time.monotonic()
    result = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    duration_s = time.monotonic() - began
    passed = result.returncode == 0
    words = "" if passed else f"\n{result.stdout}"
    print(f"{name:16} {'ok' if passed else 'FAILED':6} {duration_s:6.1f} s{words}", flush=True)
    return Outcome(name, passed, duration_s)


def folder_in_memory() -> Path | None:
    """Make a folder of memory for what tests write, where there is room and programs may run from it."""
    if not MEMORY.is_dir():
        return None
    there = os.statvfs(MEMORY)
    if there.f_bavail * there.f_frsize < ROOM_B or there.f_flag & os.ST_NOEXEC:
        return None
    folder = Path(tempfile.mkdtemp(prefix="st-", dir=MEMORY))  # a short name: sockets lie in it
    folder.chmod(0o1777)  # as /tmp: servers run as users of their own
    return folder


def run_tests(seed: int, time_limit_s: int, extra: Sequence[str], folder: Path | None = None) -> Outcome:
    """Run pytest on all cores, its output passed on as it comes; what tests write goes into the folder, if given.

    There are two workers a core, because many tests wait: for a deadline on a server, for a process to start. Each
    begins with a stretch of its own, so that a file's servers start in one worker and not in all.
    """
    side_by_side = ["-n", str(WORKERS), "--dist", "worksteal"]
    environment = os.environ if folder is None else {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "pytest", *side_by_side, "--durations=10", f"--hypothesis-seed={seed}", *extra]
    began = time.monotonic()
    closing_line = ""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as tests:
        with ThreadPoolExecutor(1) as watch:
            ended = watch.submit(end_after, tests, time_limit_s)
            assert tests.stdout is not None
            for line in tests.stdout:
                print(line, end="", flush=True)
                if re.search(r"\d+ (passed|failed|error)", line):
                    closing_line = line.strip(" =\n")
            tests.wait()
        if ended.result():
            print(f"tests: ended after {time_limit_s} s, the limit for the whole suite", file=sys.stderr)
    if folder is not None and tests.returncode == 0:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder is not None:
        print(f"tests: what the failed ones wrote is in {folder}, in memory: remove it when you have seen it")
    # pytest says 5 when it found no test at all: that is a failure here too.
    return Outcome("tests", tests.returncode == 0, time.monotonic() - began, closing_line)


def run_compiled(python: str) -> Outcome:
    """Build the compiled core and run its tests against it, with as many examples as `make test` has."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "TESTS_EFFORT"}
    command = [python, "tools/compiled_environment.py"]
    returncode = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return Outcome("compiled core", returncode == 0, time.monotonic() - began)


def end_after(process: "subprocess.Popen[str]", time_limit_s: int) -> bool:
    """Wait for a process and end it when it takes too long; tell whether that was needed."""
    try:
        process.wait(time_limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        return True
    return False


def write_report(path: Path, seed: int, outcomes: Sequence[Outcome]) -> None:
    """Keep what was proven, with everything that is needed to do it again."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.stdout.strip() or None,
        "seed": seed,
        "passed": all(outcome.passed for outcome in outcomes),
        "checks": [asdict(outcome) for outcome in outcomes],
        "python": sys.version,
        "sqlite": sqlite3.sqlite_version,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "packages": {item.metadata["Name"]: item.version for item in distributions()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    print(f"report: {path.relative_to(ROOT)}")


def main() -> int:
    """Run what the command line asks for.

    Returns:
        0 when every check passed, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only-still", action="store_true", help="leave pytest out")
    parser.add_argument("--prove", action="store_true", help="many more examples, and a dated report in var/")
    parser.add_argument("--quick", action="store_true", help="only tests that start nothing, with few random examples")
    parser.add_argument("--seed", type=int, help="repeat a run of the random tests (default: a new seed)")
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    # What Python compiled is kept, whatever the shell says: else hundreds of processes compile the package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    outcomes: list[Outcome] = []
    if arguments.quick:
        os.environ["TESTS_EFFORT"] = "quick"
        extra = [*QUICK, *arguments.tests]
        outcomes.append(run_tests(seed, TESTS_TIME_LIMIT_S["test"], extra, folder_in_memory()))
    else:
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda check: run_still(*check), still_checks()))
    if not arguments.only_still and not arguments.quick:
        if arguments.prove:
            os.environ["TESTS_EFFORT"] = "prove"
        time_limit_s = TESTS_TIME_LIMIT_S["prove" if arguments.prove else "test"]
        if arguments.prove:
            outcomes.append(run_compiled(sys.executable))
        # A dump of the stacks of a test that works for minutes has ended its process: the dump reads what still moves.
        patience = [f"--override-ini=faulthandler_timeout={time_limit_s}"] if arguments.prove else []
        folder = None if arguments.prove else folder_in_memory()
        outcomes.append(run_tests(seed, time_limit_s, [*patience, *arguments.tests], folder))
    if arguments.prove:
        write_report(ROOT / "var" / time.strftime("prove-%Y-%m-%dT%H%M%S.json"), seed, outcomes)
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
